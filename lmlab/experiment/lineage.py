"""The runs from which a run is descended, and which tokens each of them had used when its branch began.

A run keeps this in its own origin.json (`lineage`, oldest first), so that it doesn't depend on its ancestors' folders. For a run
from before this was kept, the parents themselves are read, where they still exist.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.opened import Checkpoint
from lmlab.data.dataset import find_dataset
from lmlab.data.usage import Ancestry, Use, read_ancestry, read_use
from lmlab.runs import Run, open_run
from lmlab.training.state import State, read_state


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """A run up to a step."""

    run: str
    """Its id."""
    name: str
    step: int
    use: Use

    @property
    def title(self) -> str:
        """NAME@STEP, as on the command line."""
        return f"{self.name}@{self.step}"

    def to_json(self) -> dict[str, Any]:
        """Return the value for origin.json."""
        return {"run": self.run, "name": self.name, "step": self.step, **self.use.to_json()}


def lineage_through(run: Run, checkpoint: Checkpoint) -> tuple[Ancestor, ...]:
    """Return the lineage of a branch from that checkpoint, oldest first; LabError where it is no longer known."""
    state, _ = read_state(checkpoint.state)
    return (*lineage_before(run), ancestor_at(run, state))


def lineage_before(run: Run) -> tuple[Ancestor, ...]:
    """Return the lineage of `run` itself, oldest first; empty for a run without a parent."""
    origin = run.origin()
    if origin.get("lineage") is not None:
        return tuple(map(_read_ancestor, origin["lineage"]))
    parent = origin.get("parent")
    if parent is None:
        return ()
    older = _parent_of(run, parent)
    return (*lineage_before(older), _ancestor_once_at(older, parent["step"]))


def lineage_if_known(run: Run, checkpoint: Checkpoint) -> list[dict[str, Any]] | None:
    """Return `lineage_through` for origin.json, or None where it is unknown."""
    try:
        return lineage_to_json(lineage_through(run, checkpoint))
    except LabError:
        return None


def lineage_to_json(lineage: Sequence[Ancestor]) -> list[dict[str, Any]]:
    """Return the value for origin.json."""
    return [ancestor.to_json() for ancestor in lineage]


def ancestor_at(run: Run, state: State) -> Ancestor:
    """Return `run` in that state as an ancestor."""
    use = _use(run, (state.first_cursor, state.cursor), state.skipped)
    return Ancestor(run=run.id, name=run.name, step=state.step, use=use)


def _parent_of(run: Run, parent: dict[str, Any]) -> Run:
    """Return the run that `run` was branched from, in the same folder; LabError where it is gone, or is now another run."""
    with contextlib.suppress(LabError):
        older, _ = open_run(parent["name"], run.folder.parent)
        if older.id == parent["id"]:
            return older
    raise LabError(
        f"{run.name} does not record which tokens were used before it, and its parent {parent['name']} is no longer beside it: "
        f"put {parent['name']} back into {run.folder.parent}"
    )


def _ancestor_once_at(run: Run, step: int) -> Ancestor:
    """Return `run` at a step whose checkpoint may be gone: such a run read one batch a step, without a gap."""
    with contextlib.suppress(LabError):
        checkpoint, _ = find(run.checkpoints, str(step))
        return ancestor_at(run, read_state(checkpoint.state)[0])
    cursor = step * run.recipe().train.batch
    checkpoint, _ = find(run.checkpoints, "latest")
    skipped = [pair for pair in read_state(checkpoint.state)[0].skipped if pair[1] <= cursor]
    return Ancestor(run=run.id, name=run.name, step=step, use=_use(run, (0, cursor), skipped))


def _use(run: Run, cursor: tuple[int, int], skipped: Sequence[Sequence[int]]) -> Use:
    recipe = run.recipe()
    return Use(
        data=_ancestry(run),
        seed=recipe.train.seed,
        order=recipe.data.order,
        context=recipe.model.context,
        cursor=cursor,
        skipped=tuple((first, end) for first, end in skipped),
        fresh=recipe.data.fresh,
        windows=recipe.data.windows,
        stride=recipe.data.stride,
    )


def _ancestry(run: Run) -> Ancestry:
    """Return the run's data set and those that it extends, from the run, or for older runs from the cache."""
    origin = run.origin()
    if run.model_from is not None:
        raise LabError(
            f"which text {run.name} was trained on is unknown, since it is an imported model: leave data.fresh out"
        )
    if "data" not in origin:
        return find_dataset(run.fact("data_id")).ancestry
    try:
        return read_ancestry(origin["data"])
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(
            f"{run.folder / 'origin.json'} is damaged ({error!r}): expected its data sets; put it back from a copy of the run"
        ) from None


def ancestry_to_json(data: Ancestry) -> list[dict[str, Any]]:
    """Return the value for origin.json."""
    return [{"id": identity, "train_tokens": tokens} for identity, tokens in data]


def _read_ancestor(value: Any) -> Ancestor:
    use = read_use(value)
    try:
        return Ancestor(run=str(value["run"]), name=str(value["name"]), step=int(value["step"]), use=use)
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(
            f"lineage in the run's origin.json is damaged ({error!r}): expected run, name and step; put the file back from a copy"
        ) from None
