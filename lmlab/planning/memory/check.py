"""Check whether a training can fit into this machine's memory at all, before any of it is allocated."""

from __future__ import annotations

from lmlab import LabError
from lmlab.model.adapter_cost import adapter_parameters, frozen_copies
from lmlab.model.cost import parameters
from lmlab.recipe import Recipe
from lmlab.training.memory import FLOAT_BYTES, device_memory_bytes
from lmlab.training.policy import Policy

NUMBERS_A_PARAMETER = 3
"""float32: the weight, its gradient, and at least one running mean of the optimizer."""
BATCH_BYTES = 16
"""Per token of a batch: input and target, int64 each."""


def needed_bytes(recipe: Recipe, vocabulary: int) -> int:
    """Return a lower limit of a training's memory: activations, which depend on the engine, aren't counted."""
    count = parameters(recipe.model, vocabulary)["total"] * NUMBERS_A_PARAMETER
    if recipe.train.lora_rank:
        count = parameters(recipe.model, vocabulary)["total"] + frozen_copies(recipe)
        count += adapter_parameters(recipe) * NUMBERS_A_PARAMETER
    return count * FLOAT_BYTES + recipe.train.batch * recipe.model.context * BATCH_BYTES


def require_memory(recipe: Recipe, policy: Policy, vocabulary: int) -> None:
    """Raise LabError where `recipe` needs more memory than the machine, or the policy's GPU, has."""
    needed, there = needed_bytes(recipe, vocabulary), device_memory_bytes(policy.torch_device)
    needed = needed // policy.ranks if policy.sharded else needed
    if there and needed > there:
        count = parameters(recipe.model, vocabulary)["total"]
        raise LabError(
            f"this training needs at least {needed / 1e9:,.1f} GB of memory ({count:,} parameters, batches of "
            f"{recipe.train.batch * recipe.model.context:,} tokens), {policy.device} has {there / 1e9:,.1f} GB: use a smaller "
            "model.width, model.layers or train.batch"
        )
