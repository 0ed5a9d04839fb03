"""Construction of a model from a recipe's model settings."""

from lmlab import LabError
from lmlab.model.families import family_of
from lmlab.model.trainable import TrainableModel
from lmlab.recipe.check import check
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.model import Model


def build_model(model: Model, vocabulary: int) -> TrainableModel:
    """Return the model that `model` describes, for tokens below `vocabulary`, on torch's default device.

    Its parameters are uninitialised until `initialise` or a checkpoint sets them. LabError if the settings are invalid.
    """
    check(Recipe(model=model))
    if vocabulary < 1:
        raise LabError(f"a model needs a vocabulary of at least 1 token, got {vocabulary}")
    return family_of(model).build(model, vocabulary)
