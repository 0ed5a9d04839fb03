"""The figures of a model's passages, each with an interval over passages.

    repeated n-grams   1 - distinct / all n-grams of a passage's words, over all passages (seq-rep-n: Welleck et al., 2020, arXiv
                       1908.04319, section 6.1)
    distinct n-grams   distinct / all n-grams of all passages together (distinct-n: Li et al., 2016, arXiv 1510.03055)
    known words        words that are in the training text
    copied >= n        words in a span of at least n words that is in the training text, as a whole
    copied span        mean length of the spans that are in the training text and part of no longer one, in words
    longest copy       of each passage, the mean; and of all
    bits per byte      of the passages, under a reference model, each after its prompt

The novelty of n-grams against that of text by people is due to McCoy et al. (2023, How much do language models copy from their
training data?, TACL 11, arXiv 2111.09509). Passages are drawn with replacement for intervals, but for distinct n-grams, of which a
draw with repetitions has fewer: there it's the jackknife's, which is rather too wide than too narrow (Efron and Stein, 1981). A
share that is 0 or 1 in each passage has Wilson's limits for as many trials as passages: 32 texts without a copy don't show that
there are none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.data.hygiene.hashing import window_hashes
from lmlab.evaluation.measures.copying import in_spans, whole_spans
from lmlab.evaluation.measures.passages import Words
from lmlab.stats.bootstrap import ratio_interval
from lmlab.stats.proportion import wilson
from lmlab.stats.student import student_quantile

REPEATED = (1, 2, 3, 4, 8)
DISTINCT = (1, 2, 3, 4)
COPIED = (8, 16, 32)
LEVEL = 0.95

Rows = Mapping[str, NDArray[np.float64]]
"""Name -> [passages]: what each passage adds to a figure's numerator or denominator."""

FIGURES: Mapping[str, tuple[str, str]] = {
    "words": ("words", "passages"),
    **{f"repeated_{n}": (f"repeated_{n}", f"ngrams_{n}") for n in REPEATED},
    **{f"distinct_{n}": ("", "") for n in DISTINCT},
    "known": ("known", "words"),
    **{f"copied_{n}": (f"copied_{n}", "words") for n in COPIED},
    "copied_span": ("span_words", "spans"),
    "longest_copy": ("longest", "passages"),
    "bits_per_byte": ("bits", "bytes"),
}
"""Name -> the rows whose sums it is the ratio of, over passages; none for distinct n-grams."""
IN_WORDS = ("words", "copied_span", "longest_copy")
"""Figures that are numbers of words; all others but bits per byte are shares."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure; the limits of its 95% interval are NaN with fewer than two passages."""

    estimate: float
    low: float
    high: float

    def to_json(self) -> list[float | None]:
        """Return [estimate, low, high] for --json and files; None for NaN."""
        return [value if math.isfinite(value) else None for value in (self.estimate, self.low, self.high)]


def rows_of(words: Words, longest: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.float64]]:
    """Return the rows of the passages with these words. `longest` is that of `Copies.longest`; None where the training text is
    unknown, so that there are no rows of copies and known words.
    """
    counts = words.counts.astype(np.float64)
    found: dict[str, NDArray[np.float64]] = {"passages": np.ones(len(counts)), "words": counts}
    for length in REPEATED:
        ngrams, repeated = np.zeros(len(counts)), np.zeros(len(counts))
        for place, (begin, end) in enumerate(zip(words.first[:-1], words.first[1:], strict=True)):
            hashes = window_hashes(words.hashes[begin:end], length)
            ngrams[place], repeated[place] = len(hashes), len(hashes) - len(np.unique(hashes))
        found |= {f"ngrams_{length}": ngrams, f"repeated_{length}": repeated}
    if longest is None:
        return found

    def summed(of_words: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(words.passage, weights=of_words, minlength=len(counts)).astype(np.float64)

    whole = whole_spans(longest, words)
    most = np.zeros(len(counts))
    np.maximum.at(most, words.passage, longest)
    found |= {
        "known": summed(longest > 0),
        "spans": summed(whole),
        "span_words": summed(longest * whole),
        "longest": most,
    }
    return found | {f"copied_{least}": summed(in_spans(longest, least)) for least in COPIED}


def figures_of(words: Words, rows: Rows) -> dict[str, Figure]:
    """Return every figure of FIGURES that the rows are there for; those whose denominator is 0 are NaN."""
    found = {}
    for name, (above, below) in FIGURES.items():
        if not above:
            found[name] = _distinct(words, int(name.removeprefix("distinct_")))
        elif above in rows and below in rows:
            interval = ratio_interval(rows[above], rows[below], LEVEL)
            found[name] = Figure(estimate=interval.estimate, low=interval.low, high=interval.high)
    shares = [name for name in found if name not in IN_WORDS and name != "bits_per_byte"]
    return found | {name: _not_certain(found[name], len(words.counts)) for name in shares}


def _not_certain(share: Figure, passages: int) -> Figure:
    """Return a share with wider limits where it is 0 or 1 in each passage: Wilson's, of as many trials as passages."""
    if share.estimate not in (0.0, 1.0) or math.isnan(share.low):
        return share
    low, high = wilson(share.estimate, passages, LEVEL)
    return Figure(estimate=share.estimate, low=low, high=high)


def _distinct(words: Words, length: int) -> Figure:
    """Return distinct n-grams as a share of all of all passages, with the jackknife's interval over passages."""
    hashes, of = [], []
    for place, (begin, end) in enumerate(zip(words.first[:-1], words.first[1:], strict=True)):
        own = window_hashes(words.hashes[begin:end], length)
        hashes.append(own)
        of.append(np.full(len(own), place))
    every, passage = np.concatenate([np.zeros(0, np.uint64), *hashes]), np.concatenate([np.zeros(0, np.int64), *of])
    if not len(every):
        return Figure(estimate=math.nan, low=math.nan, high=math.nan)
    number = np.unique(every, return_inverse=True)[1]
    distinct = int(number.max()) + 1
    pairs = np.unique(np.stack([number, passage]), axis=1)
    alone = np.bincount(pairs[0], minlength=distinct) == 1
    passages = len(words.counts)
    own_only = np.bincount(pairs[1][alone[pairs[0]]], minlength=passages)
    own_all = np.bincount(passage, minlength=passages)
    estimate = distinct / len(every)
    if passages < 2 or (own_all == len(every)).any():
        return Figure(estimate=estimate, low=math.nan, high=math.nan)
    without = (distinct - own_only) / (len(every) - own_all)
    error = math.sqrt((passages - 1) / passages * float(np.square(without - without.mean()).sum()))
    half = student_quantile((1 + LEVEL) / 2, passages - 1) * error
    return Figure(estimate=estimate, low=max(0.0, estimate - half), high=min(1.0, estimate + half))
