"""The number of tokens that each evaluation during a training scores.

An evaluation scores the whole validation split, or a fixed sample if that costs too much, and a sample of the training split of
the same size, so that the two losses can be compared. The sizes are a pure function of the recipe and the splits, not of a
measured speed, so that two runs of one recipe score the same tokens; origin.json stores them for a resume. The final figures,
which are the ones to quote, are computed after the training, over the whole split unless `evaluate.final` is sample.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.recipe import Recipe
from lmlab.recipe.quantities import count
from lmlab.recipe.train import FinalName
from lmlab.training.length import times_in

TRAINING_STEP_IN_FORWARDS = 3
"""Forward and backward passes cost about three forward passes (two matrix products in the backward for one in the forward)."""
LARGEST_TRAIN_SAMPLE = 65_536
"""Maximum tokens of the training sample at an evaluation. A larger validation sample is reduced to it for a comparison."""
LARGEST_FINAL_TRAIN_SAMPLE = 262_144
"""Maximum tokens of the training sample for the final figures."""
FEWEST_WINDOWS = 8
EARLIER_TRAIN_SHARE = 0.25
"""Share of an evaluation that went to the training sample in runs whose origin.json has no sizes of samples."""


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """Tokens scored at each evaluation during the training, and at its end."""

    wanted: tuple[int, int]
    """Requested tokens of the validation and of the training sample; samples consist of whole units, so actual sizes differ."""
    valid_tokens: int
    """Tokens of the validation sample: exact if the data set is available, else the requested number."""
    train_tokens: int
    """Tokens of the training sample, scored without dropout: exact if the data set is available, else the requested number."""
    split_tokens: int
    """Tokens of the whole validation split."""
    final: FinalName = "whole"
    """Whether the final figures are over the whole validation split or over the sample."""
    final_train_tokens: int = 0
    """Tokens of the training split scored for the final figures."""

    @property
    def whole(self) -> bool:
        """Whether the whole validation split is scored each time."""
        return self.valid_tokens >= self.split_tokens

    def tokens_in_all(self, steps: int, every: int) -> int:
        """Return the tokens scored in `steps` steps with an evaluation every `every` steps, final figures included."""
        return times_in(steps, every) * (self.valid_tokens + self.train_tokens) + self.final_tokens

    @property
    def final_tokens(self) -> int:
        """Tokens scored for the final figures, of both splits."""
        return (self.split_tokens if self.final == "whole" else self.valid_tokens) + self.final_train_tokens

    def to_json(self) -> dict[str, int]:
        """Return the requested sizes for origin.json; they hold for all evaluations of the run."""
        return {"valid_tokens": self.wanted[0], "train_tokens": self.wanted[1]}

    def lines(self, recipe: Recipe, steps: int) -> list[str]:
        """Return lines that describe the evaluations of a training of `steps` steps to the user."""
        times = times_in(steps, recipe.evaluate.every)
        if self.whole:
            return [f"Each of {times:,} evaluations scores the whole validation split ({self.split_tokens:,} tokens)."]
        why = f", to stay under {recipe.evaluate.share:.0%} of the time" if recipe.evaluate.tokens is None else ""
        final = "the whole split" if self.final == "whole" else "the same sample"
        return [
            f"Each of {times:,} evaluations scores {self.valid_tokens:,} of {count(self.split_tokens)} validation tokens{why}. "
            f"The final figures are over {final}."
        ]


def plan_evaluations(recipe: Recipe, steps: int, valid_tokens: int, train_tokens: int) -> EvaluationPlan:
    """Return the plan for a run of `steps` steps, given the tokens of both splits."""
    budget, least = _budget(recipe, steps), FEWEST_WINDOWS * recipe.model.context
    asked = recipe.evaluate.tokens
    valid = min(asked if asked is not None else max(budget // 2, least), valid_tokens)
    train = min(valid, LARGEST_TRAIN_SAMPLE, train_tokens)
    if asked is None and train == LARGEST_TRAIN_SAMPLE:  # validation gets the rest of the budget
        valid = min(budget - train, valid_tokens)
    return with_samples(recipe, (valid, train), valid_tokens, train_tokens)


def earlier_plan(recipe: Recipe, steps: int, valid_tokens: int, train_tokens: int) -> EvaluationPlan:
    """Return the plan of a run from an older version, whose training samples were smaller than the validation samples."""
    budget, least = _budget(recipe, steps), FEWEST_WINDOWS * recipe.model.context
    train = min(max(int(budget * EARLIER_TRAIN_SHARE), least), LARGEST_TRAIN_SAMPLE, train_tokens)
    asked = recipe.evaluate.tokens
    valid = min(asked if asked is not None else max(budget - train, least), valid_tokens)
    return with_samples(recipe, (valid, train), valid_tokens, train_tokens)


def with_samples(recipe: Recipe, wanted: tuple[int, int], valid_tokens: int, train_tokens: int) -> EvaluationPlan:
    """Return the plan with `wanted` sizes of the validation and training samples."""
    final = recipe.evaluate.final
    most = valid_tokens if final == "whole" else wanted[0]
    return EvaluationPlan(
        wanted=wanted,
        valid_tokens=wanted[0],
        train_tokens=wanted[1],
        split_tokens=valid_tokens,
        final=final,
        final_train_tokens=min(most, LARGEST_FINAL_TRAIN_SAMPLE, train_tokens),
    )


def _budget(recipe: Recipe, steps: int) -> int:
    """Return the number of tokens of both splits together that an evaluation may score."""
    training = steps * recipe.train.batch * recipe.model.context
    forwards = recipe.evaluate.share * training * TRAINING_STEP_IN_FORWARDS
    return int(forwards / times_in(steps, recipe.evaluate.every))
