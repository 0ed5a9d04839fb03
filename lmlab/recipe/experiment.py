"""A recipe: the whole experiment as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from lmlab.recipe.data import Data
from lmlab.recipe.model import GPT, Model
from lmlab.recipe.optim import AdamW, Optim
from lmlab.recipe.schedule import Cosine, Schedule
from lmlab.recipe.train import Evaluate, Train


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published number that a recipe is compared with."""

    metric: str
    """What was published: valid_loss, valid_perplexity, valid_accuracy, train_loss, parameters, turning_step."""
    value: float
    """The number: losses in nats a token, an accuracy as a share."""
    source: str
    """Where it was published."""
    step: int | None = None
    """The step of the published number (none: the best of the run)."""
    note: str = ""
    """What to know before comparing."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One experiment from text to model. Every field has a dotted name (`model.layers`) in every interface."""

    name: str = "recipe"
    """Runs are named after it."""
    about: str = ""
    """One line for `lmlab recipes`."""
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=GPT)
    optim: Optim = field(default_factory=AdamW)
    schedule: Schedule = field(default_factory=Cosine)
    train: Train = field(default_factory=Train)
    evaluate: Evaluate = field(default_factory=Evaluate)
    published_vocabulary: int | None = None
    """The vocabulary size of the published run, at which `lmlab recipes` counts parameters."""
    claims: tuple[Claim, ...] = ()
    """Published numbers that this recipe reproduces."""
    derived: tuple[str, ...] = ()
    """Settings, by dotted name, that lmlab derived from others, and derives again when those change (`lmlab.recipe.derived`)."""


SECTIONS = ("data", "model", "optim", "schedule", "train", "evaluate")
