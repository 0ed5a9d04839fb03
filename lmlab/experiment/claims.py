"""Published numbers beside measured ones: which of a recipe's claims apply to a run, and its own results."""

from __future__ import annotations

import dataclasses
from typing import Any

from lmlab.recipe import Claim, Recipe, load_recipe, recipe_hash, recipe_names

VALIDATION = {"valid_loss": "loss", "valid_perplexity": "perplexity", "valid_accuracy": "accuracy"}
"""Metric of an evaluation of the validation split -> its name among the figures of a whole split."""
WORDS = {
    "valid_loss": ("validation loss", ".4f"),
    "valid_perplexity": ("validation perplexity", ".2f"),
    "valid_accuracy": ("validation accuracy", ".1%"),
    "train_loss": ("training loss", ".4f"),
}
"""Metric -> its name in text, and the format of its numbers."""


def compared_claims(
    recipe: Recipe, evaluations: list[dict[str, Any]], final: dict[str, Any], best: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return each claim of the recipe about an evaluation with the measured value, in the recipe's order; none for a changed
    recipe.

    A claim without a step is compared with the best model, one at the last step with the last, both over the whole split; the
    others with the evaluation at their step, where there was one.
    """
    if not as_shipped(recipe):
        return []
    found = []
    for claim in recipe.claims:
        measured = _measured(claim, evaluations, final, best) if claim.metric in WORDS else None
        if measured is not None:
            found.append({**dataclasses.asdict(claim), "published": claim.value, "measured": measured})
    return found


def claim_line(entry: dict[str, Any]) -> str:
    """Return a compared claim as text."""
    what, form = WORDS[entry["metric"]]
    where = "best" if entry["step"] is None else f"step {entry['step']:,}"
    note = f"; {entry['note']}" if entry["note"] else ""
    return f"{what}, {where}: published {entry['published']:{form}}, measured {entry['measured']:{form}} ({entry['source']}{note})"


def as_shipped(recipe: Recipe) -> bool:
    """Return whether the recipe computes the same as the recipe of that name that comes with lmlab."""
    return recipe.name in recipe_names() and recipe_hash(recipe) == recipe_hash(load_recipe(recipe.name))


def _measured(
    claim: Claim, evaluations: list[dict[str, Any]], final: dict[str, Any], best: dict[str, Any]
) -> float | None:
    figure = VALIDATION.get(claim.metric)
    if figure is not None and claim.step is None:
        return float(best[figure])
    # Published runs count their last step from 0 or from 1.
    last = claim.step is not None and final["step"] - 1 <= claim.step <= final["step"]
    if figure is not None and last:
        return float(final[figure])
    at = final["step"] if last else claim.step
    return next(
        (
            float(line[claim.metric])
            for line in evaluations
            if line["step"] == at and line.get(claim.metric) is not None
        ),
        None,
    )
