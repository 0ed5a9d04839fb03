"""The runs of a folder as rows of plain values, and their seeds grouped, for tables of runs."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.checkpoint.pruning import occupied
from lmlab.experiment.reading import read_outcome
from lmlab.experiment.record import Record
from lmlab.recipe import Recipe
from lmlab.runs import Run, list_runs, read_tags
from lmlab.runs.run import StatusName

AVERAGED = (
    *("loss", "perplexity", "accuracy", "bits_per_byte", "seconds", "tokens_per_second"),
    *("epoch_seconds", "step_seconds", "disk_bytes"),
)


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """One run in a table; None is unknown, or not known yet."""

    name: str
    id: str
    status: StatusName
    created: str
    """UTC, ISO 8601."""
    recipe_name: str | None
    corpus: str | None
    parameters: int | None
    seed: int | None
    step: int
    steps: int | None
    """The planned number."""
    tokens: int | None
    loss: float | None
    """Validation loss, nats a token: over the whole split for a finished run, else of its last evaluation."""
    bits_per_byte: float | None
    perplexity: float | None
    accuracy: float | None
    """Share of the validation tokens whose top-1 prediction was right."""
    epochs: float | None
    """Passes over its training text, without those of its lineage, like `tokens`."""
    seconds: float | None
    """Total time of a finished run, else of its training steps so far; for an imported run by its log's clock."""
    tokens_per_second: float | None
    epoch_seconds: float | None
    """Duration of an epoch in training steps."""
    step_seconds: float | None
    """Mean duration of a training step."""
    device: str | None
    disk_bytes: int
    """Size of all files in its folder."""
    tags: tuple[str, ...]
    family: str
    """Equal for runs that differ only in the seed."""
    recipe: Recipe | None
    """Used to filter and sort by its settings."""

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json: without the recipe, which is in the run's folder."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self) if entry.name != "recipe"}


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Finished runs that differ only in the seed. Runs of one seed count once, by their mean."""

    family: str
    names: tuple[str, ...]
    seeds: int
    """The number of different seeds."""
    means: Mapping[str, float | None]
    """For each name in AVERAGED, over the seeds."""
    deviations: Mapping[str, float | None]
    """Standard deviations, with n - 1; None for one seed."""
    first: ListedRun
    """For the values that they have in common."""

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        figures = {name: {"mean": self.means[name], "standard_deviation": self.deviations[name]} for name in AVERAGED}
        return {"family": self.family, "runs": list(self.names), "seeds": self.seeds, **figures}


def read_rows(root: Path) -> tuple[list[ListedRun], list[str]]:
    """Read all runs of `root`, the newest last, and return a line for each that can't be read."""
    rows, problems = [], []
    for run in list_runs(root):
        try:
            rows.append(row_of(run))
        except LabError as error:
            problems.append(f"{run.name}: {error}")
    return sorted(rows, key=lambda row: row.created), problems


def row_of(run: Run) -> ListedRun:
    """Return a run's row; LabError where one of its files is damaged."""
    record = read_outcome(run)
    try:
        return ListedRun(
            name=record.name,
            id=record.id,
            status=record.status,
            created=str(record.origin["created"]),
            recipe_name=record.recipe.name if record.recipe is not None else None,
            corpus=record.corpus,
            parameters=(record.parameters or {}).get("total"),
            seed=record.seed,
            step=record.step,
            steps=_planned_steps(record),
            tokens=record.tokens if record.own_tokens is None else record.own_tokens,
            loss=record.loss,
            bits_per_byte=record.bits_per_byte,
            perplexity=record.perplexity,
            accuracy=record.accuracy,
            epochs=record.own_epochs,
            seconds=record.total_seconds if record.total_seconds is not None else _seconds_so_far(record),
            tokens_per_second=record.tokens_per_second,
            epoch_seconds=record.epoch_seconds,
            step_seconds=record.step_seconds,
            device=None if record.device == "?" else record.device,
            disk_bytes=occupied(run.folder),
            tags=read_tags(run.folder),
            family=record.family,
            recipe=record.recipe,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LabError(
            f"{run.name} has a damaged file ({type(error).__name__}: {error}): put it back from a copy"
        ) from None


def seeds_of(rows: Sequence[ListedRun]) -> list[Seeds]:
    """Return the families with two or more finished runs, in the order of their first rows."""
    families: dict[str, list[ListedRun]] = {}
    for row in rows:
        if row.status == "finished" and row.loss is not None:
            families.setdefault(row.family, []).append(row)
    return [_seeds(family, members) for family, members in families.items() if len(members) > 1]


def _seeds(family: str, members: Sequence[ListedRun]) -> Seeds:
    by_seed: dict[int | None, list[ListedRun]] = {}
    for row in members:
        by_seed.setdefault(row.seed, []).append(row)
    means: dict[str, float | None] = {}
    deviations: dict[str, float | None] = {}
    for name in AVERAGED:
        known = [[value for row in same if (value := getattr(row, name)) is not None] for same in by_seed.values()]
        values = [statistics.fmean(same) for same in known if same]
        whole = len(values) == len(by_seed)
        means[name] = statistics.fmean(values) if whole else None
        deviations[name] = statistics.stdev(values) if whole and len(values) > 1 else None
    return Seeds(
        family=family,
        names=tuple(row.name for row in members),
        seeds=len(by_seed),
        means=means,
        deviations=deviations,
        first=members[0],
    )


def folded(rows: Sequence[ListedRun], groups: Sequence[Seeds]) -> list[ListedRun | Seeds]:
    """Return the rows with each family's members replaced by the family, at the place of its first member."""
    by_name = {name: group for group in groups for name in group.names}
    found: list[ListedRun | Seeds] = []
    for row in rows:
        group = by_name.get(row.name)
        if group is None:
            found.append(row)
        elif group not in found:
            found.append(group)
    return found


def _planned_steps(record: Record) -> int | None:
    if record.imported is not None:
        steps = record.imported.get("planned_steps")
        return None if steps is None else int(steps)
    if record.summary is not None:
        return record.step
    forecast = record.run.folder / "forecast.json"
    return int(record.run.read("forecast.json")["steps"]) if forecast.exists() else None


def _seconds_so_far(record: Record) -> float | None:
    """Return the time of its tokens so far, where the last evaluation is older than the last line."""
    if record.imported is not None or not record.tokens or not record.tokens_per_second:
        return record.train_seconds
    parent = record.origin.get("parent")
    if parent is not None:  # its tokens are in the count
        return record.train_seconds
    seconds = record.tokens / record.tokens_per_second
    return seconds if math.isfinite(seconds) else None
