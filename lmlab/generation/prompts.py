"""Encoding of prompts: errors name the symbols that a tokenizer can't encode, and an empty prompt gets a first token."""

from __future__ import annotations

from collections.abc import Sequence

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.tokenizers.base import symbol_name
from lmlab.recipe import Data


def encode_prompts(tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """Return the prompts' tokens. LabError with the names of all symbols that the tokenizer can't encode."""
    try:
        return [ids.tolist() for ids in tokenizer.encode_batch(prompts)]
    except LabError:
        unknown = dict.fromkeys(symbol for prompt in prompts for symbol in tokenizer.unknown_symbols(prompt))
        if not unknown:
            raise
        names = ", ".join(symbol_name(symbol) if len(symbol) == 1 else repr(symbol) for symbol in unknown)
        raise LabError(f"the tokenizer has never seen {names}: leave that out of the prompt") from None


def known_prompts(tokenizer: Tokenizer, prompts: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the prompts that the tokenizer can encode, and a line for each other one: a recipe's prompt may not suit the text."""
    kept, passed_over = [], []
    for prompt in prompts:
        unknown = dict.fromkeys(tokenizer.unknown_symbols(prompt))
        if not unknown:
            kept.append(prompt)
            continue
        names = ", ".join(symbol_name(symbol) if len(symbol) == 1 else repr(symbol) for symbol in unknown)
        passed_over.append(
            f"the prompt {prompt[:60]!r} is skipped, because the text has no {names}: choose others with --evaluate.prompts"
        )
    return tuple(kept), passed_over


def begin_of(data: Data, tokenizer: Tokenizer) -> int | None:
    """Return the token before each prompt, for a model trained on windows of documents; None for one trained on a stream or tuned
    on conversations.
    """
    return tokenizer.begin_of_text if data.begins_documents else None


def first_token(tokenizer: Tokenizer) -> int:
    """Return the token that an empty prompt starts from: end-of-text, else a newline, else token 0."""
    if tokenizer.end_of_text is not None:
        return tokenizer.end_of_text
    if tokenizer.unknown_symbols("\n"):
        return 0
    newline = tokenizer.encode("\n").tolist()
    return newline[-1] if newline else 0
