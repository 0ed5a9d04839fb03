"""The finished runs beside the two endpoints of an explanation: their seeds, which are never trained again, and the seed noise.

They are selected and judged as `lmlab compare` does it, so that both commands reach the same verdict on the same two runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmlab.experiment.reading import read_record
from lmlab.experiment.record import Record
from lmlab.hardware.device import choose_device
from lmlab.runs import Run
from lmlab.stats.factorial import Cell
from lmlab.stats.paired_seeds import Noise
from lmlab.study.compare.comparing import runs_around
from lmlab.study.compare.pairs import Side, noise_of, sides_of
from lmlab.study.explain.endpoints import Endpoints
from lmlab.study.grid.study_plan import Given, StudyPlan
from lmlab.study.scores import Scale, scores_of


def given_endpoints(endpoints: Endpoints, devices: tuple[str, str], factors: int, runs: Path) -> tuple[Given, ...]:
    """Return the seeds of both endpoints in the folder `runs`, as runs of the first and the last cell.

    Empty for checkpoints, and where the interpolating runs have other settings than the endpoints: a scale model, another device,
    another training text, or a length that evaluations determine (`train.patience`).
    """
    one, other = (end.record for end in endpoints)
    if one is None or other is None or not _interpolated_as_they_are(endpoints, devices, runs):
        return ()
    there = runs_around([one, other])
    by_id = {record.id: record for record in there}
    sides = sides_of({record.name: record for record in (one, other)}, there, alone=False)
    found = []
    for side, level in zip(sides, (0, 1), strict=True):
        for record in (by_id[scores.run] for scores in side.scores):
            found.append(Given(cell=(level,) * factors, name=record.name, id=record.id, seed=record.seed or 0))
    return tuple(found)


def _interpolated_as_they_are(endpoints: Endpoints, devices: tuple[str, str], runs: Path) -> bool:
    one, other = (end.record for end in endpoints)
    assert one is not None and other is not None
    hardware = devices[0] != devices[1] or one.device == other.device
    text = one.data_id == other.data_id or endpoints[0].recipe.data.tokens != endpoints[1].recipe.data.tokens
    each = all(
        end.proxy is None
        and record.checkpoint is None
        and end.recipe.train.patience == 0
        and choose_device(device).type == end.device
        and record.run.folder.resolve().parent == runs.resolve()
        for end, record, device in zip(endpoints, (one, other), devices, strict=True)
    )
    return hardware and text and each


def finished_beside(plan: StudyPlan, runs: Path) -> list[Record]:
    """Return the finished runs in the folders of the plan's given runs; empty for a study without given runs."""
    if not plan.given:
        return []
    return [record for record in runs_around([read_record(Run(runs / plan.given[0].name))]) if record.final is not None]


def noise_beside(plan: StudyPlan, there: Sequence[Record], measure: Scale) -> Noise | None:
    """Estimate the noise between seeds from the runs `there`, as a comparison of both endpoints does; None where no run is
    given."""
    if not plan.given:
        return None
    by_id = {record.id: record for record in there}
    sides: dict[Cell, Side] = {}
    for one in plan.given:
        scores = scores_of(by_id[one.id]) if one.id in by_id else None
        if scores is not None:
            before = sides.get(one.cell)
            seeds = (*before.scores, scores) if before else (scores,)
            sides[one.cell] = Side(name=one.name, family=by_id[one.id].family, scores=seeds)
    return noise_of(list(sides.values()), there, measure) if sides else None
