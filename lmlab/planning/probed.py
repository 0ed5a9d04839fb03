"""What the figures of a probe depend on, beside the machine: the key under which they are kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lmlab.recipe import Recipe
from lmlab.training.policy import Policy


def facts_of(recipe: Recipe, policy: Policy, vocabulary: int, data_folder: str | Path) -> dict[str, Any]:
    """Everything of recipe and policy that decides how long a step takes and what it holds, but its batch."""
    exactness = policy.exactness()
    del exactness["micro_batch"]
    cut = {} if recipe.data.windows == "stream" else {"windows": [recipe.data.windows, recipe.data.stride]}
    return {
        **cut,
        "policy": exactness,
        "model": dataclasses.asdict(recipe.model),
        "optim": recipe.optim.kind,
        "order": recipe.data.order,
        "background": recipe.train.background,
        "prompts": len(recipe.evaluate.prompts),
        "vocabulary": vocabulary,
        # Named after its id: the pages of its files that a run reads are memory too.
        "data": Path(data_folder).name,
    }
