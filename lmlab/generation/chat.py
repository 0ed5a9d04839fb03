"""A conversation with a base model: one text to which both sides add in turns, parted by newlines.

A base model knows no roles: it writes what would follow. So the prompt of a turn is the text so far, as much of it as
leaves the answer room in the context.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.data.tokenizers import Tokenizer
from lmlab.generation.prompts import encode_prompts


@dataclass(frozen=True)
class Conversation:
    """What was said so far; each turn gives a new one."""

    text: str = ""

    def said(self, line: str, tokenizer: Tokenizer) -> Conversation:
        """With a line of the user's, and a newline after it for the answer to begin on."""
        newline = separator(tokenizer)
        before = self.text + newline if self.text and not self.text.endswith(newline) else self.text
        return Conversation(before + line + newline)

    def answered(self, text: str) -> Conversation:
        """With what the model wrote."""
        return Conversation(self.text + text)

    def within(self, tokenizer: Tokenizer, context: int, tokens: int) -> Conversation:
        """Without the oldest lines, so that an answer of `tokens` tokens fits the context, or half of it is left.

        The last line stays whole. LabError where the text holds symbols that the tokenizer refuses.
        """
        room = max(context - tokens, context // 2)
        text = self.text
        while len(encode_prompts(tokenizer, [text])[0]) > room:
            _, _, rest = text.partition(separator(tokenizer))
            if not rest:
                break
            text = rest
        return Conversation(text)

    def reset(self) -> Conversation:
        """Nothing said."""
        return Conversation()


def separator(tokenizer: Tokenizer) -> str:
    """What parts turns: a newline, or a space for a tokenizer that has never seen one."""
    return " " if tokenizer.unknown_symbols("\n") else "\n"
