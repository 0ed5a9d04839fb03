"""Published numbers beside ours: which of a recipe's claims a run can be held against, and what it gave."""

from __future__ import annotations

import dataclasses
from typing import Any

from lmlab.recipe import Claim, Recipe, load_recipe, recipe_hash, recipe_names

LOSSES = ("valid_loss", "train_loss")


def compared_claims(
    recipe: Recipe, evaluations: list[dict[str, Any]], final: dict[str, Any], best: dict[str, Any]
) -> list[dict[str, Any]]:
    """Each claim of the recipe about a loss with what was measured, in the recipe's order; none for a recipe that was changed.

    A claim without a step is about the best model, one at the last step about the last, both over the whole split; the others are
    held against the evaluation at their step, where there was one.
    """
    if not as_shipped(recipe):
        return []
    found = []
    for claim in recipe.claims:
        measured = _measured(claim, evaluations, final, best) if claim.metric in LOSSES else None
        if measured is not None:
            found.append({**dataclasses.asdict(claim), "published": claim.value, "measured": measured})
    return found


def claim_line(entry: dict[str, Any]) -> str:
    """A compared claim in words."""
    what = {"valid_loss": "validation", "train_loss": "training"}[entry["metric"]]
    where = "best" if entry["step"] is None else f"step {entry['step']:,}"
    note = f"; {entry['note']}" if entry["note"] else ""
    return f"{what} loss, {where}: published {entry['published']:.4f}, measured {entry['measured']:.4f} ({entry['source']}{note})"


def as_shipped(recipe: Recipe) -> bool:
    """Whether the recipe computes what the recipe of that name computes that comes with lmlab."""
    return recipe.name in recipe_names() and recipe_hash(recipe) == recipe_hash(load_recipe(recipe.name))


def _measured(
    claim: Claim, evaluations: list[dict[str, Any]], final: dict[str, Any], best: dict[str, Any]
) -> float | None:
    if claim.metric == "valid_loss" and claim.step is None:
        return float(best["loss"])
    # Published runs count their last step from 0 or from 1.
    last = claim.step is not None and final["step"] - 1 <= claim.step <= final["step"]
    if claim.metric == "valid_loss" and last:
        return float(final["loss"])
    at = final["step"] if last else claim.step
    return next(
        (float(line[claim.metric]) for line in evaluations if line["step"] == at and line[claim.metric] is not None),
        None,
    )
