"""A conversation with a base model: one text to which user and model append in turns, separated by newlines.

A base model isn't trained on roles: it continues the text. So the prompt of a turn is the text so far, without the oldest lines if
prompt and answer wouldn't fit the context.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.data.tokenizers import Tokenizer
from lmlab.generation.prompts import encode_prompts


@dataclass(frozen=True)
class Conversation:
    """The text of a conversation; immutable, each turn returns a new object."""

    text: str = ""

    def said(self, line: str, tokenizer: Tokenizer) -> Conversation:
        """Return the conversation with a line of the user and a newline after it."""
        newline = separator(tokenizer)
        before = self.text + newline if self.text and not self.text.endswith(newline) else self.text
        return Conversation(before + line + newline)

    def answered(self, text: str) -> Conversation:
        """Return the conversation with the model's answer."""
        return Conversation(self.text + text)

    def within(self, tokenizer: Tokenizer, context: int, tokens: int) -> Conversation:
        """Return the conversation without its oldest lines, so that an answer of `tokens` tokens fits the context too.

        The text may always take half of the context, and its last line is kept whole. LabError if the tokenizer can't encode it.
        """
        available = max(context - tokens, context // 2)
        text = self.text
        while len(encode_prompts(tokenizer, [text])[0]) > available:
            _, _, rest = text.partition(separator(tokenizer))
            if not rest:
                break
            text = rest
        return Conversation(text)

    def reset(self) -> Conversation:
        """Return an empty conversation."""
        return Conversation()


def separator(tokenizer: Tokenizer) -> str:
    """Return the separator of turns: a newline, or a space if the tokenizer can't encode a newline."""
    return " " if tokenizer.unknown_symbols("\n") else "\n"
