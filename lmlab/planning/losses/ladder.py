"""The ladder: small trainings from which a loss is extrapolated. Two narrower models for as many steps, and the narrowest for
fewer.

They are the widest models that together take at most MOST_SHARE of the training's FLOPs, or more where these are few or the model
is small. The gain from width followed one law in all trainings examined; the gain from length differs between trainings, so the
ladder is as long as the training itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import cache_folder, read_json, write_shared
from lmlab.model.cost import flops_per_token, parameters
from lmlab.model.families import family_of
from lmlab.recipe import Recipe, override, recipe_hash
from lmlab.recipe.model import Model
from lmlab.recipe.quantities import duration
from lmlab.scaling.ladder import LadderPoint

FORMAT = 3
FIELDS = ("size", "length", "loss")

MOST_SHARE = 0.1
CHEAP_FLOPS, CHEAP_SHARE = 3e13, 0.15
"""A training of fewer FLOPs, some five minutes on two CPU cores, may spend more of them on its ladder: wider rungs extrapolate less
(docs/notes/ladders-of-narrow-models.md)."""
SMALL_MODEL_SHARE = 0.25
"""The same for a model whose rungs would have one width otherwise, which says nothing of the gain from width."""
DESIGN = ((2 / 3, 1 / 16), (2 / 3, 1 / 8), (2 / 3, 1.0), (1.0, 1.0))
"""(share of the widest rung's width, share of the steps)."""
WIDEST, NARROWEST, WIDTHS_APART = 0.25, 1 / 32, 1 / 128
"""Shares of the model's width: limits of the widest rung's width, and the step of its choice."""
LARGEST = 0.9
"""The widest rung of a model so small that narrower rungs have one width."""
FEWEST_STEPS = 10
MOST_SYMBOLS = 256
"""The largest vocabulary of characters or bytes: AdamW's rate then grows as 1/width for all tensors, up to MOST_RATE. With a larger
one, embeddings and head do much of the learning, and keep their rate (muP, arXiv 2203.03466)."""
MOST_RATE = 0.02

START_SECONDS = 4.0
"""Per training: the model is built and the whole validation split is scored."""
NARROW = 1.5
"""The factor by which a narrow model's operations are slower than a wide one's: 25 s were measured for a run of 66 s."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One small training."""

    recipe: Recipe
    size: float
    """Parameters of the blocks, as a share of the whole model's."""
    length: float
    """Share of the steps."""
    share: float
    """Share of the whole training's FLOPs."""


def rungs_of(recipe: Recipe, vocabulary: int, steps: int) -> list[Rung]:
    """Return the ladder for a training of `recipe` with `steps` steps, the cheapest first. LabError where its family has
    no narrower models, or adapters are trained.

    Where even narrow models are too expensive, because the head dominates the FLOPs, all are shortened by the same factor.
    """

    if recipe.train.lora_rank:
        raise LabError(
            "a ladder trains narrower models from initial weights, and train.lora_rank adapts trained ones: plan without --ladder"
        )

    def rungs(widest: float, scale: float) -> list[Rung]:
        return [_rung(recipe, vocabulary, steps, widest * width, length * scale) for width, length in DESIGN]

    flops = flops_per_token(recipe.model, vocabulary).training * steps * recipe.train.batch * recipe.model.context
    most = CHEAP_SHARE if flops < CHEAP_FLOPS else MOST_SHARE
    widest = WIDEST
    found = rungs(widest, 1.0)
    while not _differ_in_width(found) and widest < LARGEST:
        widest += WIDTHS_APART
        found = rungs(widest, 1.0)
    while _share(found) > most and widest > NARROWEST:
        narrower_rungs = rungs(widest - WIDTHS_APART, 1.0)
        if not _differ_in_width(narrower_rungs):
            most = SMALL_MODEL_SHARE
            break
        widest, found = widest - WIDTHS_APART, narrower_rungs
    scale = 1.0
    while _share(found) > most and scale > 0.01:
        scale *= 0.97 * most / _share(found)
        found = rungs(widest, scale)
    return sorted(found, key=lambda rung: rung.share)


def _share(rungs: Sequence[Rung]) -> float:
    return sum(rung.share for rung in rungs)


def _differ_in_width(rungs: Sequence[Rung]) -> bool:
    return len({rung.recipe.model.width for rung in rungs}) > 1


def _rung(recipe: Recipe, vocabulary: int, steps: int, width: float, length: float) -> Rung:
    count = max(FEWEST_STEPS, round(steps * length))
    model = family_of(recipe.model).narrower(recipe.model, width)
    settings: dict[str, Any] = {
        "train.steps": str(count),
        "evaluate.every": str(count),
        "evaluate.prompts": (),
        "train.checkpoint_every": str(count),
        "train.keep": "1",
        "train.until": "none",
        "train.disk": "none",
        "train.epochs": "none",
    }
    spans = getattr(recipe.schedule, "steps", None)
    if spans:
        settings["schedule.steps"] = str(max(1, round(spans * count / steps)))
    warmup = getattr(recipe.schedule, "warmup", None)
    if warmup and count < steps:
        # Twice its share: a short training with the same share would hardly warm up.
        settings["schedule.warmup"] = str(max(1, min(warmup, round(2 * warmup * count / steps))))
    changed = dataclasses.replace(recipe, model=model, claims=())
    if recipe.optim.kind == "adamw" and not recipe.optim.transfer_from:
        # At the wide model's rate a narrow one learns too slowly to be informative.
        if vocabulary > MOST_SYMBOLS:
            settings["optim.transfer_from"] = (recipe.model.width,)
        else:
            rate = recipe.optim.lr * recipe.model.width / model.width
            settings["optim.lr"] = repr(min(rate, max(recipe.optim.lr, MOST_RATE)))
    small = override(changed, settings)
    whole = flops_per_token(recipe.model, vocabulary).training * steps
    return Rung(
        recipe=small,
        size=_blocks(model, vocabulary) / _blocks(recipe.model, vocabulary),
        length=count / steps,
        share=flops_per_token(model, vocabulary).training * count / whole,
    )


def _blocks(model: Model, vocabulary: int) -> int:
    parts = parameters(model, vocabulary)
    return parts.get("attention", 0) + parts["mlp"]


def remembered(recipe: Recipe, data_id: str, steps: int) -> list[LadderPoint]:
    """Return the results of an earlier ladder for this training, rung by rung; [] without one, or where the file is damaged."""
    try:
        value = read_json(_place(recipe, data_id, steps))
        return [LadderPoint(**{name: float(entry[name]) for name in FIELDS}) for entry in value["rungs"]]
    except (LabError, KeyError, TypeError, ValueError):
        return []


def remember(recipe: Recipe, data_id: str, steps: int, points: Sequence[LadderPoint]) -> None:
    """Store a ladder for later plans and runs; LabError where the cache can't be written."""
    path = _place(recipe, data_id, steps)
    write_shared(path, {"format": FORMAT, "rungs": [dataclasses.asdict(point) for point in points]})


def _place(recipe: Recipe, data_id: str, steps: int) -> Path:
    """Return the cache file, by all that the rungs' losses depend on; another seed counts as the same training."""
    same = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=0))
    text = json.dumps([FORMAT, DESIGN, recipe_hash(same), data_id, steps])
    return cache_folder() / "ladders" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def ladder_seconds(recipe: Recipe, vocabulary: int, steps: int, train_seconds: float) -> float | None:
    """Return the approximate seconds of a training's ladder; None for a model, or a training of adapters, that has none."""
    if recipe.train.lora_rank or not family_of(recipe.model).resizes:
        return None
    rungs = rungs_of(recipe, vocabulary, steps)
    return len(rungs) * START_SECONDS + NARROW * sum(rung.share for rung in rungs) * train_seconds


def unknown_loss(seconds: float | None) -> str:
    """Return the message for a loss that can't be forecast, with the command that would give it."""
    if seconds is None:
        return "the loss can't be forecast: no run like this one is known"
    return (
        "the loss can't be forecast: no run like this one is known; lmlab plan with the same settings and --ladder forecasts it, "
        f"in about {duration(seconds)}"
    )
