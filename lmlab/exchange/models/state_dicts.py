"""What the forms that are PyTorch files have in common: the weights of a state_dict(), and counts that follow from their shapes."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmlab import LabError
from lmlab.exchange.models.tables import Table
from lmlab.exchange.models.weights import ours
from lmlab.model.cost import parameters
from lmlab.recipe.check import problems
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.model import GPT
from lmlab.recipe.setting import limit_problem

WRAPPERS = re.compile(r"^(?:_orig_mod\.|module\.)+")
"""What torch.compile and DistributedDataParallel put before each name."""


def tensors_in(file: Path, value: Any) -> dict[str, Tensor]:
    """Return a file's value, which must be tensors by name, without wrappers' prefixes; LabError otherwise."""
    if not isinstance(value, Mapping) or not value:
        raise LabError(f"{file.name} has no weights by name: expected a model's state_dict()")
    found = {}
    for name, one in value.items():
        if not isinstance(name, str) or not isinstance(one, Tensor):
            raise LabError(
                f"{file.name} has {str(name)[:60]!r} among its weights, which is no tensor: expected a state_dict()"
            )
        found[WRAPPERS.sub("", name)] = one
    return found


def matrix(file: Path, tensors: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    """Return the rows and columns of a matrix; LabError where there is none of this name."""
    found = tensors.get(name)
    if found is None or found.ndim != 2 or 0 in found.shape:
        raise LabError(f"{file.name} has no matrix {name}: expected one among its weights")
    return found.shape[0], found.shape[1]


def layers_in(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """Return the number of layers: one more than the highest number in names that match `pattern`, whose group is the number."""
    expression = re.compile(pattern)
    return max((int(match[1]) + 1 for match in map(expression.match, tensors) if match), default=0)


def require_possible(model: GPT, vocabulary: int, file: str, there: int) -> None:
    """Raise LabError for settings that lmlab refuses, or of more parameters than the files have bytes (`there`), before anything
    is allocated for them."""
    limits = ((entry.name, limit_problem(entry, getattr(model, entry.name))) for entry in dataclasses.fields(model))
    outside = (f"model.{name} must be {limit}" for name, limit in limits if limit is not None)
    for problem in (*outside, *problems(Recipe(model=model))):
        raise LabError(f"{file} describes a model that can't be built: {problem}")
    needed = parameters(model, vocabulary)["total"]
    if needed > there:
        raise LabError(
            f"{file} describes a model of {needed:,} parameters, but its weights have {there:,} bytes: expected at least one a "
            "parameter"
        )


def weights_of(
    file: str, tensors: Mapping[str, Tensor], table: Table, passed_over: re.Pattern[str], model: GPT, vocabulary: int
) -> dict[str, Tensor]:
    """Return the weights under our names, in float32; LabError, with the file's name, where they aren't those of the model."""
    try:
        with torch.no_grad():
            return ours(tensors, table, passed_over, model, vocabulary)
    except LabError as error:
        raise LabError(f"{file}: {error}") from None
