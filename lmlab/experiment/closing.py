"""The lines printed when a training is over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lmlab.experiment.claims import claim_line
from lmlab.experiment.expectations import expectation_line
from lmlab.planning.forecasts.score import score_line
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import duration
from lmlab.scaling.noise import GradientNoise, useful_batch_line
from lmlab.training.wall import WORDS

LARGE = 1e6
"""Perplexities from this on are written with an exponent."""


def figures_line(title: str, values: Mapping[str, Any]) -> str:
    """Return the figures of an evaluation as text."""
    interval = ""
    if None not in values["loss_interval"] and math.isfinite(sum(values["loss_interval"])):
        interval = f" (95% {values['loss_interval'][0]:.4f} to {values['loss_interval'][1]:.4f})"
    bits = "" if values["bits_per_byte"] is None else f", {values['bits_per_byte']:.4f} bits per byte"
    perplexity = values["perplexity"]
    shown = f"{perplexity:,.2f}" if perplexity < LARGE else f"{perplexity:.3g}"
    return (
        f"{title}: loss {values['loss']:.4f} nats a token{interval}, perplexity {shown}{bits}, accuracy "
        f"{values['accuracy']:.1%} ({values['majority_accuracy']:.1%} by always predicting the most frequent token), "
        f"{values['tokens']:,} tokens"
    )


def diverged_line(problem: str, rate: float) -> str:
    """Return the line about a training that diverged."""
    return f"training diverged: {problem}; try a lower optim.lr than {rate:g}"


def closing_lines(recipe: Recipe, summary: Mapping[str, Any], noise: GradientNoise) -> list[str]:
    """Return the lines after the last step, from the values in summary.json."""
    seconds, best, final = summary["seconds"], summary["best"], summary["final"]
    speed = summary["score"].get("tokens_per_second", {}).get("measured")
    rate = "" if speed is None else f" at {speed:,.0f} tokens/s"
    done = "stopped early" if summary["ending"] == "patience" else "done"
    if seconds["wall"] is None:  # begun by an earlier version
        took, around = duration(seconds["total"]), ""
    else:
        took = f"{duration(seconds['wall'])} from {WORDS[seconds['since']]}"
        around = f"starting and closing {duration(max(0.0, seconds['wall'] - seconds['total']))}, "
    lines = [
        f"{done}: {summary['reason']}, {took} ({around}training {duration(seconds['train'])}{rate}, evaluation "
        f"{duration(seconds['evaluate'])}, saving {seconds['save']:.1f} s: {summary['saving']['share']:.1%} of the time)"
    ]
    if summary["score"]:
        lines.append(score_line(summary["score"]))
    scored = "whole validation split" if final["whole"] else "sample of the validation split"
    lines.append(figures_line(f"{scored}, last step {final['step']:,}", final))
    if best["step"] != final["step"]:
        lines.append(figures_line(f"{scored}, best step {best['step']:,}", best))
    if summary["diverged"]:
        lines.append(diverged_line(summary["diverged"], recipe.optim.lr))
    lines.append(summary["verdict"]["reason"])
    useful = useful_batch_line(noise, recipe.train.batch, recipe.model.context)
    if useful:
        lines.append(useful)
    if summary["data_used"]["fresh"]:
        lines.append(f"fresh tokens left after this run: {summary['data_used']['fresh_left']:,}")
    lines += map(claim_line, summary["claims"])
    return lines + [expectation_line(entry) for entry in summary["expectations"]]
