"""Options as tokens: which ones a model reads, and which of them are scored.

The prompt and the answer are encoded together, and the answer's tokens are those that hold a byte of it. White space at the
prompt's end is moved to the answer, since many tokenizers join it with what follows. Both are as in lm-evaluation-harness 0.4.13,
which takes the tokens behind as many as the prompt alone has. That differs only where one token holds bytes of both: here it is
scored with the answer, so that the scored tokens always spell all of the answer. An encoder that takes them `apart` encodes each by
itself, as for a model that is asked with the prompt alone.

A text that is longer than the context loses tokens at its beginning. An item of which an option can't be scored in full is
unscorable: it is counted, with the reason, and no part of the accuracy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmlab.data.tokenizers import Tokenizer
from lmlab.data.tokenizers.base import symbol_name
from lmlab.evaluation.tasks.groups import Request, common_length
from lmlab.evaluation.tasks.item import Item, Option

AT_ONCE = 4096
"""Texts that are encoded together."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """How a model's texts are encoded."""

    tokenizer: Tokenizer
    context: int
    """Tokens that the model reads at most."""
    first: int
    """The token before a text without a prompt, which nothing else would predict."""
    begin: int | None = None
    """The token before every text, for a model whose training texts all began with it; None: only before one without a prompt."""
    apart: bool = False
    """Whether answers are encoded by themselves, after all of the prompt: as a model reads them that generates after the prompt."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedItems:
    """The requests of a list of items, and what was found while they were encoded."""

    requests: list[Request]
    """One for each option of each item that can be scored, in order; options of one item have its index as their group."""
    option: NDArray[np.int64]
    """[requests]: the index of the request's option in its item."""
    tokens: NDArray[np.int64]
    """[requests]: the scored tokens."""
    bytes: NDArray[np.int64]
    """[requests]: the bytes of the scored tokens' text; of the answer where the tokenizer doesn't know its tokens' bytes."""
    unscorable: dict[int, str]
    """Index of an item that can't be scored -> why."""
    cut: int
    """Items of which a prompt lost tokens at its beginning."""
    joined: int
    """Requests of which one token holds bytes of the prompt and of the answer."""

    def reasons(self) -> dict[str, int]:
        """Return the reasons why items are unscorable, the most frequent first, with their counts."""
        return dict(Counter(self.unscorable.values()).most_common())


def encode_items(encoder: Encoder, items: Sequence[Item]) -> EncodedItems:
    """Return the requests of the items, whose groups are the items' indices."""
    unscorable: dict[int, str] = {}
    for place, item in enumerate(items):
        if reason := _unknown(encoder.tokenizer, item):
            unscorable[place] = reason
    places = [
        (place, number)
        for place, item in enumerate(items)
        if place not in unscorable
        for number in range(len(item.options))
    ]
    found: list[tuple[int, int, _Encoded]] = []
    for begin in range(0, len(places), AT_ONCE):
        part = places[begin : begin + AT_ONCE]
        encoded = _encoded(encoder, [items[place].options[number] for place, number in part])
        for (place, number), one in zip(part, encoded, strict=True):
            if one.problem:
                unscorable.setdefault(place, one.problem)
            found.append((place, number, one))
    kept = [(place, number, one) for place, number, one in found if place not in unscorable]
    return EncodedItems(
        requests=[
            Request(tokens=one.tokens, first=one.first, group=place, size=len(items[place].options[number].text))
            for place, number, one in kept
        ],
        option=np.array([number for _, number, _ in kept], dtype=np.int64),
        tokens=np.array([len(one.tokens) - one.first for _, _, one in kept], dtype=np.int64),
        bytes=np.array([one.bytes for _, _, one in kept], dtype=np.int64),
        unscorable=dict(sorted(unscorable.items())),
        cut=len({place for place, _, one in kept if one.cut}),
        joined=sum(one.joined for _, _, one in kept),
    )


@dataclass(frozen=True)
class _Encoded:
    tokens: NDArray[np.int64]
    first: int
    bytes: int
    cut: bool
    joined: bool
    problem: str = ""


def _encoded(encoder: Encoder, options: Sequence[Option]) -> list[_Encoded]:
    """Return the tokens of each option, of which the tokenizer knows all symbols."""
    if encoder.apart:
        return _encoded_apart(encoder, options)
    tokenizer = encoder.tokenizer
    prompts = [option.prompt.rstrip() for option in options]
    whole = tokenizer.encode_batch([option.text for option in options])
    sizes = tokenizer.token_bytes() if tokenizer.lossless else None
    if sizes is None:
        alone = tokenizer.encode_batch(prompts)
        borders = [(common_length(prompt, ids), False) for prompt, ids in zip(alone, whole, strict=True)]
        bytes_of = [len(option.text[len(prompt) :].encode()) for option, prompt in zip(options, prompts, strict=True)]
    else:
        borders = [_border(sizes[ids], len(prompt.encode())) for prompt, ids in zip(prompts, whole, strict=True)]
        bytes_of = [int(sizes[ids[first:]].sum()) for (first, _), ids in zip(borders, whole, strict=True)]
    return [
        _placed(encoder, ids.astype(np.int64), first, bool(prompt), size, joined)
        for ids, (first, joined), prompt, size in zip(whole, borders, prompts, bytes_of, strict=True)
    ]


def _encoded_apart(encoder: Encoder, options: Sequence[Option]) -> list[_Encoded]:
    """Return the tokens of each option's prompt, followed by those of its answer."""
    prompts = encoder.tokenizer.encode_batch([option.prompt for option in options])
    answers = encoder.tokenizer.encode_batch([option.answer for option in options])
    return [
        _placed(
            encoder,
            np.concatenate([prompt, answer]).astype(np.int64),
            len(prompt),
            bool(option.prompt),
            len(option.answer.encode()),
            joined=False,
        )
        for option, prompt, answer in zip(options, prompts, answers, strict=True)
    ]


def _placed(
    encoder: Encoder, ids: NDArray[np.int64], first: int, has_prompt: bool, size: int, joined: bool
) -> _Encoded:
    """Return the tokens with what is put before them, cut to the context."""
    before = encoder.begin if encoder.begin is not None or (has_prompt and first) else encoder.first
    if before is not None:
        ids, first = np.concatenate([[before], ids]), first + 1
    excess = max(0, len(ids) - 1 - encoder.context)
    problem = ""
    if first == len(ids):
        problem = "an answer without a token"
    elif excess >= first:
        problem = f"an answer longer than the context of {encoder.context:,} tokens"
    return _Encoded(ids[excess:], first - excess, size, excess > 0, joined, problem)


def _border(sizes: NDArray[np.int32], prompt_bytes: int) -> tuple[int, bool]:
    """Return the index of the first token with a byte of the answer, and whether it has one of the prompt, too."""
    ends = np.cumsum(sizes)
    first = int(np.searchsorted(ends, prompt_bytes, side="right"))
    begin = int(ends[first - 1]) if first else 0
    return first, begin < prompt_bytes


def _unknown(tokenizer: Tokenizer, item: Item) -> str:
    """Return which symbols of the item the tokenizer lacks, in words; empty if none."""
    unknown = dict.fromkeys(symbol for option in item.options for symbol in tokenizer.unknown_symbols(option.text))
    if not unknown:
        return ""
    first = next(iter(unknown))
    kind = "a character" if len(first) == 1 else "a word"
    return f"{kind} that the tokenizer lacks ({symbol_name(first) if len(first) == 1 else repr(first)})"
