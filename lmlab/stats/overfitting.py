"""Whether a model overfits: validation loss has risen since its best while training loss has not; and the gap between the two.

A rise must exceed chance in two respects. The weights move with each batch, so evaluations scatter
(`lmlab.stats.turn`). And the validation text is a sample: another sample would have given another rise. If the bits of each
unit are stored, the units of the last evaluations are paired with those of the best one, and units are drawn with replacement
to get an interval.

The gap, validation minus training loss, has an interval from the units of both samples. It counts as memorisation only as far as it
exceeds the earlier gap: at step 0, and at the end of the first epoch, when no text had been repeated and a
harder validation text already shows. Within the first epoch a gap is therefore reported without a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmlab.stats.paired import PairedDifference, paired_difference
from lmlab.stats.turn import SMALL_RISE, SURE, Turn, noise_level, turning_point

VerdictKind = Literal["unknown", "none", "slight", "overfitting", "unstable"]

SMALL_GAP = 0.05  # share of the validation loss: .05 nats in a loss of 1.0
SHARE_OF_RISE = 0.25  # of the rise in validation loss; a training loss that rose by more has risen too
OPEN_RISE = 0.02  # share of the best loss; a rise within chance that may be larger than this is left undecided
NORMAL_95 = 1.96  # standard errors in half of an interval of 95 %
FEWEST_UNITS = 8  # with fewer, a bootstrap over units is meaningless


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Validation minus training loss in nats a token, over samples of equal size, with its 95% limits."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The figures of one evaluation that a verdict uses. Losses are in nats a token."""

    step: int
    valid: float
    train: float | None
    """On a fixed sample of the training text with dropout off; None if unknown."""
    gap: Gap | None = None
    passes: float | None = None
    """Epochs over the training text by then; None if unknown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitBits:
    """The bits of each unit of the validation text at each evaluation."""

    bits: NDArray[np.float64]
    """[units, evaluations], NaN where a unit was not scored."""
    tokens: NDArray[np.int64]
    """[units]."""


@dataclass(frozen=True, kw_only=True)
class OverfittingVerdict:
    """Whether a model overfits, with the sentence that gives the reason."""

    kind: VerdictKind
    """overfitting: validation has risen and training has not; unstable: both have risen; slight: validation has not risen, but is
    above training by more than before the text was repeated; none; unknown: undecided.
    """
    gap: float
    """Validation minus training loss, in nats a token; NaN if one of them is unknown."""
    reason: str
    gap_interval: tuple[float, float] | None = None
    gap_before: float | None = None
    """The larger of the gaps at step 0 and at the end of the first epoch."""
    rise: float | None = None
    """The mean of the last evaluations (at most three) minus the best, in nats a token."""
    rise_interval: tuple[float, float] | None = None
    """The 95% interval, over units; None if their bits are not stored."""
    best_step: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for files and --json."""
        return {
            "kind": self.kind,
            "gap": self.gap,
            "gap_interval": None if self.gap_interval is None else list(self.gap_interval),
            "gap_before": self.gap_before,
            "rise": self.rise,
            "rise_interval": None if self.rise_interval is None else list(self.rise_interval),
            "best_step": self.best_step,
            "reason": self.reason,
        }


def overfitting_verdict(
    evaluations: Sequence[Evaluated],
    units: UnitBits | None = None,
    final_gap: Gap | None = None,
    final_rise: PairedDifference | None = None,
) -> OverfittingVerdict:
    """Return the verdict on a run from its evaluations in order; `units` has a column for each evaluation.

    `final_gap` is the gap of the last model measured on more text than an evaluation uses, and `final_rise` the loss of
    the last model minus that of the best on that text; it is used if evaluations score too few units.
    """
    kept = [place for place, entry in enumerate(evaluations) if math.isfinite(entry.valid)]
    known = [evaluations[place] for place in kept]
    if len(known) < 2:
        return OverfittingVerdict(
            kind="unknown", gap=math.nan, reason="overfitting unclear: fewer than two evaluations have a finite loss"
        )
    bits = None if units is None else UnitBits(bits=units.bits[:, kept], tokens=units.tokens)
    return _Case(known, bits, final_gap, final_rise).verdict()


def paired_rise(units: UnitBits | None, best: int, last: int) -> PairedDifference | None:
    """Return the mean loss of the last `last` evaluations minus that of evaluation `best`, paired by unit; None if there are too
    few units.
    """
    if units is None or not last:
        return None
    nats = units.bits * math.log(2.0)
    found = paired_difference(nats[:, -last:].mean(axis=1), nats[:, best], units.tokens)
    return found if _is_usable(found) else None


def _is_usable(found: PairedDifference) -> bool:
    return found.units >= FEWEST_UNITS and math.isfinite(found.low)


class _Case:
    """One run's evidence."""

    def __init__(
        self,
        known: Sequence[Evaluated],
        units: UnitBits | None,
        final_gap: Gap | None,
        final_rise: PairedDifference | None,
    ) -> None:
        self.known = known
        self.last = known[-1]
        steps, valid = [entry.step for entry in known], [entry.valid for entry in known]
        self.train = _training_losses(known)
        self.turn: Turn = turning_point(steps, valid, self.train)
        self.paired = paired_rise(units, self.turn.index, self.turn.last)
        if self.paired is None and self.turn.last and final_rise is not None and _is_usable(final_rise):
            self.paired = final_rise
        self.gap = final_gap or self.last.gap or _plain_gap(self.last)
        self.before = _gaps_before(known)

    def verdict(self) -> OverfittingVerdict:
        """Return the verdict from all the evidence."""
        if self.turn.rose and (self.paired is None or self._beyond_text(self.paired)):
            return self._risen()
        if self._left_open():
            after = (
                "only one evaluation follows" if self.turn.last == 1 else "evaluations differ by that much by chance"
            )
            return self._verdict(
                "unknown", f"overfitting unclear: {self._above_best()} at step {self.turn.step:,}; {after}"
            )
        return self._not_risen()

    def _risen(self) -> OverfittingVerdict:
        since = f"validation has risen by {self._size()} since its best at step {self.turn.step:,}"
        if self.train is None:
            return self._verdict("unknown", f"overfitting unclear: {since}, but the training loss isn't known")
        change = float(np.mean(self.train[-self.turn.last :])) - self.train[self.turn.index]
        if change <= SHARE_OF_RISE * self.turn.rise:
            moved = f"training fell by {-change:.4f}" if change < 0 else f"training stayed as it was ({change:+.4f})"
            return self._verdict("overfitting", f"overfitting: {since}, while {moved}")
        if change > max(SMALL_RISE * self.turn.loss, SURE * noise_level(self.train)):
            return self._verdict("unstable", f"unstable: {since}, and training by {change:.4f}: not overfitting")
        return self._verdict(
            "unknown", f"overfitting unclear: {since}, and training by {change:.4f}, which may be chance"
        )

    def _beyond_text(self, paired: PairedDifference) -> bool:
        """Return whether another text would show a rise too. All units move together with the weights, so the scatter of
        evaluations is included.
        """
        scatter = NORMAL_95 * self.turn.noise / math.sqrt(self.turn.last)
        return paired.difference > math.hypot(paired.difference - paired.low, scatter)

    def _left_open(self) -> bool:
        """Return whether the last evaluations may be above the best by an amount that matters."""
        if self.turn.rise <= SMALL_RISE * self.turn.loss:
            return False
        high = self.turn.rise if self.paired is None else self.paired.high
        return high > OPEN_RISE * self.turn.loss

    def _not_risen(self) -> OverfittingVerdict:
        if self.turn.rise <= SMALL_RISE * self.turn.loss:
            seen = f"validation has not risen since its best at step {self.turn.step:,}" if self.turn.last else ""
            seen = seen or "validation was lowest at the last evaluation"
        else:
            seen = f"{self._above_best()} at step {self.turn.step:,}, no more than evaluations differ by chance"
        kind, gap = self._of_gap()
        word = "slight overfitting" if kind == "slight" else "no overfitting seen"
        return self._verdict(kind, f"{word}: {seen}{gap}")

    def _of_gap(self) -> tuple[VerdictKind, str]:
        """Return the kind and a description of the gap for a run whose validation loss has not risen."""
        gap = self.gap
        if gap is None:
            return "none", ""
        interval = "" if math.isnan(gap.low) else f" ({gap.low:.4f} to {gap.high:.4f})"
        note = f"; it is {abs(gap.value):.4f} {'above' if gap.value >= 0 else 'below'} training{interval if gap.value >= 0 else ''}"
        passes = self.last.passes
        if math.isnan(gap.low) or gap.low <= 0 or gap.value <= SMALL_GAP * self.last.valid:
            return "none", note
        if passes is not None and passes < 1:
            once = f"{passes:.2f} passes over the text, so part of it may be that the validation text is harder"
            return "none", f"{note}, after {once}"
        beyond = [gap.value - entry.value - math.hypot(gap.half, entry.half) for entry in self.before]
        if not beyond or min(beyond) <= 0:
            return "none", f"{note}, no more than before the text was read twice" if beyond else note
        before = max(entry.value for entry in self.before)
        read = "" if passes is None else f" after {passes:.3g} passes over the text"
        return "slight", f"{note}{read}, {gap.value - before:.4f} more than before it was read twice"

    def _above_best(self) -> str:
        return f"validation is {self._size()} higher than its best"

    def _size(self) -> str:
        if self.paired is None:
            return f"{self.turn.rise:.4f}"
        return f"{self.paired.difference:.4f} (95% {self.paired.low:.4f} to {self.paired.high:.4f})"

    def _verdict(self, kind: VerdictKind, reason: str) -> OverfittingVerdict:
        gap, paired = self.gap, self.paired
        return OverfittingVerdict(
            kind=kind,
            gap=math.nan if gap is None else gap.value,
            gap_interval=None if gap is None or math.isnan(gap.low) else (gap.low, gap.high),
            gap_before=max((entry.value for entry in self.before), default=None),
            rise=self.turn.rise if paired is None else paired.difference,
            rise_interval=None if paired is None else (paired.low, paired.high),
            best_step=self.turn.step,
            reason=reason,
        )


def _training_losses(known: Sequence[Evaluated]) -> list[float] | None:
    """Return the training loss of each evaluation; None if one of them is unknown."""
    losses = [entry.train for entry in known if entry.train is not None and math.isfinite(entry.train)]
    return losses if len(losses) == len(known) else None


def _plain_gap(entry: Evaluated) -> Gap | None:
    """Return the gap without limits, for a run whose evaluations have none."""
    if entry.train is None or not math.isfinite(entry.train):
        return None
    return Gap(value=entry.valid - entry.train, low=math.nan, high=math.nan)


def _gaps_before(known: Sequence[Evaluated]) -> list[Gap]:
    """Return the gaps of the first evaluation and of the last one within the first epoch."""
    first = [entry for entry in known if entry.passes is not None and entry.passes <= 1][-1:]
    return [entry.gap for entry in dict.fromkeys([known[0], *first]) if entry.gap is not None]
