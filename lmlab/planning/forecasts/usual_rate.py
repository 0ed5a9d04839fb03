"""The FLOP/s expected of a training here, from the MFU of similar finished runs instead of its own trial.

A plan multiplies its time by it, the third way to count the compute of a training: "training time x peak x utilisation" (Sevilla et
al. 2022, arXiv 2202.05924, appendix). Where it is far from the count of the matrix products, the time is unusual for this machine:
it was busy, or it computes this model more or less efficiently than others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from lmlab.hardware.cards import Card
from lmlab.model.cost import flops_per_token
from lmlab.planning.forecasts.history import Finished, arithmetic_of, machine_of
from lmlab.planning.inverse.speed import card_speed
from lmlab.planning.trials.peaks import datasheet_of
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import LEVEL, Estimate
from lmlab.training.load import QUIET
from lmlab.training.policy import Policy

FEWEST_RUNS = 3
"""Fewer have no interval."""
LIKE = 4.0
"""Models whose FLOPs a token differ by at most this factor count as similarly efficient."""


def usual_rate(
    recipe: Recipe, policy: Policy, vocabulary: int, runs: Sequence[Finished], peak: float
) -> Estimate | None:
    """Return the FLOP/s by the utilisation of finished `runs`, else by the card's datasheet; None where both are unknown.

    The runs are those on this machine, undisturbed, with the policy's device, engine, precision, threads and compilation, whose
    model has FLOPs a token within a factor of LIKE. The result is the median of their share of `peak` (FLOP/s of products here),
    and the quantiles that contain LEVEL of them.
    """
    flops = flops_per_token(recipe.model, vocabulary).training
    shares = [
        run.flops_per_second / peak
        for run in runs
        if run.machine == machine_of(policy)
        and run.arithmetic == arithmetic_of(policy)
        and run.processor_share >= QUIET
        and abs(math.log(run.flops_per_token / flops)) <= math.log(LIKE)
    ]
    if len(shares) < FEWEST_RUNS:
        sheet = datasheet_of(policy)
        return None if sheet is None else _by_datasheet(sheet.card, recipe, vocabulary, flops)
    low, middle, high = (float(one) for one in np.quantile(shares, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2]))
    return Estimate(
        value=middle * peak,
        low=low * peak,
        high=high * peak,
        evidence="extrapolated",
        rests_on=f"{middle * peak / 1e9:,.1f} GFLOP/s: MFU {middle:.0%}, the median of {len(shares)} finished runs of models "
        "of about this size here",
    )


def _by_datasheet(card: Card, recipe: Recipe, vocabulary: int, flops: float) -> Estimate:
    """Return the rate of such a card by published rates."""
    rate = card_speed(card, vocabulary)(recipe).scaled(flops)
    return dataclasses.replace(rate, rests_on=f"{rate.value / 1e9:,.1f} GFLOP/s by {rate.rests_on}")
