"""The model shapes and batches at which sides are compared, and lmlab's recipe for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.model.cost import parameters
from lmlab.recipe import Recipe, check, load_recipe, override
from lmlab.recipe.model import GPT

RECIPE = "shakespeare-cpu"
"""The faithful recipe whose options (gpt2 without biases, AdamW, clipping at 1) every shape takes over."""
ENGINES = ("native", "torch")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model and a batch; without dropout or biases, embeddings tied."""

    model: str
    """Its size in words, such as 0.8M."""
    layers: int
    heads: int
    width: int
    context: int
    batch: int
    """Sequences a step."""

    @property
    def name(self) -> str:
        """As the tables have it."""
        return f"{self.model} T{self.context} B{self.batch}"

    @property
    def model_name(self) -> str:
        """The model without the batch."""
        return f"{self.model} T{self.context}"


def small(context: int, batch: int) -> Shape:
    """nanoGPT's model for a CPU."""
    return Shape(model="0.8M", layers=4, heads=4, width=128, context=context, batch=batch)


def large(batch: int) -> Shape:
    """nanoGPT's character model for a GPU."""
    return Shape(model="10.8M", layers=6, heads=6, width=384, context=256, batch=batch)


SHAPES = (small(64, 12), small(128, 16), large(4), large(16), large(64))
HEADLINES = (small(64, 12), small(128, 16), large(16))
"""The three that targets name."""
SMOKE = (Shape(model="smoke", layers=1, heads=2, width=16, context=16, batch=2),)
"""Takes milliseconds: it shows that a benchmark runs, and measures nothing."""


def recipe_for(shape: Shape, corpus: Path, threads: int, engine: str = "auto") -> Recipe:
    """lmlab's recipe at that shape, on that engine."""
    settings = {
        "data.corpus": str(corpus),
        "model.layers": shape.layers,
        "model.heads": shape.heads,
        "model.width": shape.width,
        "model.context": shape.context,
        "train.batch": shape.batch,
        "train.threads": threads,
        "train.device": "cpu",
        "train.engine": engine,
    }
    return check(override(load_recipe(RECIPE), settings))


def parameter_counts(model: GPT, vocabulary: int) -> dict[str, Any]:
    """A model's numbers, in all and without the tables that n-grams are looked up in, which cost no arithmetic."""
    parts = parameters(model, vocabulary)
    tables = parts["ngrams"]
    return {"total": parts["total"], "lookup_tables": tables, "without_tables": parts["total"] - tables}
