"""Runs of different data on the same documents: both models read one text, and each unit's bits are compared by its bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.experiment.record import Record
from lmlab.experiment.scoring import score
from lmlab.runs.units import unit_type
from lmlab.study.comparison_pairs import Side
from lmlab.study.comparison_text import Scores, windows_of

SPLIT = "valid"


def sides_on(
    named: Mapping[str, Record], which: Mapping[str, str], on: str, device: str, progress: Progress | None
) -> list[Side]:
    """Each named run scored on the validation split of `on` (a catalogue name or a path), read with its own tokenizer.

    Grouped by recipe. `which` is the checkpoint of each run: latest, best or a step. LabError where they split the text otherwise.
    """
    scored = {label: _scores(record, which[label], on, device, progress) for label, record in named.items()}
    first = next(iter(scored.values()))
    for label, scores in scored.items():
        assert scores.units is not None and first.units is not None
        if not np.array_equal(scores.units["key"], first.units["key"]):
            raise LabError(
                f"{on} is divided otherwise for {label} than for {next(iter(scored))}, because their data.valid_share, "
                "data.separator or data.column differ: name runs with the same division"
            )
    families = {record.family for record in named.values()}
    sides: dict[str, Side] = {}
    for label, record in named.items():
        key = label if len(families) == 1 else record.family
        before = sides.get(key)
        seeds = (*before.scores, scored[label]) if before else (scored[label],)
        sides[key] = Side(name=before.name if before else label, family=record.family, scores=seeds)
    return list(sides.values())


def _scores(record: Record, which: str, on: str, device: str, progress: Progress | None) -> Scores:
    loaded, dataset, found = score(f"{record.run.folder}@{which}", on=on, split=SPLIT, device=device, progress=progress)
    rows = dataset.units(SPLIT)
    units = np.empty(len(rows), unit_type(1))
    units["key"], units["bytes"], units["tokens"] = rows["key"], rows["bytes"], found.tokens_per_unit
    units["bits"][:, 0] = found.bits_per_unit
    return Scores(
        run=record.id,
        loss=found.loss,
        bits_per_byte=found.bits_per_byte,
        units=units,
        tokenizer=loaded.tokenizer.to_json(),
        text=dataset.id,
        windows=windows_of(record),
    )
