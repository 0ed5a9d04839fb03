"""The course of one run: its curves, and the cost in tokens, FLOPs and seconds at each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmlab.experiment.record import Record
from lmlab.report.curves import CurveData, Series
from lmlab.report.page.values import Numbers, Places, no_places

SERIES = ("tokens_per_second", "mfu", "noise_scale")
"""Keys of lines of training that have charts of their own, beside loss, learning rate and gradient norm."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """One run, up to the step that was asked for."""

    name: str
    record: Record
    curves: CurveData
    lines: tuple[Mapping[str, Any], ...]
    """Of metrics.jsonl, by step."""
    clock_steps: Numbers
    clock_seconds: Numbers
    """Seconds of training (without evaluations, saving and pauses) at each of `clock_steps`; empty where unknown."""
    flops_per_token: float | None
    cut: bool = False
    """Whether it ends at a step that was asked for, rather than at the run's last one."""

    def places(self, steps: Sequence[int], tokens: Sequence[int]) -> Places:
        """Return the positions of points at these steps."""
        at = np.asarray(steps, dtype=np.float64)
        count = np.asarray(tokens, dtype=np.float64) if self.curves.counts_tokens else no_places(len(at))
        return Places(
            steps=at,
            tokens=count,
            flops=no_places(len(at)) if self.flops_per_token is None else count * self.flops_per_token,
            seconds=np.interp(at, self.clock_steps, self.clock_seconds)
            if len(self.clock_steps)
            else no_places(len(at)),
        )

    def place_at(self, step: int) -> Places:
        """Return the position of one step, with its tokens interpolated."""
        tokens = self.curves.tokens_at(step) if self.curves.counts_tokens else math.nan
        found = self.places([step], [0])
        count = np.asarray([tokens])
        flops = no_places(1) if self.flops_per_token is None else count * self.flops_per_token
        return Places(steps=found.steps, tokens=count, flops=flops, seconds=found.seconds)

    def loss_at(self, step: int) -> float | None:
        """Return the training loss at a step, else the validation loss, interpolated; None without losses."""
        for series in (self.curves.train.finite(), self.curves.valid.finite()):
            if len(series):
                return float(np.interp(step, series.steps, series.values))
        return None

    def series(self, key: str, kind: str = "train") -> Series:
        """Return the numbers under `key` of the lines of one kind; empty where none has it."""
        found = {line["step"]: line for line in self.lines if line["kind"] == kind and _is_number(line.get(key))}
        return Series(
            steps=tuple(found),
            tokens=tuple(int(line.get("tokens", 0)) for line in found.values()),
            values=tuple(float(line[key]) for line in found.values()),
        )


def course_of(name: str, record: Record, curves: CurveData, lines: Sequence[Mapping[str, Any]], cut: bool) -> Course:
    """Return the course of a run whose record, curves and lines were read, up to the last step of its curves."""
    last = max((*curves.train.steps, *curves.valid.steps), default=0)
    kept = tuple(sorted((line for line in lines if line["step"] <= last), key=lambda line: int(line["step"])))
    flops, tokens = record.training_flops, record.tokens
    steps, seconds = _clock(record, kept)
    return Course(
        name=name,
        record=record,
        curves=curves,
        lines=kept,
        clock_steps=steps,
        clock_seconds=seconds,
        flops_per_token=flops / tokens if flops and tokens else None,
        cut=cut,
    )


def _clock(record: Record, lines: Sequence[Mapping[str, Any]]) -> tuple[Numbers, Numbers]:
    """Return steps and the seconds of training by then, as `EvaluationPoint.train_seconds` counts them."""
    if record.imported is not None:
        told = [(line["step"], line["train_seconds"]) for line in lines if _is_number(line.get("train_seconds"))]
    else:
        known = [entry for entry in record.evaluations if entry.train_seconds is not None]
        told = [(entry.step, entry.train_seconds) for entry in known] + _between(record, lines)
    pairs = sorted(dict(told).items())
    return np.asarray([step for step, _ in pairs], dtype=float), np.asarray([time for _, time in pairs], dtype=float)


def _between(record: Record, lines: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Return the clock at each line of training, by its tokens and tokens per second."""
    recipe, reached, seconds, found = record.recipe, None, 0.0, []
    for line in lines:
        tokens, given = line.get("tokens"), line.get("tokens_per_second")
        rate = float(given) if given is not None and _is_number(given) else 0.0
        if not isinstance(tokens, int) or line["kind"] not in ("train", "evaluation"):
            continue
        if reached is None and line["kind"] == "train" and recipe is not None:
            reached = max(0, tokens - recipe.train.log_every * recipe.train.batch * recipe.model.context)
        if line["kind"] == "train" and rate > 0 and reached is not None:
            seconds += (tokens - reached) / rate
            found.append((int(line["step"]), seconds))
        reached = tokens if line["kind"] == "train" or reached is None else reached
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
