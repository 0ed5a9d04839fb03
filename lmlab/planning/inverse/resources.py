"""The speed, memory and disk of a recipe on a machine, as functions for inverse planning.

Speed is measured here or taken from a card's datasheet; bytes are formulas, since hundreds of recipes are evaluated. The plan of a
single recipe (`lmlab plan RECIPE`) measures them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lmlab.data.fresh import TrainingTokens
from lmlab.hardware.cards import BYTES, Card
from lmlab.model.cost import activation_bytes, parameters
from lmlab.planning.forecasts.disk import disk_bytes
from lmlab.planning.inverse.speed import Speed, card_speed, gpu_pass, measure_speed
from lmlab.planning.memory.parts import checkpoint_bytes, computed_in_chunks, gradient_sets
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy

FLOAT_BYTES = 4
USABLE = 0.9
"""Share of a memory: the rest is for the system, the display and the allocators' losses."""


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
    element = FLOAT_BYTES if policy.autocast_dtype is None else 2
    device = policy.torch_device.type

    def memory(one: Recipe) -> float:
        fixed = checkpoint_bytes(one, vocabulary) + _gradients(one, vocabulary, gradient_sets(one, policy))
        # A batch that is computed in chunks saves few activations.
        in_chunks = computed_in_chunks(one, policy)
        return fixed + (
            0 if in_chunks else activation_bytes(one.model, vocabulary, _pass(one, device), element, device)
        )

    limit = USABLE * memory_bytes if memory_bytes else float("inf")
    return Resources(
        speed=measure_speed(recipe, policy, tokens, vocabulary, lambda one: memory(one) <= limit),
        memory=memory,
        memory_limit=limit,
        disk=lambda one: _disk(one, vocabulary),
    )


def resources_on(card: Card, vocabulary: int) -> Resources:
    """Return the resources of a card that isn't here, by its datasheet."""

    def memory(one: Recipe) -> float:
        precision = card.best_precision() if one.train.precision == "auto" else one.train.precision
        kept = activation_bytes(one.model, vocabulary, _pass(one, "cuda"), BYTES[precision], "cuda")
        return checkpoint_bytes(one, vocabulary) + _gradients(one, vocabulary, 1) + kept

    return Resources(
        speed=card_speed(card, vocabulary),
        memory=memory,
        memory_limit=USABLE * card.memory,
        disk=lambda one: _disk(one, vocabulary),
    )


def _gradients(recipe: Recipe, vocabulary: int, copies: int) -> int:
    return parameters(recipe.model, vocabulary)["total"] * FLOAT_BYTES * copies


def _pass(recipe: Recipe, device: str) -> int:
    """Return the sequences in a forward pass, as a policy chooses them."""
    return recipe.train.micro_batch or recipe.train.batch if device == "cpu" else gpu_pass(recipe)


def _disk(recipe: Recipe, vocabulary: int) -> int:
    weights = parameters(recipe.model, vocabulary)["total"] * FLOAT_BYTES
    return disk_bytes(recipe, recipe.train.steps, 0, checkpoint_bytes(recipe, vocabulary), weights)
