"""What a run's curves are made of: plain series of numbers, read from the lines of its metrics.jsonl."""

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
        """The same up to `step`."""
        return self._only(index for index, there in enumerate(self.steps) if there <= step)

    def at(self, step: int) -> Series:
        """The same at `step` alone."""
        return self._only(index for index, there in enumerate(self.steps) if there == step)

    def places(self, against: Against) -> NDArray[np.float64]:
        """Where the values stand on the horizontal axis."""
        return np.asarray(self.steps if against == "steps" else self.tokens, dtype=np.float64)

    def heights(self) -> NDArray[np.float64]:
        """The values themselves."""
        return np.asarray(self.values, dtype=np.float64)

    def finite(self) -> Series:
        """The same without the values that are not finite."""
        return self._only(index for index, value in enumerate(self.values) if math.isfinite(value))

    def _only(self, places: Iterable[int]) -> Series:
        kept = list(places)
        return Series(
            steps=tuple(self.steps[index] for index in kept),
            tokens=tuple(self.tokens[index] for index in kept),
            values=tuple(self.values[index] for index in kept),
        )


@dataclass(frozen=True, kw_only=True)
class Best:
    """A run's best validation loss, in nats a token."""

    loss: float
    step: int
    whole: bool | None
    """Whether it's of the whole validation split; None where an imported log doesn't tell."""


@dataclass(frozen=True, kw_only=True)
class CurveData:
    """All that is drawn of one run. Losses are in nats a token."""

    name: str
    train: Series = field(default_factory=Series)
    """The loss of the training batches, as training saw it."""
    train_scored: Series = field(default_factory=Series)
    """The loss of a sample of the training text at each evaluation, without dropout: what validation compares with."""
    valid: Series = field(default_factory=Series)
    """The validation loss at each evaluation."""
    sampled: bool | None = False
    """Whether those evaluations scored only a sample of the validation split; None where an imported log doesn't tell."""
    final: Series = field(default_factory=Series)
    """Then: the loss of the best and of the last model on the whole split, once the run is over."""
    rate: Series = field(default_factory=Series)
    norm: Series = field(default_factory=Series)
    resumes: Series = field(default_factory=Series)
    """Where the run was taken up again; the values are the segments' numbers."""
    broken: Series = field(default_factory=Series)
    """Where a loss or a gradient was not finite; the values are the steps."""
    claims: tuple[Claim, ...] = ()
    """The published numbers that the run is held against."""
    counts_tokens: bool = True
    """Whether its lines say how many tokens it had been trained on; else those are 0 everywhere."""
    source: str = ""
    """Of a run that was imported: from which log."""
    tokenizer: str = ""
    """Equal for runs whose tokens are the same; empty where that isn't known."""
    valid_text: str = ""
    """Equal for runs that were scored on the same validation text; empty where that isn't known."""
    valid_bits: Series = field(default_factory=Series)
    """The validation loss at each evaluation in bits per byte, where the text's bytes are known."""
    final_bits: Series = field(default_factory=Series)
    """`final` in bits per byte."""
    scale: Scale = "nats a token"
    """What the losses are in."""

    def turn(self) -> Turn | None:
        """The best evaluation and whether validation rose after it; None where nothing was evaluated."""
        measured = self.valid.finite()
        return turning_point(measured.steps, measured.values) if len(measured) else None

    def best(self) -> Best | None:
        """The figure to quote: of the whole split where it was scored, else the best evaluation; None without either."""
        whole, turn = self.final.finite(), self.turn()
        if len(whole):
            loss, step = min(zip(whole.values, whole.steps, strict=True))
            return Best(loss=loss, step=step, whole=True)
        return (
            Best(loss=turn.loss, step=turn.step, whole=None if self.sampled is None else not self.sampled)
            if turn
            else None
        )

    def is_empty(self) -> bool:
        """Whether there is no loss to draw."""
        return not len(self.train.finite()) and not len(self.valid.finite())

    def tokens_at(self, step: int) -> float:
        """Tokens trained on by `step`, from the lines around it, beyond them at their mean pace; NaN without any."""
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
    """The curves in the lines of metrics.jsonl, parsed: training lines and evaluations; other kinds are passed over.

    The lines of events.jsonl know of updates that were left out, summary.json of the final scores on the whole split. `source` says
    which log an imported run is from; its lines may lack tokens, and whether an evaluation was of the whole split. A null is
    a number that was not finite. Where two lines have one step, the later one counts. Runs of equal `tokenizer` have the
    same tokens, those of equal `valid_text` the same validation text. LabError where a line says no step.
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
    """Curves whose losses can share an axis, where that can be had.

    Runs of one tokenizer stay as they are. Of different ones, losses a token can't be compared: all become bits per byte, and lose
    what is known a token only (training losses, published numbers). Where a run has no bits per byte, all stay as they are.
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
    """Whether two runs are known to have different tokens."""
    return len({data.tokenizer for data in curves if data.tokenizer}) > 1


def mixed_texts(curves: Sequence[CurveData]) -> bool:
    """Whether two runs are known to have been scored on different validation texts."""
    return len({data.valid_text for data in curves if data.valid_text}) > 1


def cut(data: CurveData, step: int) -> CurveData:
    """The curves up to `step`."""
    series: dict[str, Any] = {}
    for entry in fields(data):
        value = getattr(data, entry.name)
        if isinstance(value, Series):
            series[entry.name] = value.until(step)
    return replace(data, **series)


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The mean over `width` values around each one, of those that are finite.

    Towards the start it narrows evenly on both sides, since a mean over one side of a steep start would be far off; at
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
        return (sums[high] - sums[low]) / (counts[high] - counts[low])


def _series(lines: Sequence[Line], key: str) -> Series:
    """The values under `key`, one a step; empty where no line has that key at all."""
    last = {line["step"]: line for line in lines if key in line}
    return Series(
        steps=tuple(last),
        tokens=tuple(line.get("tokens", 0) for line in last.values()),
        values=tuple(_number(line[key]) for line in last.values()),
    )


def _whole_split(data: CurveData, summary: Mapping[str, Any], key: str) -> Series:
    """The scores of the best and the last model, where summary.json has them, each at its step."""
    entries = [entry for name in ("best", "final") if isinstance(entry := summary.get(name), Mapping)]
    losses = {entry["step"]: _number(entry.get(key)) for entry in entries if isinstance(entry.get("step"), int)}
    steps = sorted(step for step in losses if not math.isnan(data.tokens_at(step)))
    return Series(
        steps=tuple(steps),
        tokens=tuple(round(data.tokens_at(step)) for step in steps),
        values=tuple(losses[step] for step in steps),
    )


def _number(value: Any) -> float:
    """A finite number, or NaN for whatever else a line says."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _in_order(name: str, lines: Iterable[Line]) -> list[Line]:
    """The lines by step; those of one step stay as they were."""
    found = list(lines)
    for line in found:
        if not isinstance(line.get("step"), int) or not isinstance(line.get("tokens", 0), int) or "kind" not in line:
            raise LabError(
                f"run {name} has a line of metrics or events without step and kind, take it out: {str(line)[:80]}"
            )
    return sorted(found, key=lambda line: line["step"])


def _first_lines_of_segments(lines: Sequence[Line]) -> list[Line]:
    """The first line of each segment but the first."""
    first: dict[int, Line] = {}
    for line in lines:
        first.setdefault(line.get("segment", 0), line)
    return [first[segment] for segment in sorted(first)[1:]]
