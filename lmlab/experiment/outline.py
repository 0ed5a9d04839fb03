"""What is resolved before a run's first step: machine, data, length and evaluations."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lmlab.data.dataset import Dataset
from lmlab.data.fresh import TrainingTokens, training_split
from lmlab.data.reading import scored_targets
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.windows import split_windows
from lmlab.evaluation.losses import tokens_in_sample
from lmlab.experiment.fresh import tokens_of_run
from lmlab.experiment.parent import Parent, first_step
from lmlab.generation.prompts import known_prompts
from lmlab.hardware.memory import OutOfMemory, held_memory_bytes, release_freed_memory
from lmlab.planning.forecasts.calibration import Calibration
from lmlab.planning.forecasts.forecast import Forecast, forecast_from
from lmlab.planning.forecasts.history import Finished, finished_runs, machine_of, scores_on
from lmlab.planning.forecasts.score import calibrations_from
from lmlab.planning.losses.evidence import Evidence, evidence_for
from lmlab.planning.memory.check import require_memory
from lmlab.planning.trials.compilation import weighed_compilation
from lmlab.planning.trials.fastest import fastest_policy
from lmlab.planning.trials.here import try_here
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import seconds_in
from lmlab.runs import Run
from lmlab.scaling.estimate import Estimate
from lmlab.training.compiling import CompilationFailed
from lmlab.training.evaluating import EvaluationPlan, earlier_plan, plan_evaluations, with_samples
from lmlab.training.length import steps_of
from lmlab.training.policy import (
    Policy,
    apply_policy,
    choose_policy,
    with_smaller_micro_batch,
    without_compilation,
)
from lmlab.training.wall import WallClock


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What earlier runs predict for a run before anything of it is tried."""

    calibrations: dict[str, Calibration]
    evidence: Evidence | None
    """About its loss; None for a branch."""

    @property
    def loss(self) -> Estimate | None:
        """The expected loss of the last step, in nats a token."""
        return None if self.evidence is None else self.evidence.loss


Tried = TypeVar("Tried")


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The resolved configuration of a run, except its folder: policy, data set, length and evaluations."""

    recipe: Recipe
    policy: Policy
    dataset: Dataset
    training: TrainingTokens
    """The tokens that it trains on."""
    parent: Parent | None = None
    steps: int
    first: int = 0
    """The step at which it begins."""
    plan: EvaluationPlan
    idle_bytes: int = 0
    """Memory of this process when the data was ready and nothing was computed yet."""

    def forecast(self, runs: Path, say: Callable[[str], object], clock: WallClock) -> Forecast:
        """Forecast the run's cost and loss, from timed trial steps and the finished runs in `runs`.

        The time on `clock` after that is measured, and not part of the forecast's uncertainty.
        """
        device = self.policy.torch_device
        held = held_memory_bytes(device)
        expectation = self.expectation(finished_runs(runs))
        release_freed_memory()
        # Libraries that it imported stay for the whole run: scipy.optimize, with which a ladder's law is fitted, takes 20 MB.
        imported = max(0, held_memory_bytes(device) - held)
        trial = try_here(self.recipe, self.policy, self.dataset, say, self.idle_bytes + imported)
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

    def fitted(self, attempt: Callable[[Outline], Tried], say: Callable[[str], object]) -> tuple[Outline, Tried]:
        """Return the outline with a policy under which a trial succeeds, and the result of `attempt` with it.

        `attempt` raises OutOfMemory where a trial doesn't fit, and CompilationFailed where it can't be compiled. A smaller
        micro-batch or no compilation is then tried; where the recipe sets them, or no smaller one is possible, the error is raised.
        """
        outline = self
        while True:
            try:
                return outline, attempt(outline)
            except OutOfMemory:
                policy = with_smaller_micro_batch(outline.policy, outline.recipe)
                if policy is None:
                    raise
                said = f"out of memory with micro-batches of {outline.policy.micro_batch}: trying {policy.micro_batch}"
            except CompilationFailed as failure:
                policy = without_compilation(outline.policy, outline.recipe, failure)
                if policy is None:
                    raise
                said = f"{failure}: continuing without it"
            say(said)
            outline = dataclasses.replace(outline, policy=policy)

    def expectation(self, runs: list[Finished]) -> Expectation:
        """Return what earlier runs predict for this one."""
        calibrations = calibrations_from(scores_on(runs, machine_of(self.policy)))
        # The laws of loss don't cover runs that start from trained weights.
        known = None
        if self.parent is None:
            known = evidence_for(self.recipe, self.dataset, self.steps, runs, calibrations)
        return Expectation(calibrations=calibrations, evidence=known)


def outline_of(
    recipe: Recipe, dataset: Dataset, training: TrainingTokens, parent: Parent | None, say: Callable[[str], object]
) -> Outline:
    """Resolve `recipe` for this machine and apply its policy; LabError where it can't run here."""
    policy = choose_policy(recipe, say, vocabulary=dataset.vocabulary_size)
    release_freed_memory()
    idle = held_memory_bytes(policy.torch_device)
    require_memory(recipe, policy, dataset.vocabulary_size)
    whole = training_split(recipe, dataset)
    steps = steps_of(recipe, training)
    policy = weighed_compilation(recipe, policy, whole, dataset.vocabulary_size, steps)
    policy = fastest_policy(recipe, policy, whole, dataset.vocabulary_size, dataset.folder, say)
    apply_policy(policy)
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


def outline_of_run(run: Run, recipe: Recipe, policy: Policy, dataset: Dataset, first: int) -> Outline:
    """Return how `run`, which has begun, continues from the step `first`: over its own tokens, with its original samples."""
    training = tokens_of_run(run, recipe, dataset)
    steps = steps_of(recipe, training)
    plan = evaluation_plan(recipe, dataset, steps, run)
    return Outline(
        recipe=recipe, policy=policy, dataset=dataset, training=training, steps=steps, first=first, plan=plan
    )


def with_known_prompts(recipe: Recipe, tokenizer: Tokenizer, say: Callable[[str], object]) -> Recipe:
    """Return `recipe` without the prompts that the tokenizer can't encode, each reported to `say`; prompts don't affect
    training."""
    kept, passed_over = known_prompts(tokenizer, recipe.evaluate.prompts)
    for line in passed_over:
        say(line)
    return dataclasses.replace(recipe, evaluate=dataclasses.replace(recipe.evaluate, prompts=kept))


def deadline_of(recipe: Recipe) -> float | None:
    """Return when a training that begins now stops by `train.until`, in `time.monotonic()`; None for no limit."""
    return None if recipe.train.until is None else time.monotonic() + seconds_in(recipe.train.until)


def evaluation_plan(recipe: Recipe, dataset: Dataset, steps: int, run: Run | None = None) -> EvaluationPlan:
    """Return how much each evaluation scores: of a new run of `recipe`, or of `run`, which keeps its original samples."""
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
