"""The data of a run's curves: plain series of numbers, read from the lines of its metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.recipe import Claim
from lmlab.stats import Turn, turning_point

Against = Literal["steps", "tokens"]
Scale = Literal["nats a token", "bits per byte"]
Line = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values measured in the course of a run, in the order of its steps; NaN where one was not a finite number."""

    steps: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.steps)

    def until(self, step: int) -> Series:
        """Return the series up to `step`."""
        return self._only(index for index, there in enumerate(self.steps) if there <= step)

    def at(self, step: int) -> Series:
        """Return the series at `step` alone."""
        return self._only(index for index, there in enumerate(self.steps) if there == step)

    def places(self, against: Against) -> NDArray[np.float64]:
        """Return the values' positions on the horizontal axis."""
        return np.asarray(self.steps if against == "steps" else self.tokens, dtype=np.float64)

    def heights(self) -> NDArray[np.float64]:
        """Return the values as an array."""
        return np.asarray(self.values, dtype=np.float64)

    def finite(self) -> Series:
        """Return the series without values that are not finite."""
        return self._only(index for index, value in enumerate(self.values) if math.isfinite(value))

    def _only(self, places: Iterable[int]) -> Series:
        kept = list(places)
        return Series(
            steps=tuple(self.steps[index] for index in kept),
            tokens=tuple(self.tokens[index] for index in kept),
            values=tuple(self.values[index] for index in kept),
        )


@dataclass(frozen=True, kw_only=True)
class BestLoss:
    """A run's best validation loss, in nats a token."""

    loss: float
    step: int
    whole: bool | None
    """Whether it's over the whole validation split; None where an imported log doesn't tell."""


@dataclass(frozen=True, kw_only=True)
class CurveData:
    """Everything that is drawn for one run. Losses are in nats a token."""

    name: str
    train: Series = field(default_factory=Series)
    """The loss of the training batches, with dropout."""
    train_scored: Series = field(default_factory=Series)
    """The loss on a sample of the training text at each evaluation, without dropout, which is comparable with validation."""
    valid: Series = field(default_factory=Series)
    """The validation loss at each evaluation."""
    sampled: bool | None = False
    """Whether those evaluations scored only a sample of the validation split; None where an imported log doesn't tell."""
    final: Series = field(default_factory=Series)
    """The loss of the best and of the last model over the whole split where evaluations are sampled, once the run is over."""
    rate: Series = field(default_factory=Series)
    norm: Series = field(default_factory=Series)
    resumes: Series = field(default_factory=Series)
    """Where the run was resumed; the values are the segments' numbers."""
    broken: Series = field(default_factory=Series)
    """Where a loss or a gradient was not finite; the values are the steps."""
    claims: tuple[Claim, ...] = ()
    """The published numbers with which the run is compared."""
    counts_tokens: bool = True
    """Whether its lines have the number of tokens trained on; otherwise tokens are 0 everywhere."""
    source: str = ""
    """For an imported run: the log's file."""
    tokenizer: str = ""
    """Equal for runs with the same tokens; empty where unknown."""
    valid_text: str = ""
    """Equal for runs that were scored on the same validation text; empty where unknown."""
    valid_bits: Series = field(default_factory=Series)
    """The validation loss at each evaluation in bits per byte, where the text's bytes are known."""
    final_bits: Series = field(default_factory=Series)
    """`final` in bits per byte."""
    scale: Scale = "nats a token"
    """The unit of the losses."""

    def turn(self) -> Turn | None:
        """Return the best evaluation and whether validation rose after it; None without an evaluation."""
        measured = self.valid.finite()
        return turning_point(measured.steps, measured.values) if len(measured) else None

    def best(self) -> BestLoss | None:
        """Return the loss to report: over the whole split where it was scored, else the best evaluation; None without either."""
        whole, turn = self.final.finite(), self.turn()
        if len(whole):
            loss, step = min(zip(whole.values, whole.steps, strict=True))
            return BestLoss(loss=loss, step=step, whole=True)
        return (
            BestLoss(loss=turn.loss, step=turn.step, whole=None if self.sampled is None else not self.sampled)
            if turn
            else None
        )

    def is_empty(self) -> bool:
        """Return whether there is no loss to draw."""
        return not len(self.train.finite()) and not len(self.valid.finite())

    def tokens_at(self, step: int) -> float:
        """Return the tokens trained on by `step`, interpolated, or extrapolated at the mean rate; NaN without any."""
        known = {0: 0} | dict(
            zip(self.valid.steps + self.train.steps, self.valid.tokens + self.train.tokens, strict=True)
        )
        steps = sorted(known)
        if len(steps) < 2:
            return math.nan
        if step > steps[-1]:
            return known[steps[-1]] * step / steps[-1]
        return float(np.interp(step, steps, [known[place] for place in steps]))


def read_curves(
    name: str,
    metrics: Iterable[Line],
    *,
    events: Iterable[Line] = (),
    summary: Mapping[str, Any] | None = None,
    claims: Sequence[Claim] = (),
    source: str = "",
    tokenizer: str = "",
    valid_text: str = "",
) -> CurveData:
    """Return the curves in the parsed lines of metrics.jsonl: training lines and evaluations; other kinds are skipped.

    The lines of events.jsonl record skipped updates, summary.json the final scores over the whole split. `source` is the log of an
    imported run; its lines may lack tokens, and whether an evaluation was of the whole split. A null is a number that was not
    finite. Of two lines of one step, the later one counts. Runs of equal `tokenizer` have the same tokens, those of equal
    `valid_text` the same validation text. LabError for a line without a step.
    """
    lines = _in_order(name, metrics)
    train = [line for line in lines if line["kind"] == "train"]
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    told = [line["whole"] for line in evaluations if "whole" in line]
    sampled = None if source and not told else not all(told)
    not_finite = [line for line in train if math.isnan(_number(line.get("loss")))]
    left_out = [line for line in _in_order(name, events) if line["kind"] == "skipped_update"]
    data = CurveData(
        name=name,
        train=_series(train, "loss"),
        train_scored=_series(evaluations, "train_loss"),
        valid=_series(evaluations, "valid_loss"),
        sampled=sampled,
        rate=_series(train, "learning_rate"),
        norm=_series(train, "gradient_norm"),
        resumes=_series(_first_lines_of_segments(lines), "segment"),
        broken=_series(_in_order(name, [*not_finite, *left_out]), "step"),
        claims=tuple(claims),
        counts_tokens=all("tokens" in line for line in lines),
        source=source,
        tokenizer=tokenizer,
        valid_text=valid_text,
        valid_bits=_series(evaluations, "valid_bits_per_byte"),
    )
    if not sampled or not summary:
        return data
    bits = _whole_split(data, summary, "bits_per_byte")
    return replace(data, final=_whole_split(data, summary, "loss"), final_bits=bits)


def on_one_scale(curves: Sequence[CurveData]) -> list[CurveData]:
    """Convert curves so that their losses can share an axis, where possible.

    Runs of one tokenizer are unchanged. Between different ones, losses per token can't be compared: all are converted to bits per
    byte, without what is known only per token (training losses, published numbers). Where a run has no bits per byte, all are
    unchanged.
    """
    if not mixed_tokens(curves) or not all(len(data.valid_bits.finite()) for data in curves):
        return list(curves)
    nothing = Series()
    return [
        replace(
            data, train=nothing, train_scored=nothing, valid=data.valid_bits, final=data.final_bits, claims=(),
            scale="bits per byte",
        )
        for data in curves
    ]  # fmt: skip


def mixed_tokens(curves: Sequence[CurveData]) -> bool:
    """Return whether two runs are known to have different tokens."""
    return len({data.tokenizer for data in curves if data.tokenizer}) > 1


def mixed_texts(curves: Sequence[CurveData]) -> bool:
    """Return whether two runs are known to have been scored on different validation texts."""
    return len({data.valid_text for data in curves if data.valid_text}) > 1


def cut(data: CurveData, step: int) -> CurveData:
    """Return the curves up to `step`."""
    series: dict[str, Any] = {}
    for entry in fields(data):
        value = getattr(data, entry.name)
        if isinstance(value, Series):
            series[entry.name] = value.until(step)
    return replace(data, **series)


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the mean of the finite values among `width` values around each one.

    Towards the start the window narrows evenly on both sides, since a one-sided mean over a steep start would be biased; at
    the end it is the mean of the last `width`.
    """
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    places = np.arange(len(values))
    reach = np.minimum(places, width // 2)
    high = np.minimum(places + reach + 1, len(values))
    low = np.minimum(places - reach, np.maximum(0, high - 1 - 2 * reach))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = (sums[high] - sums[low]) / (counts[high] - counts[low])
        return found


def _series(lines: Sequence[Line], key: str) -> Series:
    """Return the values under `key`, one for each step; empty where no line has that key."""
    last = {line["step"]: line for line in lines if key in line}
    return Series(
        steps=tuple(last),
        tokens=tuple(line.get("tokens", 0) for line in last.values()),
        values=tuple(_number(line[key]) for line in last.values()),
    )


def _whole_split(data: CurveData, summary: Mapping[str, Any], key: str) -> Series:
    """Return the scores of the best and the last model in summary.json, each at its step."""
    entries = [entry for name in ("best", "final") if isinstance(entry := summary.get(name), Mapping)]
    losses = {entry["step"]: _number(entry.get(key)) for entry in entries if isinstance(entry.get("step"), int)}
    steps = sorted(step for step in losses if not math.isnan(data.tokens_at(step)))
    return Series(
        steps=tuple(steps),
        tokens=tuple(round(data.tokens_at(step)) for step in steps),
        values=tuple(losses[step] for step in steps),
    )


def _number(value: Any) -> float:
    """Return a finite number, or NaN for any other value."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _in_order(name: str, lines: Iterable[Line]) -> list[Line]:
    """Return the lines sorted by step, stably."""
    found = list(lines)
    for line in found:
        if not isinstance(line.get("step"), int) or not isinstance(line.get("tokens", 0), int) or "kind" not in line:
            raise LabError(
                f"run {name} has a line of metrics or events without step and kind: expected both; "
                f"take the line out: {str(line)[:80]}"
            )
    return sorted(found, key=lambda line: line["step"])


def _first_lines_of_segments(lines: Sequence[Line]) -> list[Line]:
    """Return the first line of each segment except the first segment."""
    first: dict[int, Line] = {}
    for line in lines:
        first.setdefault(line.get("segment", 0), line)
    return [first[segment] for segment in sorted(first)[1:]]
