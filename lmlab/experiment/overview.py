"""All facts about one run, as plain values: the content of the page that `lmlab runs show` prints.

Nothing is computed: values are read from the run's folder, and None where its files lack them. A damaged file is listed in
`problems`, and the rest is still reported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from lmlab import LabError
from lmlab.checkpoint.layout import SUFFIX, folder_of
from lmlab.checkpoint.manifest import read_manifest
from lmlab.checkpoint.pointers import pointed
from lmlab.checkpoint.pruning import occupied
from lmlab.experiment.judging import lost_lines, present_steps, without_checkpoints
from lmlab.experiment.listing import ListedRun, row_of
from lmlab.experiment.timeline import events_of
from lmlab.recipe import Recipe, differences, is_recipe, load_recipe
from lmlab.runs import Run, read_note
from lmlab.runs.measures import all_measures
from lmlab.runs.run import RECIPE

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One checkpoint of a run."""

    step: int
    parts: tuple[str, ...]
    """weights, optimizer; none where it is damaged."""
    bytes: int
    """0 where it is regenerated from the seed."""
    pointers: tuple[str, ...]
    """latest, best."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """One run."""

    run: Run
    recipe: Recipe | None
    """None for an imported log."""
    base: str | None
    """The lmlab recipe from which the run's was made; None without one."""
    changed: Mapping[str, tuple[Any, Any]]
    """Setting -> (its value in `base`, its value here), for settings that affect the result."""
    row: ListedRun | None
    """Its row in the table of runs."""
    policy: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    checkpoints: tuple[Kept, ...]
    events: tuple[Mapping[str, Any], ...]
    """Without checkpoints."""
    measures: tuple[Mapping[str, Any], ...]
    """Stored figures of the texts of checkpoints: docs/formats.md, `measures/`."""
    note: str
    """The user's note; empty without one."""
    disk_bytes: int
    problems: tuple[str, ...]
    """What is damaged or missing, with what can be done."""

    @property
    def origin(self) -> dict[str, Any]:
        """The content of origin.json."""
        return self.run.origin()

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return {
            "folder": str(self.run.folder),
            **({} if self.row is None else self.row.to_json()),
            "base": self.base,
            "changed": {name: {"base": old, "here": new} for name, (old, new) in self.changed.items()},
            "origin": self.origin,
            "policy": dict(self.policy),
            "summary": self.summary,
            "checkpoints": [asdict(kept) for kept in self.checkpoints],
            "events": list(self.events),
            "measures": [dict(one) for one in self.measures],
            "note": self.note,
            "disk_bytes": self.disk_bytes,
            "problems": list(self.problems),
        }

    def commands(self) -> list[tuple[str, str]]:
        """Return the commands that apply to the run: (command, what it does)."""
        folder, status = self.run.folder, None if self.row is None else self.row.status
        if self.run.imported is not None:
            return [(f"lmlab report {folder}", "its curves")]
        if self.run.model_from is not None:
            return [
                (f"lmlab sample {folder} --prompt ...", "generate text"),
                (f"lmlab evaluate {folder} --on TEXT", "score it"),
                (f"lmlab train --from {folder} --data.corpus TEXT", "train it further"),
            ]
        steps = "" if self.row is None or not self.row.steps else f" --train.steps {2 * self.row.steps}"
        found = []
        if status in ("stopped", "new"):
            found.append((f"lmlab resume {folder}", "continue it to its end"))
        if status == "running":
            found.append((f"touch {folder / 'control' / 'stop'}", "save and stop it"))
        if self.checkpoints:
            found.append((f"lmlab sample {folder} --prompt ...", "generate text"))
            found.append((f"lmlab evaluate {folder}", "score it again"))
            if status == "finished":
                found.append((f"lmlab train --from {folder}{steps}", "train it further"))
        elif status == "finished":
            found.append((f"lmlab train {folder / RECIPE}", "train it again"))
        return [*found, (f"lmlab report {folder}", "its curves")]


def overview_of(run: Run) -> Overview:
    """Read all facts about `run`; LabError only where its origin.json can't be read."""
    run.origin()
    problems: list[str] = []

    def attempt(read: Callable[[], Value], otherwise: Value) -> Value:
        try:
            return read()
        except LabError as error:
            problems.append(str(error))
            return otherwise

    recipe = None if run.imported is not None else attempt(run.recipe, None)
    base = None if recipe is None else _base(recipe)
    nothing: tuple[Kept, ...] = ()
    kept = attempt(lambda: _checkpoints(run), nothing)
    if run.imported is None and not kept and run.status() != "new":
        problems.append(without_checkpoints(run))
    if lost := lost_lines(run):
        problems.append(lost)
    return Overview(
        run=run,
        recipe=recipe,
        base=None if base is None else base.name,
        changed={} if base is None or recipe is None else differences(base, recipe),
        row=attempt(lambda: row_of(run), None),
        policy=attempt(lambda: run.read("policy.json"), {}) if (run.folder / "policy.json").exists() else {},
        summary=attempt(run.summary, None),
        checkpoints=kept,
        events=tuple(attempt(lambda: events_of(run, checkpoints=False), [])),
        measures=tuple(attempt(lambda: all_measures(run.folder), [])),
        note=attempt(lambda: read_note(run.folder), ""),
        disk_bytes=occupied(run.folder),
        problems=tuple(dict.fromkeys(problems)),
    )


def _base(recipe: Recipe) -> Recipe | None:
    """Return the recipe in lmlab's catalogue with the same name."""
    with contextlib.suppress(LabError):
        return load_recipe(recipe.name) if is_recipe(recipe.name) and not recipe.name.endswith(".toml") else None
    return None


def _checkpoints(run: Run) -> tuple[Kept, ...]:
    steps = {name: pointer["step"] for name in ("latest", "best") if (pointer := pointed(run.checkpoints, name))}
    found = []
    for step in present_steps(run):
        folder = folder_of(run.checkpoints, step)
        parts: tuple[str, ...] = ()
        with contextlib.suppress(LabError):
            files = read_manifest(folder, step)["files"]
            parts = tuple(name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX))
        named = tuple(name for name, at in steps.items() if at == step)
        found.append(Kept(step=step, parts=parts, bytes=occupied(folder) if folder.is_dir() else 0, pointers=named))
    return tuple(found)
