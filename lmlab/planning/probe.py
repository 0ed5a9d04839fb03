"""Real training steps on a model that is built for the purpose and thrown away, so that the run itself begins untouched."""

from __future__ import annotations

import time
from collections.abc import Callable

from lmlab.data.fresh import TrainingTokens
from lmlab.model import build_model, initialise
from lmlab.optim import optimizer_of
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy
from lmlab.training.state import State
from lmlab.training.step import TrainingStep


def probe(
    recipe: Recipe,
    policy: Policy,
    tokens: TrainingTokens,
    vocabulary: int,
    steps: int,
    enough: Callable[[list[float]], bool],
) -> tuple[list[float], int]:
    """Seconds of each step that was taken until they were `enough`, and the bytes of weights and optimizer.

    `tokens` is the training split, `steps` the length of the training that is planned.
    """
    model = build_model(recipe.model, vocabulary)
    initialise(model, recipe.train.seed, recipe.optim.transfer_from)
    model.to(policy.torch_device)
    optimizer = optimizer_of(model, recipe, policy.torch_device.type)
    step = TrainingStep(recipe, policy, model, optimizer, tokens, steps)
    state = State()
    times: list[float] = []
    while not enough(times):
        started = time.perf_counter()
        step.take(state)
        times.append(time.perf_counter() - started)
        state.step += 1
        state.cursor += recipe.train.batch
    tensors = [*model.state_dict().values(), *optimizer.state_tensors().values()]
    return times, sum(tensor.numel() * tensor.element_size() for tensor in tensors)
