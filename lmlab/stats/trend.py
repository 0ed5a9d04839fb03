"""What a loss curve is doing: still falling, turned, or overfitting.

In come the steps of the evaluations and the losses there, in nats a token; out come verdicts with the sentence that
says why. One evaluation differs from the next by chance (the batches in between), so that every verdict is held
against the curve's own noise: for independent noise the second differences of a smooth curve have six times its
variance (1 + 4 + 1), and their median is deaf to the steep start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

VerdictKind = Literal["unknown", "none", "slight", "overfitting", "unstable"]

SMALL_RISE = 0.002  # share of the best loss; a smaller change is never called a turn, however smooth the curve
FEW = 6  # evaluations; below, noise can't be told from a turn and a rise must be five times as large
SMALL_GAP = 0.05  # share of the validation loss: .05 nats in a loss of 1.0
SURE = 4.0  # standard deviations, of a deviation that is itself guessed from a few evaluations
MEDIAN_TO_SIGMA = 1.4826  # for a normal distribution: standard deviation over median absolute deviation


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The best evaluation of a run, and whether the loss rose after it by more than chance."""

    index: int
    step: int
    loss: float
    rose: bool
    rise: float
    """The mean of the last evaluations (at most three) minus the best, in nats a token."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a model learns its training text by heart, with the sentence that says why."""

    kind: VerdictKind
    gap: float
    """Validation minus training loss at the last evaluation, in nats a token."""
    reason: str


def noise_level(losses: Sequence[float]) -> float:
    """The standard deviation of one evaluation around the smooth curve, in the losses' unit; 0 where fewer than six
    evaluations can't tell noise from a turn.

    Taken without the first quarter of the curve, where it bends most.
    """
    values = np.asarray(losses, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < FEW:
        return 0.0
    tail = values[min(len(values) // 4, max(0, len(values) - 8)) :]
    return float(MEDIAN_TO_SIGMA * np.median(np.abs(np.diff(tail, 2))) / math.sqrt(6.0))


def turning_point(steps: Sequence[int], losses: Sequence[float]) -> Turn:
    """The best of the evaluations, and whether the loss rose after it by more than noise. Losses that aren't finite
    are passed over, and an empty curve has no turning point (ValueError)."""
    places, values = _finite(losses)
    if not len(values):
        raise ValueError("a turning point needs at least one finite loss")
    best = int(np.argmin(values))
    tail = values[best + 1 :][-3:]
    rise = float(tail.mean() - values[best]) if len(tail) else 0.0
    luck = math.sqrt(2.0 * math.log(len(values)))  # by how many deviations the least of so many draws is low
    chance = noise_level(values.tolist()) * (luck + SURE / math.sqrt(max(1, len(tail))))
    small = SMALL_RISE * abs(float(values[best])) * (5.0 if len(values) < FEW else 1.0)
    rose = len(tail) >= 2 and rise > max(chance, small)
    place = int(places[best])
    return Turn(index=place, step=int(steps[place]), loss=float(values[best]), rose=rose, rise=rise)


def overfitting_verdict(
    train_losses: Sequence[float], valid_losses: Sequence[float], steps: Sequence[int] | None = None
) -> Verdict:
    """Whether a run overfits, from the losses of its evaluations (training text scored with dropout off).

    overfitting: validation rose after its best while training did not; unstable: both rose; slight: validation did
    not rise, but stands more than 5 % above training, and the gap has grown; none; unknown: under two evaluations.
    """
    pairs = np.array([train_losses, valid_losses], dtype=np.float64)
    kept = np.flatnonzero(np.isfinite(pairs).all(axis=0))
    if len(kept) < 2:
        return Verdict(kind="unknown", gap=math.nan, reason="fewer than two evaluations: no verdict on overfitting")
    train, valid = pairs[0, kept], pairs[1, kept]
    at = [int(place) if steps is None else int(steps[int(place)]) for place in kept]
    gap = float(valid[-1] - train[-1])
    turn = turning_point(at, valid.tolist())
    if turn.rose:
        where = f"validation was best at step {turn.step:,} ({turn.loss:.4f}) and then rose by {turn.rise:.4f}"
        change = float(train[-3:].mean() - train[turn.index])
        if change > max(SMALL_RISE * abs(turn.loss), SURE * noise_level(train.tolist())):
            return Verdict(kind="unstable", gap=gap, reason=f"{where}, and training rose too, by {change:.4f}")
        return Verdict(kind="overfitting", gap=gap, reason=f"{where}, while training changed by {change:+.4f}")
    if gap > SMALL_GAP * abs(float(valid[-1])) and gap > float(valid[0] - train[0]):
        return Verdict(
            kind="slight",
            gap=gap,
            reason=f"validation is {gap:.4f} above training and the gap grew, but validation has not turned",
        )
    reason = f"validation minus training is {gap:+.4f} and validation has not turned"
    return Verdict(kind="none", gap=gap, reason=reason)


def nats_per_doubling(steps: Sequence[int], losses: Sequence[float]) -> tuple[float, float]:
    """How much the loss changes when the steps double, and the standard error of that, from the last part of the curve.

    A line through loss against log2(step), over the evaluations of the second half of the run's steps and at least the
    last four; (NaN, NaN) where fewer than three have a positive step. Negative means falling.
    """
    places, values = _finite(losses)
    at = np.asarray(steps, dtype=np.float64)[places]
    values, at = values[at > 0], at[at > 0]
    late = at >= at[-1] / 2 if len(at) else at > 0
    late[-4:] = True
    values, at = values[late], np.log2(at[late])
    if len(values) < 3 or np.ptp(at) == 0:
        return math.nan, math.nan
    centred = at - at.mean()
    slope = float(centred @ values / (centred @ centred))
    residuals = values - values.mean() - slope * centred
    error = math.sqrt(float(residuals @ residuals) / (len(values) - 2) / float(centred @ centred))
    return slope, error


def still_falling(steps: Sequence[int], losses: Sequence[float]) -> bool:
    """Whether the run ended before its loss had settled: the loss would fall by more than .5 % (and by more than
    chance) if the steps doubled. False too where there are fewer than three evaluations to tell from."""
    slope, error = nats_per_doubling(steps, losses)
    if math.isnan(slope):
        return False
    _, values = _finite(losses)
    return slope + 2.0 * error < 0.0 and -slope > 0.005 * abs(float(values[-1]))


def _finite(losses: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    values = np.asarray(losses, dtype=np.float64)
    places = np.flatnonzero(np.isfinite(values))
    return places, values[places]
