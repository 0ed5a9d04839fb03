"""How much is scored at each evaluation of a training: the whole validation split, or a fixed sample where that costs too much,
and a sample of the training split of the same size, so that the two losses can be held against each other.

A pure function of the recipe and the splits, and not of a measured speed, so that two runs of one recipe score the same tokens.
A run keeps its samples: origin.json has their sizes. The final figures, which are those that get quoted, are made after the
training, over the whole split unless `evaluate.final` is sample.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.recipe import Recipe
from lmlab.recipe.train import FinalName
from lmlab.training.display import count

TRAINING_STEP_IN_FORWARDS = 3
"""Forward and backward passes cost about three forward passes (two matrix products in the backward for one in the forward)."""
LARGEST_TRAIN_SAMPLE = 65_536
"""Of an evaluation. A larger sample of the validation split is cut to it where the two are compared."""
LARGEST_FINAL_TRAIN_SAMPLE = 262_144
"""Likewise, beside the final figures."""
FEWEST_WINDOWS = 8
EARLIER_TRAIN_SHARE = 0.25
"""The part of an evaluation that went to the training sample in runs whose origin.json doesn't say how much they score."""


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """Tokens scored at each evaluation during the training, and at its end."""

    wanted: tuple[int, int]
    """How large the samples of the validation and of the training split are asked to be; they consist of whole units."""
    valid_tokens: int
    """Of the validation split; those of the sample's units, where the data set is at hand, and else as many as wanted."""
    train_tokens: int
    """Of the training split, with dropout off; likewise."""
    split_tokens: int
    """What the whole validation split holds."""
    final: FinalName = "whole"
    """What the final figures are over."""
    final_train_tokens: int = 0
    """Of the training split beside the final figures."""

    @property
    def whole(self) -> bool:
        """Whether the whole validation split is scored each time."""
        return self.valid_tokens >= self.split_tokens

    def tokens_in_all(self, steps: int, every: int) -> int:
        """Tokens scored over `steps` steps with an evaluation every `every`, and for the final figures."""
        return evaluations_in(steps, every) * (self.valid_tokens + self.train_tokens) + self.final_tokens

    @property
    def final_tokens(self) -> int:
        """Tokens scored for the final figures, of both splits."""
        return (self.split_tokens if self.final == "whole" else self.valid_tokens) + self.final_train_tokens

    def to_json(self) -> dict[str, int]:
        """For origin.json: what the run's evaluations score from its first to its last."""
        return {"valid_tokens": self.wanted[0], "train_tokens": self.wanted[1]}

    def lines(self, recipe: Recipe, steps: int) -> list[str]:
        """What a person should know of it, of a training of `steps` steps."""
        times = evaluations_in(steps, recipe.evaluate.every)
        if self.whole:
            return [f"Each of {times:,} evaluations scores the whole validation split ({self.split_tokens:,} tokens)."]
        why = f", to stay under {recipe.evaluate.share:.0%} of the time" if recipe.evaluate.tokens is None else ""
        final = "the whole split" if self.final == "whole" else "the same sample"
        return [
            f"Each of {times:,} evaluations scores {self.valid_tokens:,} of {count(self.split_tokens)} validation tokens{why}. "
            f"The final figures are over {final}."
        ]


def evaluations_in(steps: int, every: int) -> int:
    """At step 0, at each multiple of `every`, and at the end."""
    return 1 + -(-steps // every)


def plan_evaluations(recipe: Recipe, steps: int, valid_tokens: int, train_tokens: int) -> EvaluationPlan:
    """The plan for a run of `steps` steps, given the tokens of both splits."""
    budget, least = _budget(recipe, steps), FEWEST_WINDOWS * recipe.model.context
    asked = recipe.evaluate.tokens
    valid = min(asked if asked is not None else max(budget // 2, least), valid_tokens)
    train = min(valid, LARGEST_TRAIN_SAMPLE, train_tokens)
    if asked is None and train == LARGEST_TRAIN_SAMPLE:  # what it leaves of an evaluation is validation's
        valid = min(budget - train, valid_tokens)
    return with_samples(recipe, (valid, train), valid_tokens, train_tokens)


def earlier_plan(recipe: Recipe, steps: int, valid_tokens: int, train_tokens: int) -> EvaluationPlan:
    """The plan of a run that began before samples of the training split were as large as those of validation."""
    budget, least = _budget(recipe, steps), FEWEST_WINDOWS * recipe.model.context
    train = min(max(int(budget * EARLIER_TRAIN_SHARE), least), LARGEST_TRAIN_SAMPLE, train_tokens)
    asked = recipe.evaluate.tokens
    valid = min(asked if asked is not None else max(budget - train, least), valid_tokens)
    return with_samples(recipe, (valid, train), valid_tokens, train_tokens)


def with_samples(recipe: Recipe, wanted: tuple[int, int], valid_tokens: int, train_tokens: int) -> EvaluationPlan:
    """The plan with those sizes of samples."""
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
    """Tokens that an evaluation may score, of both splits together."""
    training = steps * recipe.train.batch * recipe.model.context
    forwards = recipe.evaluate.share * training * TRAINING_STEP_IN_FORWARDS
    return int(forwards / evaluations_in(steps, recipe.evaluate.every))
