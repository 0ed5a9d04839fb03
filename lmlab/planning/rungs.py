"""The short trainings that a loss is extrapolated from: narrower ones for longer, and the model itself for a few steps.

Together they take at most MOST_SHARE of the arithmetic of the training that they stand for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmlab import LabError
from lmlab.files import cache_folder, make_folder, read_json, write_json
from lmlab.model import flops_per_token, parameters
from lmlab.recipe import Recipe, override, recipe_hash
from lmlab.recipe.model import GPT
from lmlab.scaling.ladder import LadderLaw, Point, ladder_law

FORMAT = 1
FIELDS = ("parameters", "tokens", "loss")

MOST_SHARE = 0.1
DESIGN = ((0.25, 1 / 4), (1.0, 1 / 64), (0.5, 1 / 16), (1.0, 1 / 24))
"""(share of the width, share of the steps), in the order of their arithmetic where the head is small."""
FEWEST_STEPS = 10
HEAD_WIDTH_LEAST = 8


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One short training."""

    recipe: Recipe
    parameters: int
    """Those that every token is multiplied by."""
    tokens: int
    share: float
    """Of the whole training's arithmetic."""


def rungs_of(recipe: Recipe, vocabulary: int, steps: int) -> list[Rung]:
    """The ladder for a training of `recipe` with `steps` steps, the cheapest first.

    Where the head makes narrow models dear, all are shortened alike until they keep to MOST_SHARE.
    """
    scale = 1.0
    for _ in range(8):
        found = [_rung(recipe, vocabulary, steps, width, length * scale) for width, length in DESIGN]
        share = sum(rung.share for rung in found)
        if share <= MOST_SHARE:
            break
        scale *= 0.97 * MOST_SHARE / share
    return sorted(found, key=lambda rung: rung.share)


def _rung(recipe: Recipe, vocabulary: int, steps: int, width: float, length: float) -> Rung:
    count = max(FEWEST_STEPS, round(steps * length))
    model = narrower(recipe.model, width)
    settings = {
        "train.steps": str(count),
        "evaluate.every": str(count),
        "evaluate.prompts": (),
        "train.checkpoint_every": str(count),
        "train.keep": "1",
        "train.until": "none",
        "train.disk": "none",
        "train.epochs": "none",
    }
    warmup = getattr(recipe.schedule, "warmup", None)
    if warmup:
        # Twice its share: a short training with the same share would hardly warm up at all.
        settings["schedule.warmup"] = str(max(1, min(warmup, round(2 * warmup * count / steps))))
    changed = dataclasses.replace(recipe, model=model, claims=())
    if recipe.optim.kind == "adamw":
        # Between the constant rate of standard parametrisation and 1/width: what narrow models were found to like best.
        settings["optim.lr"] = repr(recipe.optim.lr * (model.width / recipe.model.width) ** -0.5)
    small = override(changed, settings)
    tokens = count * recipe.train.batch * recipe.model.context
    whole = flops_per_token(recipe.model, vocabulary).training * steps
    return Rung(
        recipe=small,
        parameters=parameters(model, vocabulary)["matrix"],
        tokens=tokens,
        share=flops_per_token(model, vocabulary).training * count / whole,
    )


def narrower(model: GPT, share: float) -> GPT:
    """`model` at about this share of its width: fewer heads of about their own width, and key and value heads to match."""
    if share >= 1:
        return model
    group = model.heads // (model.kv_heads or model.heads)
    heads = max(1, round(model.heads * share / group)) * group
    head = max(HEAD_WIDTH_LEAST, round(model.width * share / heads / 2) * 2)
    return dataclasses.replace(
        model,
        heads=heads,
        width=heads * head,
        kv_heads=None if model.kv_heads is None else heads // group,
        hidden=None if model.hidden is None else max(1, round(model.hidden * heads * head / model.width)),
    )


def law_of_ladder(points: Sequence[Point], recipe: Recipe, vocabulary: int, steps: int) -> LadderLaw:
    """The law for the whole training, from what its ladder came to."""
    tokens = steps * recipe.train.batch * recipe.model.context
    return ladder_law(points, parameters(recipe.model, vocabulary)["matrix"], tokens)


def remembered(recipe: Recipe, data_id: str, steps: int) -> list[Point]:
    """What earlier ladders for this training came to, rung by rung; [] where there was none, or what is kept is damaged."""
    try:
        value = read_json(_place(recipe, data_id, steps))
        return [Point(**{name: float(entry[name]) for name in FIELDS}) for entry in value["rungs"]]
    except (LabError, KeyError, TypeError, ValueError):
        return []


def remember(recipe: Recipe, data_id: str, steps: int, points: Sequence[Point]) -> None:
    """Keep a ladder for the plans and runs to come; LabError where the cache can't be written."""
    path = _place(recipe, data_id, steps)
    make_folder(path.parent)
    write_json(path, {"format": FORMAT, "rungs": [dataclasses.asdict(point) for point in points]})


def _place(recipe: Recipe, data_id: str, steps: int) -> Path:
    """By all that the rungs' losses depend on; another seed of the training is the same training."""
    same = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=0))
    text = json.dumps([FORMAT, DESIGN, recipe_hash(same), data_id, steps])
    return cache_folder() / "ladders" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
