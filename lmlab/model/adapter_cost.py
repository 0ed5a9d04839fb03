"""Which layers of a model have low-rank adapters, and what these cost. Arithmetic only: no torch."""

from __future__ import annotations

from lmlab import LabError
from lmlab.model.cost import flops_per_token, parameters
from lmlab.model.families import family_of
from lmlab.recipe import Recipe
from lmlab.recipe.train import Train


def adapted_layers(recipe: Recipe) -> dict[str, tuple[int, int]]:
    """Return name -> (outputs, inputs) of the linear layers that have adapters under `train.lora_rank` and `lora_layers`.

    Empty without a rank. LabError for a model that can't have adapters, or whose matrices have no such rank.
    """
    train = recipe.train
    if not train.lora_rank:
        return {}
    every = family_of(recipe.model).linear_layers(recipe.model)
    if not every:
        raise LabError(
            f"train.lora_rank {train.lora_rank} needs linear layers, which model.kind {recipe.model.kind} trains as a whole: "
            "use --train.lora_rank 0"
        )
    layers = {name: shape for name, shape in every.items() if train.lora_layers in ("all", name.split(".")[-2])}
    least = min(min(shape) for shape in layers.values())
    if train.lora_rank > least:
        raise LabError(
            f"train.lora_rank {train.lora_rank} is above the rank of this model's matrices: expected at most {least}, or 0 to "
            "train all weights"
        )
    return layers


def same_adapters(one: Train, other: Train) -> bool:
    """Return whether two trainings have adapters of the same shape and scale, or both none, so that either can go on from the
    other's optimizer state."""
    if not one.lora_rank and not other.lora_rank:
        return True
    names = ("lora_rank", "lora_alpha", "lora_layers")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def adapter_parameters(recipe: Recipe) -> int:
    """Return the number of trained parameters: rank x (outputs + inputs) for each adapted layer; 0 without adapters."""
    return recipe.train.lora_rank * sum(outputs + inputs for outputs, inputs in adapted_layers(recipe).values())


def trained_parameters(recipe: Recipe, vocabulary: int) -> int:
    """Return the number of parameters that a training of `recipe` changes by gradients: the adapters', or all of the model's."""
    return adapter_parameters(recipe) or parameters(recipe.model, vocabulary)["total"]


def frozen_copies(recipe: Recipe) -> int:
    """Return the number of weights of the adapted layers, whose frozen values are kept beside the merged ones."""
    return sum(outputs * inputs for outputs, inputs in adapted_layers(recipe).values())


def training_flops_per_token(recipe: Recipe, vocabulary: int) -> float:
    """Return the operations per token of forward and backward pass: see `flops_per_token`.

    With adapters a matrix of weights has one product in the backward pass instead of two, and each adapter has four, which are the
    factors' sizes: G B, (G B)^T x, x A^T and G^T (x A^T).
    """
    whole = flops_per_token(recipe.model, vocabulary)
    trained = adapter_parameters(recipe)
    if not trained:
        return whole.training
    attention = 2 * family_of(recipe.model).attention_multiplications(recipe.model, recipe.model.context)
    return 2 * whole.forward + attention + 2 * 2 * trained
