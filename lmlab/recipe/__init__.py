"""Recipes: the dataclasses that describe an experiment, their TOML form, their dotted names and their hash."""

from lmlab.recipe.catalogue import is_recipe, load_recipe, recipe_names, source_of
from lmlab.recipe.check import check
from lmlab.recipe.data import Data
from lmlab.recipe.derived import with_settings
from lmlab.recipe.experiment import SECTIONS, Claim, Recipe
from lmlab.recipe.foreign import own_name
from lmlab.recipe.identity import differences, recipe_hash, science
from lmlab.recipe.model import GPT, PRESETS, Context, Model
from lmlab.recipe.optim import AdamW, Muon, Optim
from lmlab.recipe.override import dotted_names, nearest, override
from lmlab.recipe.schedule import WSD, Constant, Cosine, Linear, Schedule
from lmlab.recipe.text import from_toml, read_recipe, to_toml
from lmlab.recipe.train import Evaluate, Train

__all__ = [
    "GPT",
    "PRESETS",
    "SECTIONS",
    "WSD",
    "AdamW",
    "Claim",
    "Constant",
    "Context",
    "Cosine",
    "Data",
    "Evaluate",
    "Linear",
    "Model",
    "Muon",
    "Optim",
    "Recipe",
    "Schedule",
    "Train",
    "check",
    "differences",
    "dotted_names",
    "from_toml",
    "is_recipe",
    "load_recipe",
    "nearest",
    "override",
    "own_name",
    "read_recipe",
    "recipe_hash",
    "recipe_names",
    "science",
    "source_of",
    "to_toml",
    "with_settings",
]
