"""The data that a plan rests on: the recipe's data set, or of a corpus that takes long to prepare its beginning."""

from __future__ import annotations

from lmlab.data.dataset import Dataset
from lmlab.data.preparation import planned, prepare
from lmlab.data.progress import Progress
from lmlab.data.reading import reading
from lmlab.data.shards.existing import Beginning
from lmlab.data.tokenizers import Tokenizer
from lmlab.recipe import Recipe
from lmlab.training.length import with_planned_length


def data_for_plan(
    recipe: Recipe, progress: Progress | None, tokenizer: Tokenizer | None = None
) -> tuple[Recipe, Dataset]:
    """Return the data set for a plan of `recipe`, prepared now if necessary, and the recipe: for a `Beginning` with steps in place
    of epochs, which the beginning is too short to count. `tokenizer` replaces that of the recipe's settings, as in `prepare`.
    """
    dataset = (
        planned(recipe.data, progress=progress)
        if tokenizer is None
        else prepare(recipe.data, progress=progress, tokenizer=tokenizer)
    )
    if isinstance(dataset, Beginning):
        recipe = with_planned_length(recipe, reading(recipe, dataset).sequences)
    return recipe, dataset
