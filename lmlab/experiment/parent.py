"""The checkpoint from which a branched run starts, and where in its parent's batches the branch begins."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.checkpoint.opened import Checkpoint
from lmlab.data.dataset import Dataset
from lmlab.experiment.judging import checkpoint_in
from lmlab.files import read_json
from lmlab.recipe import GPT, Recipe
from lmlab.runs import Run, open_run


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The checkpoint from which a branched run starts."""

    run: Run
    recipe: Recipe
    checkpoint: Checkpoint

    @property
    def step(self) -> int:
        """The parent's step at the branch."""
        return self.checkpoint.step

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights that the branch begins with."""
        return self.checkpoint.sha256_of("weights")


def parent_of(reference: str, runs: str | Path = "runs") -> Parent:
    """Return the checkpoint named by RUN@STEP (default: its latest), to start a new run from."""
    run, which = open_run(reference, Path(runs))
    recipe = run.recipe()
    checkpoint, _ = checkpoint_in(run, which or "latest")
    return Parent(run=run, recipe=recipe, checkpoint=checkpoint)


def parent_again(run: Run) -> Parent | None:
    """Return the parent that `run` was branched from, None without one; LabError where it is gone or is now another run."""
    lineage = run.origin().get("parent")
    if lineage is None:
        return None
    reference = f"{lineage.get('name')}@{lineage.get('step')}"
    with contextlib.suppress(LabError):
        parent = parent_of(reference, run.folder.parent)
        if parent.run.id == lineage.get("id") and parent.weights_sha256 == lineage.get("weights_sha256"):
            return parent
    raise LabError(
        f"{run.name} was stopped before its first checkpoint, and {reference}, which it begins from, is "
        "no longer there: start it again with lmlab train --from"
    )


def _changeable(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of the model in which a branch may differ from its parent: those without weights of their own."""
    model = recipe.model
    apart = {"boundary": model.boundary} if isinstance(model, GPT) and recipe.data.conversations else {}
    return {"dropout": model.dropout, **apart}


def same_stream(recipe: Recipe, data_id: str, parent: Parent) -> bool:
    """Return whether a branch continues in its parent's batches: same data, order, windows, seed, context and batch, and no
    data.fresh."""
    theirs = parent.recipe
    if recipe.data.fresh or theirs.data.fresh or parent.run.model_from is not None:
        return False
    return parent.run.fact("data_id") == data_id and all(
        one == other
        for one, other in (
            (recipe.data.order, theirs.data.order),
            (recipe.data.windows, theirs.data.windows),
            (recipe.data.targets, theirs.data.targets),
            (recipe.data.stride, theirs.data.stride),
            (recipe.train.seed, theirs.train.seed),
            (recipe.model.context, theirs.model.context),
            (recipe.train.batch, theirs.train.batch),
        )
    )


def first_step(recipe: Recipe, dataset: Dataset, parent: Parent | None, steps: int) -> int:
    """Return the step at which a run begins: above 0 for a branch that continues in its parent's batches."""
    if parent is None:
        return 0
    theirs = parent.run.fact("vocabulary_size")
    if theirs != dataset.vocabulary_size:
        raise LabError(
            f"{parent.run.name} has a vocabulary of {theirs:,} tokens, but this data has {dataset.vocabulary_size:,}: expected "
            "data prepared with the parent's tokenizer"
        )
    if read_json(parent.run.folder / "tokenizer.json") != dataset.tokenizer.to_json():
        own = parent.run.origin().get("data_id")
        hint = "" if own is None else f" (lmlab data extend {own} PATH adds text)"
        raise LabError(
            f"{parent.run.name} has another tokenizer than data set {dataset.id}, so its ids mean other text: expected data "
            f"prepared with the parent's tokenizer{hint}"
        )
    if recipe.model != dataclasses.replace(parent.recipe.model, **_changeable(recipe)):
        raise LabError(
            f"a branch of {parent.run.name} needs the same model: leave the model settings unchanged (dropout may change)"
        )
    if not same_stream(recipe, dataset.id, parent):
        return 0
    if parent.step >= steps:
        raise LabError(
            f"{parent.run.name}@{parent.step} is already at step {parent.step:,}: expected --train.steps above that"
        )
    return parent.step
