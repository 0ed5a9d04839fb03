"""Recompute the figures of a file from the runs whose ids it contains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.experiment.at_checkpoint import record_at
from lmlab.experiment.evaluations import KIND as EVALUATIONS
from lmlab.experiment.evaluations import evaluation_rows
from lmlab.experiment.reading import read_record
from lmlab.experiment.record import Record
from lmlab.runs import Run, list_runs
from lmlab.study.compare.comparing import compare
from lmlab.study.compare.comparison import KIND as COMPARISON
from lmlab.study.compare.comparison import Asked
from lmlab.study.explain.continuing import Continued, effects_among
from lmlab.study.explain.explanation import KIND as EXPLANATION
from lmlab.study.explain.predictions import holds, loss_in, predicted_from
from lmlab.study.explain.regime import ending_of
from lmlab.study.explain.residual import Residual, residual_of_others, residual_of_runs
from lmlab.study.grid.ledger import KIND as STUDY
from lmlab.study.grid.ledger import recomputed
from lmlab.study.grid.pruning_runs import heading_at
from lmlab.study.grid.study_plan import StudyPlan, plan_from
from lmlab.study.results import KIND as RESULTS
from lmlab.study.results import measured_figures, own_figures, stored_text_figures, task_figure

OF_STUDY = ("measure", "level", "noise", "cells", "effects")
FORMER_ROWS = {
    "passes over the text": "epochs (passes over the text)",
    "of 20 tokens a parameter": "as a share of 20, the usual optimum",
    "time in all": "time in all, with evaluations and saving",
}
"""Names of a comparison's rows in files of earlier versions."""
OF_COMPARISON = ("scale", "differs", "same", "ratios", "curves_of", "equal", "reach", "trends", "pairs")


@dataclass(frozen=True)
class RunIndex:
    """The runs in a folder, by their ids."""

    folder: Path

    @cached_property
    def runs(self) -> Mapping[str, Run]:
        """The runs that can be read, by id."""
        found = {}
        for run in list_runs(self.folder):
            try:
                found[run.id] = run
            except LabError:
                continue
        return found

    def missing(self, name: str, number: str) -> str:
        """Return a line about a run that isn't there."""
        return f"run {name} ({number[:12]}) is not in {self.folder}"


@dataclass
class Recomputation:
    """The figures in a file, and the same from its runs."""

    figures: list[tuple[str, Any, Any]] = field(default_factory=list)
    """(place in the file, value in the file, value from the runs)."""
    missing: list[str] = field(default_factory=list)
    """A line for each run that isn't there."""


def of_study(value: Mapping[str, Any], origin: str, index: RunIndex, before: str = "") -> Recomputation:
    """Recompute a study.json."""
    plan = plan_from(value.get("plan"), origin)
    told = {str(run["name"]): (str(run["id"]), run["loss"]) for run in value["runs"]}
    recomputation = Recomputation()
    beside = [
        record for number in value.get("among", ()) if (record := _record("beside", number, index, recomputation))
    ]
    found = {}
    for name, (number, loss) in told.items():
        if loss is not None and number not in index.runs:
            recomputation.missing.append(index.missing(name, number))
        elif loss is not None:
            found[name] = index.runs[number]
    stopped = {str(run["name"]): run for run in value["runs"] if "stopped" in run}
    recipes = {one.name: one.recipe for one in plan.runs}
    for name, one in stopped.items():
        if one["stopped"] is None:
            continue
        if one["id"] not in index.runs:
            recomputation.missing.append(index.missing(name, str(one["id"])))
        elif name in recipes:
            heading = heading_at(index.runs[one["id"]], recipes[name], one["stopped"]["step"])
            ended = (
                None if heading is None else {"step": heading[0], "expected": heading[1].value, "low": heading[1].low}
            )
            recomputation.figures.append((f"{before}runs.{name}.stopped", one["stopped"], ended))

    def ending_of(name: str, ending: str) -> Mapping[str, Any] | None:
        if ending != "lost" or name not in stopped:
            return None
        return {"reason": stopped[name]["note"], **(stopped[name]["stopped"] or {})}

    now = recomputed(plan, found, ending_of, beside)
    recomputation.figures += [
        (f"{before}runs.{name}.loss", loss, now["runs"].get(name)) for name, (_, loss) in told.items() if name in found
    ]
    recomputation.figures += [(before + name, value.get(name), now[name]) for name in OF_STUDY]
    return recomputation


def of_explanation(value: Mapping[str, Any], origin: str, index: RunIndex) -> Recomputation:
    """Recompute an explain.json; losses that were reported by others are copied from the file."""
    recomputation = of_study(value["study"], origin, index, "study.")
    losses: list[float] = []
    for place, end in enumerate(value["runs"]):
        run = index.runs.get(str(end["id"]))
        loss = end["loss"] if run is None else _loss_of(run, end.get("checkpoint"))
        losses += [] if loss is None else [loss]
        recomputation.figures.append((f"runs[{place}].loss", end["loss"], loss))
    now = {place: found for place, _, found in recomputation.figures}
    interpolated = next((effect for effect in now["study.effects"] if effect["kind"] == "stack"), None)
    difference = losses[1] - losses[0] if len(losses) == 2 else None
    recomputation.figures += [
        ("difference", value["difference"], difference),
        ("bridged", value["bridged"], None if interpolated is None else interpolated["difference"]),
    ]
    residual = None
    if difference is not None and interpolated is not None:
        residual = _residual((losses[0], losses[1]), interpolated, now, plan_from(value["study"]["plan"], origin))
    recomputation.figures.append(("residual", value["residual"], None if residual is None else residual.value))
    if "residual_interval" in value:  # not in files of earlier versions
        interval = None if residual is None else residual.to_json()
        recomputation.figures.append(("residual_interval", value["residual_interval"], interval))
    for place, regime in enumerate(value.get("regimes", ())):
        _regime(f"regimes[{place}]", regime, index, recomputation)
    if value["continued"] is not None:
        _continued(value["continued"], index, recomputation)
    for place, entry in enumerate(value["predictions"]):
        record = _record(entry["run"], entry["id"], index, recomputation)
        if record is not None:
            measured = loss_in(record, entry["metric"])
            recomputation.figures += [
                (f"predictions[{place}].measured", entry["measured"], measured),
                (f"predictions[{place}].holds", entry["holds"], holds(predicted_from(entry["foretold"]), measured)),
            ]
    return recomputation


def of_comparison(value: Mapping[str, Any], origin: str, index: RunIndex) -> Recomputation:
    """Recompute the output of lmlab compare --json."""
    recomputation = Recomputation()
    records = [_record(run["name"], run["id"], index, recomputation) for run in value["runs"]]
    known = [record for record in records if record is not None]
    if len(known) < len(records):
        return recomputation
    asked = value["asked"]
    among = tuple(map(str, asked["among"]))
    for number in among:
        if number not in index.runs:
            recomputation.missing.append(index.missing("of the same recipe or data", number))
    if recomputation.missing:
        return recomputation
    places = [f"@{run['checkpoint']}" if run.get("checkpoint") is not None else "" for run in value["runs"]]
    now = compare(
        [f"{record.run.folder}{place}" for record, place in zip(known, places, strict=True)],
        index.folder,
        Asked(
            reach=tuple(asked["reach"]),
            alone=asked["alone"],
            on=asked["on"] or "",
            # Comparisons written before a text could be scored whole were of its validation split.
            split=asked.get("split", "valid") or "",
            reading=asked.get("reading", {}),
            device=asked["device"],
            among=among,
        ),
    )
    names = dict(zip(now.names, (run["name"] for run in value["runs"]), strict=True))
    found = now.to_json()
    rows = {row["name"]: row for row in found["ratios"]}
    found["ratios"] = [
        {**rows.get(FORMER_ROWS.get(row["name"], row["name"]), {}), "name": row["name"]} for row in value["ratios"]
    ]
    recomputation.figures += [(name, value.get(name), _renamed(found[name], names)) for name in OF_COMPARISON]
    if "tasks" in value:  # not in files of earlier versions
        sides = {f"{run}@{step}": f"{name}@{step}" for run, name in names.items() for step in _steps_in(found["tasks"])}
        recomputation.figures.append(("tasks", value["tasks"], _renamed(found["tasks"], sides)))
    return recomputation


def of_evaluations(value: Mapping[str, Any], origin: str, index: RunIndex) -> Recomputation:
    """Recompute the output of lmlab report --to json."""
    recomputation = Recomputation()
    for place, entry in enumerate(value["runs"]):
        name, _, which = str(entry["run"]).partition("@")
        run = index.runs.get(str(entry["id"]))
        if run is None:
            recomputation.missing.append(index.missing(name, str(entry["id"])))
            continue
        record = record_at(run, which) if which else read_record(run)
        recomputation.figures.append((f"runs[{place}].evaluations", entry["evaluations"], evaluation_rows(record)))
    return recomputation


def of_results(value: Mapping[str, Any], origin: str, index: RunIndex) -> Recomputation:
    """Recompute the output of lmlab compare --table --json, but for the rows of models that aren't runs.

    A checkpoint of which the run's own lines have no whole evaluation was scored from its weights: where these aren't there, as in
    an archive, its loss on the run's own split is left out.
    """
    recomputation = Recomputation()
    for place, row in enumerate(value["rows"]):
        if row["id"] is None:
            continue
        run, step = index.runs.get(str(row["id"])), row["step"]
        if run is None:
            recomputation.missing.append(index.missing(str(row["name"]), str(row["id"])))
            continue
        now: dict[str, Any] = {
            **_own_figures(run, step),
            "tasks": {task: task_figure(run, task, step) for task in row["tasks"]},
        }
        if row.get("measures") is not None:
            now["measures"] = measured_figures(run, step)
        if row["text"] is not None:
            now["text"] = stored_text_figures(run, str(row["text_id"]), str(value["split"]), step)
        for name, found in now.items():
            recomputation.figures.append((f"rows[{place}].{name}", row[name], _plain(found)))
    return recomputation


def _own_figures(run: Run, step: int) -> dict[str, Any]:
    """Return the figures on the run's own split; empty where they need weights that aren't there."""
    try:
        return {"own": own_figures(run, step)}
    except LabError:
        if run.checkpoints.exists():
            raise
        return {}


def _plain(value: Any) -> Any:
    """Return dataclasses as plain values."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


RECOMPUTE: Mapping[str, Callable[[Mapping[str, Any], str, RunIndex], Recomputation]] = {
    STUDY: of_study,
    EXPLANATION: of_explanation,
    COMPARISON: of_comparison,
    EVALUATIONS: of_evaluations,
    RESULTS: of_results,
}
"""Function by the file's `kind`."""


def _loss_of(run: Run, checkpoint: int | None) -> float | None:
    return (read_record(run) if checkpoint is None else record_at(run, str(checkpoint))).loss


def _residual(
    losses: tuple[float, float], interpolated: Mapping[str, Any], now: Mapping[str, Any], plan: StudyPlan
) -> Residual:
    if not plan.given:
        return residual_of_others(losses, interpolated)
    seeds = {cell["cell"]: cell["seeds"] for cell in now["study.cells"]}
    zero, whole = ((level,) * len(plan.factors) for level in (0, 1))
    return residual_of_runs(
        losses, interpolated, now["study.noise"], (seeds[plan.label(zero)], seeds[plan.label(whole)])
    )


def _regime(place: str, value: Mapping[str, Any], index: RunIndex, recomputation: Recomputation) -> None:
    """Recompute both endings of a regime; one that was reported by others is skipped."""
    for side, at in (("bridging", None), ("whole", value.get("checkpoint"))):
        said = value[side]
        if said is None or not said["runs"]:
            continue
        records = [_record(value["name"], number, index, recomputation) for number in said["runs"]]
        there = [record if at is None else record_at(record.run, str(at)) for record in records if record is not None]
        if len(there) == len(records):
            ending = ending_of(there)
            recomputation.figures.append((f"{place}.{side}", said, None if ending is None else ending.to_json()))


def _continued(value: Mapping[str, Any], index: RunIndex, recomputation: Recomputation) -> None:
    parent = _record(value["parent"]["name"], value["parent"]["id"], index, recomputation)
    runs = [(run, _record(run["name"], run["id"], index, recomputation)) for run in value["runs"]]
    if parent is None or any(record is None for _, record in runs):
        return
    made = [Continued(label=run["label"], record=record) for run, record in runs if record is not None]
    recomputation.figures.append(("continued.parent.loss", value["parent"]["loss"], parent.loss))
    for place, (run, one) in enumerate(zip(value["runs"], made, strict=True)):
        recomputation.figures.append((f"continued.runs[{place}].loss", run["loss"], one.loss))
        recomputation.figures.append((f"continued.runs[{place}].train_loss", run["train_loss"], one.train_loss))
    among = [record for number in value["among"] if (record := _record("", number, index, recomputation)) is not None]
    now = [{"of": what, **pair.to_json()} for what, pair in effects_among(parent, made, among)]
    names = {record.name: run["name"] for run, record in runs if record is not None}
    names[parent.name] = value["parent"]["name"]
    recomputation.figures.append(("continued.effects", value["effects"], _renamed(now, names)))


def _record(name: str, number: str, index: RunIndex, recomputation: Recomputation) -> Record | None:
    """Return the run with that id; None, with a line in `missing`, where it isn't there."""
    run = index.runs.get(str(number))
    if run is None:
        recomputation.missing.append(index.missing(str(name), str(number)))
        return None
    return read_record(run)


def _steps_in(pairs: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the steps of all sides, which are called NAME@STEP."""
    return {str(pair[side]).rpartition("@")[2] for pair in pairs for side in ("first", "second")}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return `value` with the runs' current names replaced by those from when the file was written."""
    if isinstance(value, dict):
        return {key: _renamed(part, names) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_renamed(part, names) for part in value]
    return names.get(value, value) if isinstance(value, str) else value
