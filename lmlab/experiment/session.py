"""One process at work on one run: model, optimizer and data brought together, and everything that the loop asks for.

A new run, a resume and a branch differ only in where the session's state comes from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.checkpoint import Checkpoint
from lmlab.data import Dataset
from lmlab.evaluation import Evaluation, evaluate_sample, evaluate_split
from lmlab.generation import Sampling, generate
from lmlab.model import GPTModel, build_model, flops_per_token, initialise
from lmlab.optim import TrainingOptimizer, build_optimizer
from lmlab.planning.peak import peak_flops
from lmlab.recipe import Recipe
from lmlab.recipe.train import MOST_STEPS
from lmlab.runs import Journal, Run
from lmlab.training.display import Display
from lmlab.training.evaluating import EvaluationPlan
from lmlab.training.loop import Ending, Hooks, Loop, Scores
from lmlab.training.policy import Policy, apply_policy
from lmlab.training.saving import require_weights, restore_training, save_training
from lmlab.training.signals import StopRequests
from lmlab.training.state import State
from lmlab.training.step import TrainingStep


@dataclass(kw_only=True)
class Session:
    """Everything of a run that is open in this process."""

    run: Run
    recipe: Recipe
    policy: Policy
    dataset: Dataset
    steps: int
    plan: EvaluationPlan
    journal: Journal
    display: Display
    model: GPTModel
    optimizer: TrainingOptimizer
    step: TrainingStep
    state: State
    saved_step: int = -1
    """The step whose checkpoint this session was opened from."""

    def train(self) -> Ending:
        """Run the loop to its end."""
        hooks = Hooks(record=self._record, evaluate=self._evaluate, sample=self._sample, save=self._save)
        flops = flops_per_token(self.recipe.model, self.dataset.vocabulary_size).training
        peak = peak_flops(self.policy)
        with StopRequests(self.run.read_control) as stop:
            loop = Loop(self.recipe, self.step, self.state, hooks, self.display, stop, flops, peak)
            loop.saved_step = self.saved_step
            self.display.open(f"{self.run.name}: {self.recipe.name}")
            try:
                return loop.run()
            finally:
                self.display.close()
                self.journal.flush()

    def whole_split(self, split: str = "valid") -> Evaluation:
        """The model's scores over a whole split, as they are quoted."""
        return evaluate_split(
            self.model,
            self.dataset,
            split,
            self.recipe.model.context,
            device=self.policy.torch_device,
            autocast=self.policy.autocast_dtype,
            engine=self.step.engine,
        )

    def _record(self, file: str, kind: str, step: int, tokens: int, values: dict[str, Any]) -> None:
        self.journal.append(file, kind, step=step, tokens=tokens, **values)

    def _evaluate(self, state: State) -> Scores:
        valid = self._sampled("valid", self.plan.valid_tokens)
        train = self._sampled("train", self.plan.train_tokens)
        self.run.append_units(state.evaluations, valid.bits_per_unit)
        metrics = {
            "valid_loss": valid.loss,
            "valid_perplexity": valid.perplexity,
            "valid_accuracy": valid.accuracy,
            "valid_bits_per_byte": valid.bits_per_byte,
            "valid_tokens": valid.tokens,
            "train_loss": train.loss,
            "train_tokens": train.tokens,
            "whole": valid.whole,
            "seconds": valid.seconds + train.seconds,
        }
        return Scores(valid_loss=valid.loss, metrics=metrics, line=evaluation_line(state, valid, train))

    def _sampled(self, split: str, tokens: int) -> Evaluation:
        return evaluate_sample(
            self.model,
            self.dataset,
            split,
            self.recipe.model.context,
            tokens,
            device=self.policy.torch_device,
            autocast=self.policy.autocast_dtype,
            engine=self.step.engine,
        )

    def _sample(self, state: State) -> None:
        prompts = self.recipe.evaluate.prompts
        if not prompts:
            return
        sampling = Sampling(tokens=self.recipe.evaluate.sample_tokens, seed=self.recipe.train.seed)
        for completion in generate(self.model, self.dataset.tokenizer, prompts, sampling):
            values = {"prompt": completion.prompt, "text": completion.text}
            self.journal.append("samples", "sample", step=state.step, tokens=state.tokens, **values)

    def _save(self, state: State, best: bool) -> None:
        # The line is written first, so that a resume from this checkpoint finds it in its place.
        self._record("events", "checkpoint", state.step, state.tokens, {"best": best})
        self.journal.flush()
        save_training(
            self.run.checkpoints,
            self.model,
            self.optimizer,
            state,
            self.journal.lengths(),
            keep=self.recipe.train.keep,
            best=best,
        )


def open_session(
    run: Run,
    recipe: Recipe,
    policy: Policy,
    dataset: Dataset,
    steps: int,
    plan: EvaluationPlan,
    journal: Journal,
    display: Display,
    checkpoint: Checkpoint | None,
) -> Session:
    """Build model and optimizer: fresh from the seed, or out of a checkpoint."""
    apply_policy(policy)
    if checkpoint is not None:
        require_weights(checkpoint, recipe.model, dataset.vocabulary_size)
    model = build_model(recipe.model, dataset.vocabulary_size)
    if checkpoint is None:
        initialise(model, recipe.train.seed)
    model.to(policy.torch_device)
    optimizer = build_optimizer(model, recipe.optim, policy.torch_device.type)
    step = TrainingStep(recipe, policy, model, optimizer, dataset.tokens("train"), steps)
    state = State(scale=step.scaler.scale if step.scaler is not None else None)
    if checkpoint is not None:
        state, _ = restore_training(checkpoint, model, optimizer, step.scaler)
    return Session(
        run=run,
        recipe=recipe,
        policy=policy,
        dataset=dataset,
        steps=steps,
        plan=plan,
        journal=journal,
        display=display,
        model=model,
        optimizer=optimizer,
        step=step,
        state=state,
        saved_step=-1 if checkpoint is None else checkpoint.step,
    )


def evaluation_line(state: State, valid: Evaluation, train: Evaluation) -> str:
    """An evaluation in words."""
    bits = "" if valid.bits_per_byte is None else f", {valid.bits_per_byte:.4f} bits per byte"
    sampled = "" if valid.whole else f" (sample of {valid.tokens:,} tokens)"
    return f"step {state.step:,}  valid {valid.loss:.4f}{bits}{sampled}  train {train.loss:.4f}"


def planned_steps(recipe: Recipe, windows: int) -> int:
    """The optimizer steps of a run: train.steps, or what train.epochs comes to over `windows` windows an epoch."""
    if recipe.train.epochs is None:
        return recipe.train.steps
    steps = max(1, math.floor(recipe.train.epochs * windows / recipe.train.batch))
    if steps > MOST_STEPS:
        raise LabError(
            f"train.epochs {recipe.train.epochs:g} comes to {steps:,} steps: expected at most {MOST_STEPS:,}"
        )
    return steps
