"""The facts of a recipe that measurements of training steps depend on, as cache keys beside machine and policy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lmlab.recipe import Recipe
from lmlab.recipe.optim import Muon


def facts_of_steps(recipe: Recipe, vocabulary: int) -> dict[str, Any]:
    """Return everything in a recipe that affects the duration of a step, except its batch and micro-batch."""
    cut = {} if recipe.data.windows == "stream" else {"windows": [recipe.data.windows, recipe.data.stride]}
    optim = recipe.optim
    # Muon's share of a step grows with its iterations; otherwise only the kind of optimizer matters.
    work = [optim.kind, optim.iterations] if isinstance(optim, Muon) else [optim.kind]
    return {**cut, "model": dataclasses.asdict(recipe.model), "optim": work, "vocabulary": vocabulary}


def facts_of(recipe: Recipe, vocabulary: int, data_folder: str | Path) -> dict[str, Any]:
    """Return everything in a recipe that affects the duration and memory of its parts, except its batch and micro-batch."""
    return {
        **facts_of_steps(recipe, vocabulary),
        "order": recipe.data.order,
        "background": recipe.train.background,
        "prompts": [len(recipe.evaluate.prompts), recipe.evaluate.sample_tokens],
        # The folder's name is the data set's id: the pages of its files that a run reads count as memory too.
        "data": Path(data_folder).name,
    }
