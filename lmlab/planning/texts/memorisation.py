"""Settings against memorisation, for a recipe that reads its text many times.

The rules are those by which a text's own recipe is chosen (`lmlab.planning.texts.choose`), where they were measured.
"""

from __future__ import annotations

from lmlab.model.cost import has_tables
from lmlab.planning.texts.choose import DECAY, LARGE_FOR_A_TEXT, MORE_DECAY, READ_A_FEW_TIMES, READ_SEVERAL_TIMES
from lmlab.recipe import Muon, Recipe

DROPOUT = 0.1
PATIENCE = 5
"""Evaluations without a better validation loss after which such a run ends."""


def may_memorise(passes: float, parameters_a_token: float) -> bool:
    """Return whether a model is so large for its text, and reads it so often, that its validation loss may rise again."""
    return passes > READ_SEVERAL_TIMES and parameters_a_token > LARGE_FOR_A_TEXT


def against_memorisation(recipe: Recipe, passes: float, parameters_a_token: float) -> dict[str, object]:
    """Return the settings that `recipe` needs when it reads its text so often, by dotted name; {} where it has them.

    `parameters_a_token` is the model's size per different token. No n-gram tables from READ_A_FEW_TIMES passes on; Muon with more
    weight decay (AdamW's is multiplied by a smaller rate, and stays); for a model that is large for its text dropout, and early
    stopping where its validation loss rises.
    """
    changes: dict[str, object] = {}
    if passes <= READ_A_FEW_TIMES:
        return changes
    often = passes > READ_SEVERAL_TIMES
    if has_tables(recipe.model):
        changes["model.ngrams"] = ()
    if isinstance(recipe.optim, Muon) and recipe.optim.weight_decay < (MORE_DECAY if often else DECAY):
        changes["optim.weight_decay"] = MORE_DECAY if often else DECAY
    if may_memorise(passes, parameters_a_token):
        changes["model.dropout"] = max(DROPOUT, recipe.model.dropout)
        changes["train.patience"] = recipe.train.patience or PATIENCE
    return changes
