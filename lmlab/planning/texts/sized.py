"""The shape of a model of any requested size: `--size 2M` is 2M parameters in all, n-gram tables included.

Inputs are the parameters, the vocabulary, the n-gram lengths with tables, and other settings of the model; the result is a model
whose total is within TOLERANCE of them. Depth follows width as in `lmlab.recipe.sizes`. Tables get at most about half of the
parameters, and no more rows than by default.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from lmlab import LabError
from lmlab.model.cost import parameters
from lmlab.recipe import GPT, PRESETS, Recipe, override
from lmlab.recipe.check import problems
from lmlab.recipe.model import Model
from lmlab.recipe.quantities import count
from lmlab.recipe.sizes import DEPTH_POWER, SIZES

TOLERANCE = 0.1
MOST_IN_TABLES = 0.5
"""Share of all parameters. A choice, not a measurement: a requested size mostly means a model without tables."""
FEWEST_ROWS = 1024
"""Rows of a table: in a smaller one nearly every row is shared by several n-grams."""
WIDTHS = (*range(16, 128, 8), *range(128, 1024, 16), *range(1024, 4096 + 1, 64))
HEAD_WIDTHS = (64, 56, 48, 40, 32, 24)
MORE_LAYERS = range(-3, 4)
"""Offsets from the rule of depth."""
WIDE = 256
"""Heads are about 64 wide from this width on, and 32 below."""
OFF_THE_RULE = 0.25
"""The weight of a factor in layers relative to a factor in parameters."""
MODERN: Mapping[str, Any] = PRESETS["modern"]
KNOWN = {(size.layers, size.width) for size in SIZES.values()}


def sized_model(total: int, vocabulary: int, ngrams: tuple[int, ...], context: int, settings: Mapping[str, Any]) -> GPT:
    """Return a model of about `total` parameters in modern style, except for `settings` (such as `model.layers`), which stay.

    It has no tables where these would have fewer than FEWEST_ROWS rows. LabError where there is no model of that size.
    """
    kind = settings.get("model.kind", "gpt")
    if kind != "gpt":
        raise LabError(
            f"--size is for model.kind gpt, not for {kind}: set model.layers, model.hidden and model.vector instead"
        )
    ways = [ngrams] if "model.ngrams" in settings or not ngrams else [ngrams, ()]
    for lengths in ways:
        models = [_with_rows(model, total, vocabulary, settings) for model in _models(lengths, context, settings)]
        near = [model for model in models if _is_near(model, total, vocabulary)]
        if near:
            return min(near, key=lambda model: _misfit(model, total, vocabulary))
    nearest = min(models, key=lambda model: abs(math.log(_total(model, vocabulary) / total)), default=None)
    raise LabError(_refusal(total, vocabulary, nearest, settings))


def modern(layers: int, heads: int, width: int, context: int, ngrams: tuple[int, ...]) -> GPT:
    """Return a model of that shape in modern style."""
    return dataclasses.replace(GPT(layers=layers, heads=heads, width=width, context=context, ngrams=ngrams), **MODERN)


def model_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the settings that belong to the model."""
    return {name: value for name, value in settings.items() if name.startswith("model.")}


def size_words(model: Model, vocabulary: int) -> str:
    """Describe a model's parameters, n-gram tables separately: 0.8M parameters + 8.39M in n-gram tables."""
    counted = parameters(model, vocabulary)
    tables = f" + {count(counted['ngrams'])} in n-gram tables" if counted["ngrams"] else ""
    return f"{count(counted['total'] - counted['ngrams'])} parameters{tables}"


def shape_words(model: Model) -> str:
    """Describe layers and width: 4 layers, 128 wide."""
    return f"{model.layers} {'layer' if model.layers == 1 else 'layers'}, {model.width} wide"


def _models(ngrams: tuple[int, ...], context: int, settings: Mapping[str, Any]) -> Iterator[GPT]:
    """Yield every shape that `settings` allow, with tables of the default number of rows."""
    asked = model_settings(settings)
    own = override(Recipe(), asked).model
    assert isinstance(own, GPT)
    for width in [own.width] if "model.width" in asked else WIDTHS:
        rule = layers_at(width)
        for layers in (
            [own.layers] if "model.layers" in asked else sorted({max(1, rule + more) for more in MORE_LAYERS})
        ):
            heads = own.heads if "model.heads" in asked else _heads(width)
            if heads is None or width % heads or width // heads % 2:
                continue
            model = modern(layers, heads, width, context, ngrams)
            changed = override(Recipe(model=model), asked).model if asked else model
            assert isinstance(changed, GPT)
            yield changed


def layers_at(width: int) -> int:
    """Return the layers of a model of that width by the rule of `lmlab.recipe.sizes`."""
    smallest = SIZES["300k"]
    found: int = max(1, round(smallest.layers * (width / smallest.width) ** DEPTH_POWER))
    return found


def _heads(width: int) -> int | None:
    """Return the heads for a width; None where none of HEAD_WIDTHS divides it."""
    for size in SIZES.values():
        if size.width == width:
            return size.heads
    wish = 64 if width >= WIDE else 32
    fitting = [head for head in HEAD_WIDTHS if width % head == 0] or ([width] if width < HEAD_WIDTHS[-1] else [])
    return width // min(fitting, key=lambda head: abs(math.log(head / wish))) if fitting else None


def _is_near(model: GPT, total: int, vocabulary: int) -> bool:
    counted = parameters(model, vocabulary)
    tables = (1.0 + TOLERANCE) * MOST_IN_TABLES * total
    return abs(counted["total"] / total - 1.0) <= TOLERANCE and counted["ngrams"] <= tables


def _total(model: GPT, vocabulary: int) -> int:
    return parameters(model, vocabulary)["total"]


def _with_rows(model: GPT, total: int, vocabulary: int, settings: Mapping[str, Any]) -> GPT:
    """Return the model with as many rows as `total` leaves for its tables, from FEWEST_ROWS to its own number."""
    if not model.ngrams or "model.ngram_rows" in settings:
        return model
    left = total - _total(dataclasses.replace(model, ngrams=()), vocabulary)
    rows = left // (len(model.ngrams) * model.width)
    return dataclasses.replace(model, ngram_rows=min(model.ngram_rows, max(FEWEST_ROWS, rows)))


def _misfit(model: GPT, total: int, vocabulary: int) -> float:
    """Return the distance from the wanted parameters without tables, and from the rule of depth."""
    dense = _total(dataclasses.replace(model, ngrams=()), vocabulary)
    most = len(model.ngrams) * GPT().ngram_rows * model.width
    wish = total - min(MOST_IN_TABLES * total, most)
    if (model.layers, model.width) in KNOWN and abs(dense / wish - 1.0) <= TOLERANCE:
        return 0.0
    return abs(math.log(dense / wish)) + OFF_THE_RULE * abs(math.log(model.layers / layers_at(model.width)))


def _refusal(total: int, vocabulary: int, nearest: GPT | None, settings: Mapping[str, Any]) -> str:
    asked = [f"{name} {value}" for name, value in model_settings(settings).items()]
    beside = f" and {', '.join(asked)}" if asked else ""
    if nearest is None and {"model.heads", "model.width"} <= settings.keys():
        impossible = next(problems(override(Recipe(), model_settings(settings))), "")
        if impossible:
            return impossible
    if nearest is None:
        return f"no model has {count(total)} parameters{beside}: expected model.heads that divide model.width, with even heads"
    return (
        f"no model has {count(total)} parameters with a vocabulary of {vocabulary:,}{beside}: the nearest has "
        f"{size_words(nearest, vocabulary)} ({shape_words(nearest)}); expected another --size or data.vocabulary"
    )
