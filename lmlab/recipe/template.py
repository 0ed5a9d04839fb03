"""Templates: a conversation as one text, in which it's known what the model writes itself.

    Alpaca      Below is an instruction ... \\n\\n### Instruction:\\nTEXT\\n\\n### Response:\\n|ANSWER<end of text>
    ChatML      <|im_start|>user\\nTEXT<|im_end|>\\n<|im_start|>assistant\\n|ANSWER<|im_end|>\\n

A template is saved by name with the model (`template.json` in the run's folder), so that sampling, chat, server and exports use
the one that the model was tuned with. The strings are those of their publishers: Stanford Alpaca (tatsu-lab/stanford_alpaca,
with the line breaks of "Build a Large Language Model (From Scratch)", ch. 7), OpenAI's ChatML, and Microsoft's Phi-3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmlab import LabError

FORMAT = 1
FILE = "template.json"

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    input: str = ""
    """Text that a user's instruction is about, where a data set keeps it apart (Alpaca); else empty."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of the rendered text."""

    text: str
    response: bool = False
    """The model writes it: the answer, and the mark after it."""
    ends_text: bool = False
    """The end-of-text token follows; it belongs to the segment."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """How the turns of a conversation become text. Strings go around a turn's content."""

    name: str
    system: tuple[str, str]
    """Before and after a system message, which comes first."""
    default_system: str
    """The system message where a conversation has none; empty: none."""
    user: tuple[str, str]
    user_input: tuple[str, str]
    """Before and after a user's input, inside `user`."""
    assistant: tuple[str, str]
    """Before and after an answer. Where nothing comes after it, the end-of-text token ends every answer, else the last one."""
    between: str = ""
    """Before every user message but the first."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts at which generation stops, besides the end-of-text token: the mark after an answer, and the next turn's."""
        after = self.assistant[1].strip()
        return tuple(text for text in (after, self.user[0].strip()) if text)

    def prompt(self, messages: Sequence[Message]) -> str:
        """Return the text up to where the model's answer begins; raises LabError if the last message is the assistant's."""
        if not messages or messages[-1].role != "user":
            raise LabError("a prompt must end with a user's message; add one")
        return "".join(segment.text for segment in self.segments(messages)) + self.assistant[0]

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        """Return the conversation's text in order, divided into what is given and what the model writes.

        Raises LabError unless an optional system message is followed by turns of user and assistant, the user first.
        """
        require_turns(messages)
        parts: list[Segment] = []
        turns = [message for message in messages if message.role != "system"]
        system = next((message.content for message in messages if message.role == "system"), "") or self.default_system
        if system:
            parts.append(Segment(text=self.system[0] + system + self.system[1]))
        for number, message in enumerate(turns):
            if message.role == "user":
                given = self.user_input[0] + message.input + self.user_input[1] if message.input else ""
                start = self.between if number else ""
                parts.append(Segment(text=start + self.user[0] + message.content + given + self.user[1]))
            else:
                last = number == len(turns) - 1
                parts.append(Segment(text=self.assistant[0]))
                ends = last or not self.assistant[1]
                parts.append(Segment(text=message.content + self.assistant[1], response=True, ends_text=ends))
        return parts

    def to_json(self) -> dict[str, Any]:
        """Return what `template.json` holds."""
        return {"format": FORMAT, "name": self.name}


def require_turns(messages: Sequence[Message]) -> None:
    """Raise LabError unless a system message, if any, comes first and user and assistant take turns, the user first."""
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or any(role != ("user", "assistant")[number % 2] for number, role in enumerate(turns)):
        raise LabError(
            f"a conversation's turns are {', '.join(roles) or 'none'}; expected an optional system message, then user and "
            "assistant in turns, the user first"
        )


ALPACA = Template(
    name="alpaca",
    system=("", "\n\n"),
    default_system=(
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    ),
    user=("### Instruction:\n", "\n\n"),
    user_input=("\n\n### Input:\n", ""),
    assistant=("### Response:\n", ""),
    between="\n\n",
)
CHATML = Template(
    name="chatml",
    system=("<|im_start|>system\n", "<|im_end|>\n"),
    default_system="",
    user=("<|im_start|>user\n", "<|im_end|>\n"),
    user_input=("\n\n", ""),
    assistant=("<|im_start|>assistant\n", "<|im_end|>\n"),
)
PHI3 = Template(
    name="phi3",
    system=("<|system|>\n", "<|end|>\n"),
    default_system="",
    user=("<|user|>\n", "<|end|>\n"),
    user_input=("\n", ""),
    assistant=("<|assistant|>\n", "<|end|>\n"),
)
PLAIN = Template(
    name="plain",
    system=("", "\n\n"),
    default_system="",
    user=("User: ", "\n"),
    user_input=("\n", ""),
    assistant=("Assistant: ", ""),
    between="\n",
)
TEMPLATES = {template.name: template for template in (ALPACA, CHATML, PHI3, PLAIN)}


def template_named(name: str) -> Template:
    """Return the template; raises LabError with the names that exist."""
    if name not in TEMPLATES:
        raise LabError(f"there is no template {name!r}; expected {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def template_from_json(value: Any) -> Template:
    """Return the template that `to_json` converted; raises LabError if it's of another format or unknown."""
    if not isinstance(value, dict) or value.get("format") != FORMAT or not isinstance(value.get("name"), str):
        raise LabError(f"expected a template of format {FORMAT} with its name; put it back from a copy of the run")
    return template_named(value["name"])
