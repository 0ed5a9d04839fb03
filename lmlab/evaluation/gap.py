"""The generalisation gap: the difference between the losses of a validation and a training sample of equal size."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lmlab.evaluation.result import Evaluation
from lmlab.stats import Interval, difference_interval

RESAMPLES = 1000
DRAWS = 1 << 21
"""Maximum number of units drawn in all resamples, about .05 s: with many units, fewer resamples are accurate enough."""
FEWEST_RESAMPLES = 200
"""Minimum number of resamples, whatever the number of units."""


def loss_gap(valid: Evaluation, train: Evaluation) -> Interval:
    """Return validation minus training loss in nats a token, with its bootstrap interval over the units of both samples.

    The larger sample is reduced to the size of the smaller one by dropping units at equal distances.
    """
    least = min(valid.tokens, train.tokens)
    sides = [_sums(valid, _thinned(valid, least)), _sums(train, _thinned(train, least))]
    units = max(len(nats) for nats, _ in sides)
    resamples = min(RESAMPLES, max(FEWEST_RESAMPLES, DRAWS // max(1, units)))
    return difference_interval(sides[0], sides[1], resamples=resamples)


def _thinned(scored: Evaluation, tokens: int) -> NDArray[np.int64]:
    """Return the indices of scored units with about `tokens` tokens in total: all units, or a share of them at equal distances."""
    units = np.flatnonzero(scored.tokens_per_unit > 0)
    places = np.floor(np.arange(len(units) + 1) * (tokens / scored.tokens))
    return units[np.diff(places) > 0] if tokens < scored.tokens else units


def _sums(scored: Evaluation, units: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return scored.bits_per_unit[units] * math.log(2.0), scored.tokens_per_unit[units]
