"""Real training steps on a separate model that is discarded, so that the run's own state is unaffected."""

from __future__ import annotations

import time
from collections.abc import Callable

from lmlab.data.fresh import TrainingTokens
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy
from lmlab.training.setup import set_up

TIMED_STEPS = 3


def shortest_step(recipe: Recipe, policy: Policy, tokens: TrainingTokens, vocabulary: int) -> float:
    """Return the least time of a few steps without the first, in seconds: delays by other programs don't count."""
    times, _ = probe(recipe, policy, tokens, vocabulary, recipe.train.steps, lambda taken: len(taken) > TIMED_STEPS)
    return min(times[1:])


def probe(
    recipe: Recipe,
    policy: Policy,
    tokens: TrainingTokens,
    vocabulary: int,
    steps: int,
    enough: Callable[[list[float]], bool],
) -> tuple[list[float], int]:
    """Take steps until `enough` returns True; return the seconds of each, and the bytes of weights and optimizer.

    `tokens` is the training split, `steps` the length of the planned training. The policy is in force from here on.
    """
    training = set_up(recipe, policy, tokens, vocabulary, steps)
    times: list[float] = []
    while not enough(times):
        started = time.perf_counter()
        training.take()
        times.append(time.perf_counter() - started)
    return times, training.nbytes
