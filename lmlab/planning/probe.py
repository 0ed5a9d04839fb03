"""Real training steps on a model that is built for the purpose and thrown away, so that the run itself begins untouched."""

from __future__ import annotations

import time
from collections.abc import Callable

from lmlab.data.fresh import TrainingTokens
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy
from lmlab.training.setup import set_up


def probe(
    recipe: Recipe,
    policy: Policy,
    tokens: TrainingTokens,
    vocabulary: int,
    steps: int,
    enough: Callable[[list[float]], bool],
) -> tuple[list[float], int]:
    """Seconds of each step that was taken until they were `enough`, and the bytes of weights and optimizer.

    `tokens` is the training split, `steps` the length of the training that is planned. The policy is in force from here on.
    """
    training = set_up(recipe, policy, tokens, vocabulary, steps)
    times: list[float] = []
    while not enough(times):
        started = time.perf_counter()
        training.take()
        times.append(time.perf_counter() - started)
    return times, training.nbytes
