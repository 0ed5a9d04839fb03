"""Where the pieces of `benchmarks.gpu` run, and the trainings that they time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.recipe import Recipe, override

CHARACTERS, GPT2_TOKENS = 65, 50_257
TOKENS = 2_000_000
"""Random tokens to train on: the values don't matter to the time."""
LARGE = {
    "model.layers": 12,
    "model.heads": 12,
    "model.width": 768,
    "model.context": 1024,
    "model.tied": "false",
    "train.batch": 16,
}
SMALL = {"model.layers": 6, "model.heads": 6, "model.width": 384, "model.context": 256, "train.batch": 64}
TINY = {"model.layers": 2, "model.heads": 2, "model.width": 64, "model.context": 32, "train.batch": 4}


@dataclass(frozen=True, kw_only=True)
class Place:
    """The device, a checkout of nanoGPT, and whether tiny models are to stand for all."""

    device: str
    nanogpt: Path | None = None
    quick: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training by its name, settings and vocabulary."""

    name: str
    settings: dict[str, Any]
    vocabulary: int

    def recipe(self, place: Place, **more: Any) -> Recipe:
        """Return the recipe; with `quick` of a tiny model."""
        shape = {**self.settings, **(TINY if place.quick else {})}
        if shape.get("model.kind") == "context":
            shape.pop("model.heads", None)
        settings = {"train.device": place.device, "model.dropout": 0.0, **shape, **more}
        return override(Recipe(), {name: str(value) for name, value in settings.items()})

    def tokens(self) -> np.ndarray:
        """Return random tokens of the vocabulary."""
        return np.random.default_rng(1).integers(0, self.vocabulary, TOKENS, dtype=np.uint16)


CASES = (
    Case(name="10.8M characters", settings=SMALL, vocabulary=CHARACTERS),
    Case(name="163M GPT-2 tokens", settings=LARGE, vocabulary=GPT2_TOKENS),
)


def with_settings(case: Case, **settings: Any) -> Case:
    """Return the case with further settings."""
    return dataclasses.replace(case, settings={**case.settings, **settings})
