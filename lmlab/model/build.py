"""Construction of a model from a recipe's model settings."""

from lmlab import LabError
from lmlab.model.context import ContextModel
from lmlab.model.gpt import GPTModel
from lmlab.recipe.check import check
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.model import Context, Model

TrainableModel = GPTModel | ContextModel
"""A model that a recipe can describe: a LanguageModel with the recipe's settings as `config`."""


def build_model(model: Model, vocabulary: int) -> TrainableModel:
    """Return the model that `model` describes, for tokens below `vocabulary`, on torch's default device.

    Its parameters are uninitialised until `initialise` or a checkpoint sets them. LabError if the settings are invalid.
    """
    check(Recipe(model=model))
    if vocabulary < 1:
        raise LabError(f"a model needs a vocabulary of at least 1 token, got {vocabulary}")
    return ContextModel(model, vocabulary) if isinstance(model, Context) else GPTModel(model, vocabulary)
