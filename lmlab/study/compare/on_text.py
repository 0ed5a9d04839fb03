"""Compare runs of different data on the same documents: all models are scored on one text, and each unit's bits compared by its
bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.experiment.record import Record
from lmlab.experiment.scoring import Scored, score
from lmlab.runs.units import unit_type
from lmlab.study.compare.pairs import Side
from lmlab.study.scores import TextScores, size_of, windows_of


@dataclass(frozen=True, kw_only=True)
class OnText:
    """A text on which runs are scored."""

    given: str
    """A catalogue name, a path or the id of a data set."""
    split: str = ""
    """train, valid, test or all; empty: by the rule of `lmlab.experiment.scored_text`."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Settings for reading the text, where they differ from a run's own."""


def sides_on(
    named: Mapping[str, Record], which: Mapping[str, str], on: OnText, device: str, progress: Progress | None
) -> tuple[list[Side], list[str]]:
    """Score each named run on a text that is encoded with its own tokenizer, group them by recipe, and return notes about that
    text.

    `which` is the checkpoint of each run: latest, best or a step. LabError where they divide the text differently.
    """
    found = {label: _scored(record, which[label], on, device, progress) for label, record in named.items()}
    scored = {label: _scores(record, found[label]) for label, record in named.items()}
    first = next(iter(scored.values()))
    for label, scores in scored.items():
        assert scores.units is not None and first.units is not None
        if not np.array_equal(scores.units["key"], first.units["key"]):
            raise LabError(
                f"{on.given} is divided differently for {label} than for {next(iter(scored))}, because their data.separator, "
                "data.column or data.valid_share differ: set how it is read (--data.separator '\\n'), or score "
                "it with --split all"
            )
    families = {record.family for record in named.values()}
    sides: dict[str, Side] = {}
    for label, record in named.items():
        key = label if len(families) == 1 else record.family
        before = sides.get(key)
        seeds = (*before.scores, scored[label]) if before else (scored[label],)
        sides[key] = Side(name=before.name if before else label, family=record.family, scores=seeds)
    titles = dict.fromkeys(entry.part.title() for entry in found.values())
    notes = [f"the verdicts are of {', '.join(titles)}", *filter(None, (entry.seen_line() for entry in found.values()))]
    return list(sides.values()), notes


def _scored(record: Record, which: str, on: OnText, device: str, progress: Progress | None) -> Scored:
    return score(
        f"{record.run.folder}@{which}",
        on=on.given,
        split=on.split or None,
        reading=on.reading,
        device=device,
        progress=progress,
    )


def _scores(record: Record, scored: Scored) -> TextScores:
    found, part = scored.evaluation, scored.part
    rows = part.dataset.units(part.split)
    units = np.empty(len(rows), unit_type(1))
    units["key"], units["bytes"], units["tokens"] = rows["key"], rows["bytes"], found.tokens_per_unit
    units["bits"][:, 0] = found.bits_per_unit
    return TextScores(
        run=record.id,
        loss=found.loss,
        bits_per_byte=found.bits_per_byte,
        units=units,
        tokenizer=scored.tokenizer.to_json(),
        text=part.dataset.id,
        windows=windows_of(record.recipe),
        seed=record.seed,
        parameters=size_of(record),
    )
