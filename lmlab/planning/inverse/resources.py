"""The speed, memory and disk of a recipe on a machine, as functions for inverse planning.

Speed is measured here or taken from a card's datasheet; bytes are formulas, since hundreds of recipes are evaluated. The plan of a
single recipe (`lmlab plan RECIPE`) measures them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lmlab.data.fresh import TrainingTokens
from lmlab.hardware.cards import BYTES, Card
from lmlab.model.cost import parameters
from lmlab.planning.forecasts.disk import disk_bytes
from lmlab.planning.inverse.speed import Speed, card_micro_batch, card_speed, measure_speed
from lmlab.planning.memory.parts import computed_in_chunks, gradient_sets
from lmlab.recipe import Recipe
from lmlab.training.memory import FLOAT_BYTES, USABLE, checkpoint_bytes, micro_batch, step_bytes
from lmlab.training.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Functions of a recipe. By default memory and disk are no limits."""

    speed: Speed
    memory: Callable[[Recipe], float] = lambda recipe: 0.0
    """Bytes of training at its micro-batch."""
    memory_limit: float = float("inf")
    disk: Callable[[Recipe], float] = lambda recipe: 0.0
    """Maximum bytes of a run's checkpoints."""


def resources_here(
    recipe: Recipe, policy: Policy, tokens: TrainingTokens, vocabulary: int, memory_bytes: float
) -> Resources:
    """Return this machine's resources, from real steps in `recipe`'s style, which are stored in the cache.

    `tokens` is the training split, `memory_bytes` the memory of the machine or its GPU (0: unknown).
    """
    element, device = policy.element_bytes, policy.torch_device.type

    def memory(one: Recipe) -> float:
        gradients = parameters(one.model, vocabulary)["total"] * FLOAT_BYTES
        if computed_in_chunks(one, policy):  # which saves few activations
            return checkpoint_bytes(one, vocabulary) + gradients * gradient_sets(one, policy)
        size, _ = micro_batch(one, vocabulary, device, memory_bytes, element)
        return step_bytes(one, vocabulary, size, element, device) + gradients * (gradient_sets(one, policy) - 1)

    limit = USABLE * memory_bytes if memory_bytes else float("inf")
    return Resources(
        speed=measure_speed(recipe, policy, tokens, vocabulary, lambda one: memory(one) <= limit),
        memory=memory,
        memory_limit=limit,
        disk=lambda one: _disk(one, vocabulary),
    )


def resources_on(card: Card, vocabulary: int) -> Resources:
    """Return the resources of a card that isn't here, or of several, by its datasheet; the memory is that of each."""

    def memory(one: Recipe) -> float:
        element = BYTES[card.precision_of(one.train.precision)]
        return step_bytes(one, vocabulary, card_micro_batch(card, one, vocabulary), element, "cuda")

    return Resources(
        speed=card_speed(card, vocabulary),
        memory=memory,
        memory_limit=USABLE * card.memory,
        disk=lambda one: _disk(one, vocabulary),
    )


def _disk(recipe: Recipe, vocabulary: int) -> int:
    weights = parameters(recipe.model, vocabulary)["total"] * FLOAT_BYTES
    return disk_bytes(recipe, recipe.train.steps, 0, checkpoint_bytes(recipe, vocabulary), weights)
