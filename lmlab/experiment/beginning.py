"""Where a run begins: at step 0, or at a checkpoint of its parent; and once more, where it was killed before it had saved."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lmlab import LabError
from lmlab.checkpoint import Checkpoint
from lmlab.data import Dataset
from lmlab.data.fresh import TrainingTokens, sequences_an_epoch, training_split
from lmlab.data.reading import scored_targets
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.windows import split_windows
from lmlab.evaluation import tokens_in_sample
from lmlab.experiment.circumstances import circumstances
from lmlab.experiment.judging import checkpoint_in
from lmlab.experiment.session import Session, open_session, planned_steps
from lmlab.files import DISK, Storage
from lmlab.generation.prompts import known_prompts
from lmlab.hardware import held_memory_bytes, release_freed_memory
from lmlab.planning.calibration import Calibration
from lmlab.planning.evidence import Evidence, evidence_for
from lmlab.planning.fastest import fastest_policy
from lmlab.planning.forecast import Forecast, forecast_from, try_here
from lmlab.planning.history import Finished, finished_runs, machine_of, scores_on
from lmlab.planning.room import require_memory
from lmlab.planning.score import calibrations_from
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import seconds_in
from lmlab.runs import Journal, Run, open_run
from lmlab.scaling.estimate import Estimate
from lmlab.training.display import Display
from lmlab.training.evaluating import EvaluationPlan, earlier_plan, plan_evaluations, with_samples
from lmlab.training.policy import Policy, apply_policy, choose_policy
from lmlab.training.saving import restore_training, restore_weights
from lmlab.training.state import read_state
from lmlab.training.wall import WallClock


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The checkpoint that a branched run starts from."""

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
    """The checkpoint named by RUN@STEP (default: its latest), to start a new run from."""
    run, which = open_run(reference, Path(runs))
    recipe = run.recipe()
    checkpoint, _ = checkpoint_in(run, which or "latest")
    return Parent(run=run, recipe=recipe, checkpoint=checkpoint)


def parent_again(run: Run) -> Parent | None:
    """The parent that `run` was branched from, None where it has none; LabError where it is gone or another by now."""
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
        "not there any more: start it again with lmlab train --from"
    )


def same_stream(recipe: Recipe, data_id: str, parent: Parent) -> bool:
    """Whether a branch reads on in its parent's batches: same data, order, windows, seed, context and batch, and nothing fresh."""
    theirs = parent.recipe
    if recipe.data.fresh or theirs.data.fresh:
        return False
    return parent.run.fact("data_id") == data_id and all(
        one == other
        for one, other in (
            (recipe.data.order, theirs.data.order),
            (recipe.data.windows, theirs.data.windows),
            (recipe.data.stride, theirs.data.stride),
            (recipe.train.seed, theirs.train.seed),
            (recipe.model.context, theirs.model.context),
            (recipe.train.batch, theirs.train.batch),
        )
    )


def first_step(recipe: Recipe, dataset: Dataset, parent: Parent | None, steps: int) -> int:
    """The step that a run begins at: above 0 for a branch that reads on in its parent's batches."""
    if parent is None:
        return 0
    theirs = parent.run.fact("vocabulary_size")
    if theirs != dataset.vocabulary_size:
        raise LabError(
            f"{parent.run.name} has a vocabulary of {theirs:,} tokens, but this data has {dataset.vocabulary_size:,}: expected "
            "data prepared with the parent's tokenizer"
        )
    if parent.run.read("tokenizer.json") != dataset.tokenizer.to_json():
        raise LabError(
            f"{parent.run.name} has another tokenizer than data set {dataset.id}, so its ids would mean other text: expected data "
            f"prepared with the parent's tokenizer (lmlab data extend {parent.run.origin()['data_id']} PATH adds text)"
        )
    if recipe.model != dataclasses.replace(parent.recipe.model, dropout=recipe.model.dropout):
        raise LabError(
            f"a branch of {parent.run.name} needs its model: leave the model settings as they are (dropout may change)"
        )
    if not same_stream(recipe, dataset.id, parent):
        return 0
    if parent.step >= steps:
        raise LabError(
            f"{parent.run.name}@{parent.step} is already at step {parent.step:,}: expected --train.steps above that"
        )
    return parent.step


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What is known of a run before anything of it is tried."""

    calibrations: dict[str, Calibration]
    evidence: Evidence | None
    """Of its loss; None for a branch."""

    @property
    def loss(self) -> Estimate | None:
        """The loss of the last step, in nats a token."""
        return None if self.evidence is None else self.evidence.loss


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What is settled before a run's first step: everything but its folder."""

    recipe: Recipe
    policy: Policy
    dataset: Dataset
    training: TrainingTokens
    """What it trains on."""
    parent: Parent | None
    steps: int
    first: int
    """The step that it begins at."""
    plan: EvaluationPlan
    idle_bytes: int
    """What this process held when the data was ready and nothing was computed yet."""

    def forecast(self, runs: Path, say: Callable[[str], object], clock: WallClock) -> Forecast:
        """What the run will need and reach, from a trial in this process and the finished runs in `runs`.

        What `clock` says when all of that is done is measured, and no longer forecast.
        """
        expectation = self.expectation(finished_runs(runs))
        trial = try_here(self.recipe, self.policy, self.dataset, say, self.idle_bytes)
        return forecast_from(
            trial,
            self.recipe,
            self.dataset,
            self.steps,
            self.first,
            self.plan,
            expectation.calibrations,
            expectation.loss,
            start_seconds=clock.seconds(),
            since=clock.since,
        )

    def expectation(self, runs: list[Finished]) -> Expectation:
        """What earlier runs say of this one."""
        calibrations = calibrations_from(scores_on(runs, machine_of(self.policy)))
        # Nobody has measured what a model that was trained before comes to.
        known = None
        if self.parent is None:
            known = evidence_for(self.recipe, self.dataset, self.steps, runs, calibrations)
        return Expectation(calibrations=calibrations, evidence=known)


def outline_of(
    recipe: Recipe, dataset: Dataset, training: TrainingTokens, parent: Parent | None, say: Callable[[str], object]
) -> Outline:
    """How `recipe` will be run on this machine, whose policy is in force from now on; LabError where it can't be."""
    policy = choose_policy(recipe, say)
    release_freed_memory()
    idle = held_memory_bytes(policy.torch_device)
    require_memory(recipe, policy, dataset.vocabulary_size)
    whole = training_split(recipe, dataset)
    policy = fastest_policy(recipe, policy, whole, dataset.vocabulary_size, dataset.folder, say)
    apply_policy(policy)
    steps = steps_of(recipe, training)
    return Outline(
        recipe=recipe,
        policy=policy,
        dataset=dataset,
        training=training,
        parent=parent,
        steps=steps,
        first=first_step(recipe, dataset, parent, steps),
        plan=evaluation_plan(recipe, dataset, steps),
        idle_bytes=idle,
    )


def with_known_prompts(recipe: Recipe, tokenizer: Tokenizer, say: Callable[[str], object]) -> Recipe:
    """`recipe` without the prompts that the tokenizer can't read, of which it is told: they are for reading, not for training."""
    kept, passed_over = known_prompts(tokenizer, recipe.evaluate.prompts)
    for line in passed_over:
        say(line)
    return dataclasses.replace(recipe, evaluate=dataclasses.replace(recipe.evaluate, prompts=kept))


def deadline_of(recipe: Recipe) -> float | None:
    """When a training that begins now is to stop by `train.until`, in `time.monotonic()`; None for no limit."""
    return None if recipe.train.until is None else time.monotonic() + seconds_in(recipe.train.until)


def steps_of(recipe: Recipe, training: TrainingTokens) -> int:
    """The optimizer steps of a run of `recipe` over these tokens."""
    return planned_steps(recipe, sequences_an_epoch(training, recipe.data.order, recipe.model.context))


def evaluation_plan(recipe: Recipe, dataset: Dataset, steps: int, run: Run | None = None) -> EvaluationPlan:
    """How much each evaluation scores: of a new run of `recipe`, or of `run`, whose samples stay what they were when it began."""
    tokens = {split: scored_targets(recipe, dataset, split) for split in ("valid", "train")}
    if run is None:
        plan = plan_evaluations(recipe, steps, tokens["valid"], tokens["train"])
    elif "evaluation" in run.origin():
        kept = run.fact("evaluation")
        plan = with_samples(recipe, (kept["valid_tokens"], kept["train_tokens"]), tokens["valid"], tokens["train"])
    else:
        plan = earlier_plan(recipe, steps, tokens["valid"], tokens["train"])
    scored = {
        split: tokens_in_sample(dataset, split, wanted, split_windows(recipe, dataset, split))
        for split, wanted in zip(("valid", "train"), plan.wanted, strict=True)
    }
    return dataclasses.replace(plan, valid_tokens=scored["valid"], train_tokens=scored["train"])


def start_units(run: Run, recipe: Recipe, dataset: Dataset, storage: Storage = DISK) -> None:
    """Begin the run's units with those of the validation split."""
    units, tokens = dataset.units("valid"), len(dataset.tokens("valid"))
    windows = split_windows(recipe, dataset, "valid")
    scored = None if windows is None else windows.targets_in(units["start"], np.append(units["start"][1:], tokens))
    run.start_units(units, tokens, scored, storage)


def begin(
    made: Run,
    outline: Outline,
    forecast: Forecast,
    display: Display,
    storage: Storage,
    clock: WallClock,
    kind: Literal["start", "resume"] = "start",
) -> Session:
    """A new run's files, and its session at its first step. Done again, it leaves what doing it once leaves."""
    dataset, parent = outline.dataset, outline.parent
    made.write("policy.json", outline.policy.to_json(), storage)
    made.write("forecast.json", forecast.to_json(), storage)
    made.write("tokenizer.json", dataset.tokenizer.to_json(), storage)
    start_units(made, outline.recipe, dataset, storage)
    segment = made.begin_segment(kind, outline.first, True, storage, **circumstances(outline.policy))
    journal = Journal(made.folder, run_id=made.id, segment=segment, storage=storage)
    journal.rewind({})
    session = open_session(
        made,
        outline.recipe,
        outline.policy,
        dataset,
        outline.training,
        outline.steps,
        outline.plan,
        journal,
        display,
        None,
        storage,
        clock,
    )
    if parent is not None:
        _inherit(session, parent, outline.first)
    return session


def _inherit(session: Session, parent: Parent, first: int) -> None:
    """Take the parent's weights, its optimizer where the kinds agree, and its place in the stream where that is the same."""
    recipe = session.recipe
    if recipe.optim.kind == parent.recipe.optim.kind and "optimizer" in parent.checkpoint.parts:
        restore_training(parent.checkpoint, session.model, session.optimizer, session.step.scaler)
    else:
        restore_weights(parent.checkpoint, session.model)
    session.step.weights_changed()
    state, _ = read_state(parent.checkpoint.state)
    if first:
        session.state.step, session.state.tokens = state.step, state.tokens
        session.state.cursor = session.state.first_cursor = state.cursor
