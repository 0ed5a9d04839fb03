"""How much is scored at each evaluation of a training: the whole validation split, or a fixed sample where that costs too much.

A pure function of the recipe and the split, and not of a measured speed, so that two runs of one recipe score the same tokens.
The final figures, which are those that get quoted, are always over the whole split and are made after the training.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.recipe import Recipe

TRAINING_STEP_IN_FORWARDS = 3
"""Forward and backward passes cost about three forward passes (two matrix products in the backward for one in the forward)."""
TRAIN_SAMPLE_SHARE = 0.25
"""The part of an evaluation that goes to the training split's sample."""
LARGEST_TRAIN_SAMPLE = 65_536
FEWEST_WINDOWS = 8


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """Tokens scored at each evaluation during the training."""

    valid_tokens: int
    """Of the validation split."""
    train_tokens: int
    """Of the training split, with dropout off."""
    split_tokens: int
    """What the whole validation split holds."""

    @property
    def whole(self) -> bool:
        """Whether the whole validation split is scored each time."""
        return self.valid_tokens >= self.split_tokens

    def tokens_in_all(self, steps: int, every: int) -> int:
        """Tokens scored over `steps` steps with an evaluation every `every`, and over the whole split at the end."""
        return evaluations_in(steps, every) * (self.valid_tokens + self.train_tokens) + self.split_tokens

    def sentence(self, share: float) -> str:
        """What a person should know of it."""
        if self.whole:
            return f"each evaluation scores the whole validation split ({self.split_tokens:,} tokens)"
        return (
            f"each evaluation scores a fixed {self.valid_tokens:,} of the {self.split_tokens:,} validation tokens, to stay within "
            f"{share:.0%} of the training time; the final figures are over the whole split"
        )


def evaluations_in(steps: int, every: int) -> int:
    """At step 0, at each multiple of `every`, and at the end."""
    return 1 + -(-steps // every)


def plan_evaluations(recipe: Recipe, steps: int, valid_tokens: int, train_tokens: int) -> EvaluationPlan:
    """The plan for a run of `steps` steps, given the tokens of both splits."""
    training = steps * recipe.train.batch * recipe.model.context
    forwards = recipe.evaluate.share * training * TRAINING_STEP_IN_FORWARDS
    budget = forwards / evaluations_in(steps, recipe.evaluate.every)
    least = FEWEST_WINDOWS * recipe.model.context
    train_sample = int(min(max(budget * TRAIN_SAMPLE_SHARE, least), LARGEST_TRAIN_SAMPLE, train_tokens))
    wanted = recipe.evaluate.tokens if recipe.evaluate.tokens is not None else int(max(budget - train_sample, least))
    return EvaluationPlan(valid_tokens=min(wanted, valid_tokens), train_tokens=train_sample, split_tokens=valid_tokens)
