"""Conversations from files: Alpaca's records (instruction, input, output) and chats (lists of messages), as JSON or JSONL.

    [{"instruction": "...", "input": "...", "output": "..."}, ...]                    Alpaca; "input" may be absent or empty
    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", ...}]}    a chat; also "conversations", from/value

A file is a JSON list of records, or JSONL with one record a line; .gz, .xz, .bz2 and .zst are decompressed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from lmlab import LabError
from lmlab.data.progress import Silent
from lmlab.data.readers import SourceFile, describe_name, opened
from lmlab.files.strict_json import parse_json
from lmlab.recipe.template import Message, Role, require_turns

LARGEST_BYTES = 1 << 30
"""Decompressed size of a JSON list, which is read whole; JSONL may be of any size up to it, too."""
OTHER_ROLES: dict[str, Role] = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
"""Names of roles in other formats (ShareGPT, Gemma)."""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """The turns of one record; the last one is the assistant's, its answer the reference."""

    messages: tuple[Message, ...]
    place: str
    """Where it stands, for messages: FILE, record N (from 1)."""

    @property
    def question(self) -> tuple[Message, ...]:
        """Every message but the last answer."""
        return self.messages[:-1]

    @property
    def reference(self) -> str:
        """The last answer."""
        return self.messages[-1].content


@dataclass(frozen=True, kw_only=True)
class Conversations(Sequence[Conversation]):
    """The conversations of a file in its order, a sequence of them."""

    kept: tuple[Conversation, ...]
    unanswered: int
    """Records left out because the last answer is empty (Stanford Alpaca has 28 of 52,002)."""

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Conversation, ...]: ...
    def __getitem__(self, index: int | slice) -> Conversation | tuple[Conversation, ...]:
        return self.kept[index]

    def __len__(self) -> int:
        return len(self.kept)


def read_conversations(path: Path) -> Conversations:
    """Return the conversations of a file in its order, without those whose last answer is empty, which are counted.

    Raises LabError with file and record if the file can't be read, isn't JSON or JSONL, has no answers, or a record is of neither
    form.
    """
    found = [conversation_of(record, f"{path}, record {number}") for number, record in enumerate(_records(path), 1)]
    if not found:
        raise LabError(f"{path} has no records; expected Alpaca's (instruction, input, output) or chats (messages)")
    kept = tuple(conversation for conversation in found if conversation.reference.strip())
    if not kept:
        raise LabError(
            f"{path} has {len(found):,} records without an answer; expected an output, or a last message, with text"
        )
    return Conversations(kept=kept, unanswered=len(found) - len(kept))


def conversation_of(record: Any, place: str) -> Conversation:
    """Return a record's conversation; raises LabError, which begins with `place`, if it's of neither form.

    Its last answer may be empty.
    """
    if isinstance(record, dict) and "instruction" in record:
        texts = [record.get(name, "") for name in ("instruction", "input", "output")]
        if not all(isinstance(text, str) for text in texts) or not texts[0].strip():
            raise LabError(f"{place}: instruction must be a text that isn't empty, input and output texts")
        user = Message(role="user", content=texts[0], input=texts[1])
        return Conversation(messages=(user, Message(role="assistant", content=texts[2])), place=place)
    turns = _turns(record)
    if turns is None:
        raise LabError(
            f"{place}: expected instruction, input and output (Alpaca), or a list of messages with role and content (chat)"
        )
    messages = tuple(_message(turn, place) for turn in turns)
    try:
        require_turns(messages)
    except LabError as error:
        raise LabError(f"{place}: {error}") from None
    if messages[-1].role != "assistant":
        raise LabError(f"{place}: the last message is the {messages[-1].role}'s; expected the assistant's answer")
    return Conversation(messages=messages, place=place)


def _turns(record: Any) -> list[Any] | None:
    if isinstance(record, dict):
        record = record.get("messages", record.get("conversations"))
    return record if isinstance(record, list) and record else None


def _message(turn: Any, place: str) -> Message:
    role = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
    content = turn.get("content", turn.get("value")) if isinstance(turn, dict) else None
    known: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", **OTHER_ROLES}
    if role not in known or not isinstance(content, str):
        raise LabError(f"{place}: a message must have role (system, user or assistant) and content, a text")
    return Message(role=known[role], content=content)


def _records(path: Path) -> Iterator[Any]:
    _, packing = describe_name(path.name)
    try:
        with opened(SourceFile(name=str(path), path=path, packing=packing), Silent()) as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise LabError(f"{path} can't be read ({error.strerror}); expected a JSON or JSONL file") from None
    if len(content) > LARGEST_BYTES:
        raise LabError(f"{path} is larger than {LARGEST_BYTES >> 20:,} MiB; divide it")
    if content.lstrip()[:1] == b"[":
        try:
            yield from parse_json(content)
            return
        except ValueError as error:
            raise LabError(f"{path} isn't JSON ({error}); expected a list of records, or one record a line") from None
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                yield parse_json(line)
            except ValueError as error:
                raise LabError(f"{path}, line {number}, isn't JSON ({error}); expected one record a line") from None
