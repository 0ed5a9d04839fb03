"""Loss of an n-gram model with Witten-Bell smoothing, as a baseline for a text that needs no training.

Input: the tokens of a training and a validation split. Output: the loss on the validation split for each n-gram length.
With c(h) the count of a context h, c(hw) that of the context and the next token, and t(h) the number of different tokens that
followed it,

    p(w | h) = (c(hw) + t(h) p(w | h without its first token)) / (c(h) + t(h))

(Witten and Bell, IEEE Transactions on Information Theory 37, 1991; Chen and Goodman, 1996, section 2.5). Code repeats text from
some lines above, which a transformer copies and counts of the training split don't capture. So the probability of the token that
followed the last occurrence of the same few tokens within WINDOW is mixed in, weighted by how often it is right (a cache model;
Kuhn and De Mori, IEEE Transactions on Pattern Analysis and Machine Intelligence 12, 1990).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.integer]
Hashes = NDArray[np.uint64]

LONGEST = 6
"""Tokens of the longest n-gram."""
WINDOW = 128
"""Distance in tokens within which a repetition is looked for."""
REPEATED = (2, 3, 4, 6)
"""Context lengths, in tokens, of the cache model."""
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
OTHER_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
MIX = np.uint64(0x5851F42D4C957F2D)


def ngram_losses(train: Tokens, valid: Tokens, vocabulary: int, longest: int = LONGEST) -> list[float]:
    """Return the losses on `valid`, in nats a token, of n-gram models of 1 to `longest` tokens, counted on `train`.

    Contexts are compared by 64-bit hashes. The first `longest` tokens of `valid`, whose contexts are short, are not scored.
    Raises ValueError if either has no more than `longest` tokens.
    """
    return [_loss(share[longest:]) for share in _shares(train, valid, vocabulary, longest)]


def best_loss(train: Tokens, valid: Tokens, vocabulary: int) -> float:
    """Return the loss in nats a token of the best of these models, mixed with the cache model of `valid`."""
    shares = _shares(train, valid, vocabulary, LONGEST)
    share = min(shares, key=lambda one: _loss(one[LONGEST:]))
    for length in REPEATED:
        there, right = _repetitions(valid, length)
        if there.any():
            rate = float(right[there].mean())
            mixed = np.where(there, (1.0 - rate) * share + rate * right, share)
            share = min(share, mixed, key=lambda one: _loss(one[LONGEST:]))
    return _loss(share[LONGEST:])


def _loss(share: NDArray[np.float64]) -> float:
    return float(-np.log(share).mean())


def _shares(train: Tokens, valid: Tokens, vocabulary: int, longest: int) -> list[NDArray[np.float64]]:
    """Return the probability of each token of `valid`, for each n-gram length."""
    if min(len(train), len(valid)) <= longest:
        raise ValueError(f"{len(train)} and {len(valid)} tokens: expected more than {longest} in each split")
    seen, wanted = (np.asarray(tokens).astype(np.uint64) + np.uint64(1) for tokens in (train, valid))
    share = np.full(len(wanted), 1.0 / vocabulary)
    contexts, places = np.zeros(len(seen), np.uint64), np.zeros(len(wanted), np.uint64)
    found = []
    for length in range(longest):
        if length:
            contexts, places = _longer(contexts, seen, length), _longer(places, wanted, length)
        share = _smoothed(share, contexts[length:], seen[length:], places, wanted)
        found.append(share)
    return found


def _repetitions(tokens: Tokens, length: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return, for each place, whether its last `length` tokens occurred within WINDOW before, and whether the next token is the
    same.
    """
    values = np.asarray(tokens).astype(np.uint64) + np.uint64(1)
    contexts = np.zeros(len(values), np.uint64)
    for one in range(1, length + 1):
        contexts = _longer(contexts, values, one)
    order = np.argsort(contexts, kind="stable")
    before = np.full(len(values), -1)
    same = contexts[order[1:]] == contexts[order[:-1]]
    before[order[1:][same]] = order[:-1][same]
    place = np.arange(len(values))
    there = (before >= length) & (place - before <= WINDOW)
    return there, there & (values[before] == values)


def _longer(contexts: Hashes, tokens: Hashes, length: int) -> Hashes:
    """Return the hashes of the `length` tokens before each place, from those of one token less."""
    found = contexts * MULTIPLIER
    found[length:] += tokens[:-length] * OTHER_MULTIPLIER
    return found ^ (found >> np.uint64(29))


def _smoothed(
    shorter: NDArray[np.float64], contexts: Hashes, following: Hashes, places: Hashes, wanted: Hashes
) -> NDArray[np.float64]:
    """Return the probability of each token in `wanted` after its context, from that with one token less of context."""
    known, counts = np.unique(contexts, return_counts=True)
    pairs, first, pair_counts = np.unique(_pairs(contexts, following), return_index=True, return_counts=True)
    kinds, kind_counts = np.unique(contexts[first], return_counts=True)
    count = _looked_up(known, counts, places)
    different = _looked_up(kinds, kind_counts, places)
    both = _looked_up(pairs, pair_counts, _pairs(places, wanted))
    return np.where(count > 0, (both + different * shorter) / np.maximum(count + different, 1.0), shorter)


def _pairs(contexts: Hashes, tokens: Hashes) -> Hashes:
    return (contexts ^ MIX) * MULTIPLIER + tokens * OTHER_MULTIPLIER


def _looked_up(keys: Hashes, values: NDArray[np.int64], wanted: Hashes) -> NDArray[np.float64]:
    """Return the value of each wanted key; 0 if it's missing."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0).astype(np.float64)
