"""Prompts as tokens: what a tokenizer refuses is named, and an empty prompt gets a token to start from."""

from __future__ import annotations

from collections.abc import Sequence

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.tokenizers.base import symbol_name
from lmlab.recipe import Data


def encode_prompts(tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """The prompts' tokens; LabError that names every symbol that is refused."""
    try:
        return [ids.tolist() for ids in tokenizer.encode_batch(prompts)]
    except LabError:
        unknown = dict.fromkeys(symbol for prompt in prompts for symbol in tokenizer.unknown_symbols(prompt))
        if not unknown:
            raise
        names = ", ".join(symbol_name(symbol) if len(symbol) == 1 else repr(symbol) for symbol in unknown)
        raise LabError(f"the tokenizer has never seen {names}: leave that out of the prompt") from None


def known_prompts(tokenizer: Tokenizer, prompts: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The prompts that the tokenizer can read, and a line for each that it can't: a recipe's prompt may be of another text."""
    kept, passed_over = [], []
    for prompt in prompts:
        unknown = dict.fromkeys(tokenizer.unknown_symbols(prompt))
        if not unknown:
            kept.append(prompt)
            continue
        names = ", ".join(symbol_name(symbol) if len(symbol) == 1 else repr(symbol) for symbol in unknown)
        passed_over.append(
            f"the prompt {prompt[:60]!r} is passed over, because the text has no {names}: choose others with --evaluate.prompts"
        )
    return tuple(kept), passed_over


def begin_of(data: Data, tokenizer: Tokenizer) -> int | None:
    """The token that stands before each prompt of a model that was trained so; None where documents were one stream to it."""
    return tokenizer.begin_of_text if data.windows == "documents" else None


def first_token(tokenizer: Tokenizer) -> int:
    """What an empty prompt starts from."""
    if tokenizer.end_of_text is not None:
        return tokenizer.end_of_text
    if tokenizer.unknown_symbols("\n"):
        return 0
    newline = tokenizer.encode("\n").tolist()
    return newline[-1] if newline else 0
