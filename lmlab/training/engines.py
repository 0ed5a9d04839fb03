"""The registry of engines: which computation each makes of a recipe.

`train.engine auto` chooses between the native CPU engine and PyTorch (`lmlab.training.policy`); an engine that is added here is
used where it is named.
"""

from __future__ import annotations

from collections.abc import Callable

from lmlab.model.families import family_of
from lmlab.model.trainable import TrainableModel
from lmlab.optim.build import TrainingOptimizer
from lmlab.recipe import Recipe
from lmlab.recipe.extensions import note_kind
from lmlab.recipe.train import ENGINES
from lmlab.training.computation import Computation, NativeComputation, TorchComputation
from lmlab.training.policy import Policy

Compute = Callable[[Recipe, Policy, TrainableModel, TrainingOptimizer], Computation]
"""Returns the computation of a training's steps. LabError if it can't compute them here."""


def _native(recipe: Recipe, policy: Policy, model: TrainableModel, optimizer: TrainingOptimizer) -> Computation:
    """Return the native engine's computation, which for some families is PyTorch's with a part by the engine."""
    kind = NativeComputation if family_of(recipe.model).engine_computes_step else TorchComputation
    return kind(recipe, policy, model, optimizer)


COMPUTATIONS: dict[str, Compute] = {"native": _native, "torch": TorchComputation}
"""Engine -> its computation."""


def add_engine(name: str, compute: Compute) -> None:
    """Register an engine under a word for `train.engine`. ValueError if the word is known already."""
    if name in ENGINES:
        raise ValueError(f"train.engine {name} exists already")
    COMPUTATIONS[name] = compute
    ENGINES.append(name)
    note_kind("train.engine", name, compute)


def computation(recipe: Recipe, policy: Policy, model: TrainableModel, optimizer: TrainingOptimizer) -> Computation:
    """Return the computation of the policy's engine. LabError if the build of the native engine that it names is gone."""
    # Samples and scores of the run are computed by the same build.
    model.engine_identity = policy.engine_identity
    return COMPUTATIONS[policy.engine](recipe, policy, model, optimizer)
