"""The prompts of a request as tokens: of completions in four forms, of a chat by its messages."""

from __future__ import annotations

from typing import Any

from lmlab import LabError
from lmlab.recipe.template import Message
from lmlab.serve.errors import ApiError, invalid, of_lab_error
from lmlab.serve.fields import Fields, shown, wrong
from lmlab.serve.prompting import prompt_ids
from lmlab.serve.served import Served

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def completion_prompts(value: Any, served: Served) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
    """Return tokens and text of each prompt: a text, texts, tokens, or lists of tokens."""
    expected = "a text, a list of texts, a list of tokens, or a list of lists of tokens"
    if value is None or value == []:
        raise invalid("prompt", f"the request has no prompt: expected {expected}")
    values = value if isinstance(value, list) else [value]
    if isinstance(value, list) and all(type(one) is int for one in value):
        values = [value]
    if all(isinstance(one, str) for one in values):
        try:
            ids = [served.encode(one) for one in values]
        except LabError as error:
            raise of_lab_error(error, "prompt") from None
        texts = values
    elif all(isinstance(one, list) and one for one in values):
        ids = [require_tokens(one, served, "prompt") for one in values]
        texts = [served.spelling.bytes_of(t for t in one if t != served.tokenizer.end_of_text) for one in ids]
        texts = [one.decode("utf-8", errors="replace") for one in texts]
    else:
        raise wrong("prompt", value, expected)
    return tuple(tuple(_fitting(one, served, "prompt")) for one in ids), tuple(texts)


def chat_prompt(fields: Fields, served: Served) -> list[int]:
    """Return the tokens of the prompt that `messages` give; ApiError if they give none."""
    messages = _messages(fields.take("messages"))
    if served.template is None:
        raise invalid(
            "messages",
            f"{served.name} is a base model without a template: use /v1/completions, or start the server with --template",
            "no_template",
        )
    try:
        ids = prompt_ids(served.tokenizer, served.template, messages)
    except LabError as error:
        raise of_lab_error(error, "messages") from None
    return _fitting(ids, served, "messages")


def require_tokens(value: Any, served: Served, field: str) -> list[int]:
    """Return a list of tokens; ApiError if it is anything else, or one isn't in the vocabulary."""
    size = served.tokenizer.vocabulary_size
    if not isinstance(value, list):
        raise wrong(field, value, "a list of tokens")
    bad = [token for token in value if type(token) is not int or not 0 <= token < size][:1]
    if bad:
        raise invalid(field, f"{field} has the token {shown(bad[0])}: expected whole numbers from 0 to {size - 1}")
    return value


def _fitting(ids: list[int], served: Served, field: str) -> list[int]:
    """Return the prompt's tokens; ApiError if they are more than the context."""
    count, context = len(served.whole(ids)), served.model.context
    if count > context:
        raise invalid(
            field,
            f"{field} has {count:,} tokens, more than the model's context of {context:,}: shorten it",
            "context_length_exceeded",
        )
    return ids


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list):
        raise wrong("messages", value, "a list of messages")
    if not value:
        raise invalid("messages", "messages is empty: expected one message at least, the user's last")
    found = []
    for place, one in enumerate(value):
        where = f"messages[{place}]"
        if not isinstance(one, dict):
            raise invalid("messages", f"{where} is {shown(one)}: expected an object with role and content")
        fields = Fields(one)
        role = fields.text("role")
        if role not in ROLES:
            raise invalid("messages", f"{where}.role is {shown(role)}: expected one of {', '.join(ROLES)}")
        content = _content(fields.take("content"), where)
        try:
            fields.done({})
        except ApiError as error:
            raise invalid("messages", f"{where}.{error.field} isn't supported: leave it out", "unsupported") from None
        found.append(Message(role=ROLES[role], content=content))  # type: ignore[arg-type]
    return found


def _content(value: Any, where: str) -> str:
    """Return a message's text, given as a text or as parts of the type text."""
    if isinstance(value, str):
        return value
    texts = []
    for part in value if isinstance(value, list) else [None]:
        if not isinstance(part, dict) or part.keys() != {"type", "text"} or part["type"] != "text":
            raise invalid("messages", f"{where}.content is {shown(value)}: expected a text, or parts of the type text")
        if not isinstance(part["text"], str):
            raise invalid("messages", f"{where}.content has the text {shown(part['text'])}: expected a text")
        texts.append(part["text"])
    return "".join(texts)
