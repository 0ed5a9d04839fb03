"""Duplicates of a data set as plain values: within each split, of the training split in the others, and by unit.

A unit of an evaluated split (by which losses are compared) is a duplicate of training text if it is
exact: its text equals a training passage; near: a training passage has nearly the same words (`hygiene.near`); or
contained: CONTAINED_SHARE of its tokens are in spans that training contains too (`hygiene.spans`). Each unit counts for the first
of the three that applies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lmlab.data.dataset import Dataset
from lmlab.data.hygiene.near import Near, find_near
from lmlab.data.hygiene.passages import Passages
from lmlab.data.hygiene.spans import Spans, find_spans, span_tokens
from lmlab.data.hygiene.stretches import Places
from lmlab.data.hygiene.text import excerpt_of
from lmlab.data.progress import Progress

CONTAINED_SHARE = 0.8
EXAMPLES = 5
SHOWN_MEMBERS = 4
EXCERPT_TOKENS = 400
KINDS = ("exact", "near", "contained")


def compare(dataset: Dataset, progress: Progress, folder: Path) -> dict[str, Any]:
    """Return the duplicates as plain values; `folder` is where temporary files may be."""
    passages = Passages(dataset)
    places = {split: Places(dataset, split) for split in dataset.splits}
    near = find_near(passages, progress, folder)
    length = _span_tokens(dataset)
    evaluated = {}
    for split in dataset.splits[1:]:
        spans = _spans(dataset, split, length, progress)
        evaluated[split] = _evaluated(dataset, split, passages, near, spans, places)
    return {
        "compared": passages.kind,
        "span_tokens": length,
        "within": {split: _within(split, passages, near, places) for split in dataset.splits},
        "in_training": {split: values for split, (values, _) in evaluated.items()},
        "units": {split: units for split, (_, units) in evaluated.items()},
    }


def _span_tokens(dataset: Dataset) -> int:
    entries = dataset.facts["splits"].values()
    return span_tokens(sum(entry["tokens"] for entry in entries), sum(entry["bytes"] for entry in entries))


def _spans(dataset: Dataset, split: str, length: int, progress: Progress) -> Spans:
    train = dataset.tokens("train")
    entry = dataset.facts["splits"]["train"]
    return find_spans(
        train, dataset.tokens(split), length, dataset.vocabulary_size, entry["bytes"] / entry["tokens"], progress
    )


def _within(split: str, passages: Passages, near: Near, places: dict[str, Places]) -> dict[str, Any]:
    """Return the duplicates within a split: all passages of a cluster but its first."""
    numbers = passages.numbers(split)
    here = slice(numbers.start, numbers.stop)
    tokens = passages.tokens_of(split)
    copies = _all_but_first(near.equal_to[here])
    in_clusters = _all_but_first(near.cluster[here])
    roots, sizes = np.unique(near.cluster[here], return_counts=True)
    order = np.argsort(-sizes, kind="stable")[:EXAMPLES]
    return {
        "passages": len(tokens),
        "tokens": int(tokens.sum()),
        "exact": _share(copies, tokens),
        "near": _share(in_clusters & ~copies, tokens),
        "clusters": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max()),
        "examples": [_cluster(split, passages, near, places, int(roots[index])) for index in order if sizes[index] > 1],
    }


def _all_but_first(groups: np.ndarray) -> np.ndarray:
    """Return bool [passages]: whether an earlier passage is in the same group."""
    later = np.ones(len(groups), bool)
    later[np.unique(groups, return_index=True)[1]] = False
    return later


def _share(chosen: np.ndarray, tokens: np.ndarray) -> dict[str, Any]:
    total = int(tokens.sum())
    return {
        "passages": int(chosen.sum()),
        "tokens": int(tokens[chosen].sum()),
        "share_of_tokens": int(tokens[chosen].sum()) / total if total else 0.0,
    }


def _cluster(split: str, passages: Passages, near: Near, places: dict[str, Places], root: int) -> dict[str, Any]:
    """Return a cluster's size in a split, and its first members there."""
    numbers = passages.numbers(split)
    members = numbers.start + np.flatnonzero(near.cluster[numbers.start : numbers.stop] == root)
    return {
        "size": len(members),
        "exact_copies": int(_all_but_first(near.equal_to[members]).sum()),
        "members": [_member(passages, near, places, int(number)) for number in members[:SHOWN_MEMBERS]],
    }


def _member(passages: Passages, near: Near, places: dict[str, Places], number: int) -> dict[str, Any]:
    """Return the place and beginning of a passage, and the one that it is similar to."""
    split, token = passages.first_token(number)
    before, text = places[split].around(token, min(passages.length(number), EXCERPT_TOKENS))
    first = int(near.equal_to[number])
    partner = first if first != number else int(near.partner[number])
    return {
        **places[split].of_token(token),
        "excerpt": excerpt_of(text, before),
        "similarity": 1.0 if first != number else None if partner < 0 else float(near.similarity[number]),
        "similar_to": None if partner < 0 else _place(passages, places, partner),
    }


def _place(passages: Passages, places: dict[str, Places], number: int) -> dict[str, Any]:
    split, token = passages.first_token(number)
    return places[split].of_token(token)


def _evaluated(
    dataset: Dataset, split: str, passages: Passages, near: Near, spans: Spans, places: dict[str, Places]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (duplicates of training text in a split, the units affected)."""
    numbers = passages.numbers(split)
    here = slice(numbers.start, numbers.stop)
    tokens = passages.tokens_of(split)
    exact = near.equal_to[here] < len(passages.numbers("train"))
    similar = near.in_training[here] & ~exact
    covered = spans.covered()
    starts = np.append(dataset.units(split)["start"], spans.tokens)
    of_unit = np.searchsorted(passages.starts[split], starts[:-1], side="right") - 1
    if len(of_unit) == len(tokens):
        of_unit = np.arange(len(tokens))  # blocks without a token share their start with the next
    lengths = np.diff(starts)
    contained = _sums(covered, starts) >= CONTAINED_SHARE * np.maximum(lengths, 1)
    kinds = {"exact": exact[of_unit], "near": similar[of_unit], "contained": contained}
    kinds["contained"] = contained & ~kinds["exact"] & ~kinds["near"]
    either = np.logical_or.reduce(list(kinds.values()))
    touched = np.flatnonzero(exact | similar)
    values = {
        "passages": len(tokens),
        "exact": _share(exact, tokens),
        "near": _share(similar, tokens),
        "spans": {
            "tokens": int(covered.sum()),
            "share_of_tokens": float(covered.mean()),
            "longest_run": int((spans.end - spans.first).max(initial=0)),
        },
        "units": {
            "unit": dataset.facts["splits"][split]["unit"],
            "count": len(lengths),
            **{kind: _unit_share(chosen, lengths) for kind, chosen in kinds.items()},
            "any": _unit_share(either, lengths),
        },
        "examples": [
            _member(passages, near, places, numbers.start + int(index))
            for index in touched[np.argsort(-tokens[touched], kind="stable")][:EXAMPLES]
        ],
        "span_examples": _span_examples(spans, places[split], places["train"]),
    }
    units = {"count": len(lengths), **{kind: np.flatnonzero(chosen).tolist() for kind, chosen in kinds.items()}}
    return values, units


def _unit_share(chosen: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    share = _share(chosen, lengths)
    return {"units": share.pop("passages"), **share}


def _sums(flags: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return int64 [units]: the number of flagged tokens in each unit."""
    return np.diff(np.append(0, np.cumsum(flags, dtype=np.int64))[starts])


def _span_examples(spans: Spans, places: Places, training: Places) -> list[dict[str, Any]]:
    """Return the longest runs, with the training position of their first span."""
    longest = np.argsort(spans.first - spans.end, kind="stable")[:EXAMPLES]
    found = []
    for first, end, place in zip(
        *(column[longest].tolist() for column in (spans.first, spans.end, spans.place)), strict=True
    ):
        before, text = places.around(first, EXCERPT_TOKENS)
        found.append(
            {
                **places.of_token(first),
                "tokens": end - first,
                "excerpt": excerpt_of(text, before),
                "in_training": training.of_token(place),
            }
        )
    return found
