"""Parsing of logs with one or a few lines per epoch: losses, perplexities and accuracies of training and validation.

    Epoch 3/50: train loss 3.91 ppl 49.9 acc 29.1% | val loss 3.71 ppl 40.9 acc 31.3% | 21.6s
    Epoch: 03 | Time: 0m 37s        Train Loss: 5.044 | Train PPL: 155.1        Val. Loss: 4.981 | Val. PPL: 145.7
    | end of epoch   3 | time: 27.30s | valid loss  5.78 | valid ppl   323.16

All values between an epoch's number and the next one belong to that epoch. A value without a prefix for training or validation
belongs to the same split as the one before it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from lmlab.exchange.log import LARGEST_STEP, Log, LogPoint, resolve_restarts

EPOCHS = "epochs"
ABOUT = "a line or more an epoch: Epoch 3/50: train loss ... val loss ..., with perplexity (ppl) and accuracy (acc) where they are"
EPOCH = re.compile(r"\bepochs?\b\W{0,8}(\d{1,9})(?![\d.]*\.\d)(?:\s*(?:/|of)\s*(\d{1,9}))?", re.IGNORECASE)
FIGURE = re.compile(
    r"(?<![a-z])(?:(?P<side>train(?:ing)?|val(?:id(?:ation)?)?|dev|eval(?:uation)?|test)[ ._/:-]*)?"
    r"(?P<what>loss|ppl|perplexity|acc(?:uracy)?)(?![a-z])\s*[:=]?\s*"
    r"(?P<value>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?|nan|inf)\s*(?P<percent>%?)",
    re.IGNORECASE,
)
TIME = re.compile(
    r"(?<![\w.])(?:(\d+)\s*m(?:in)?\s*)?(\d+(?:\.\d+)?)\s*s(?:ec(?:onds)?)?\b|\btime\W{1,3}(\d+(?:\.\d+)?)(?![\w.])"
)
SIDES = {"tr": "train", "va": "valid", "de": "valid", "ev": "valid", "te": "test"}
"""First two letters of a split's name -> the split."""
PERPLEXITY_OFF = 0.02
"""Largest relative difference between a perplexity and exp(loss) at which the loss counts as nats."""


@dataclass
class Epoch:
    """The values in a log for one epoch."""

    number: int
    figures: dict[tuple[str, str], float] = field(default_factory=dict)
    """(train, valid or test; loss, perplexity or accuracy) -> the last value."""
    seconds: float | None = None

    def loss(self, side: str) -> float | None:
        """Return the loss, else the logarithm of the perplexity, else None."""
        loss, perplexity = self.figures.get((side, "loss")), self.figures.get((side, "perplexity"))
        return math.log(perplexity) if loss is None and perplexity and perplexity > 0 else loss


def read_epochs(lines: Sequence[str]) -> Log | None:
    """Return the training in these lines, with finished epochs as its steps; None if no epoch has a loss."""
    found, planned = _epochs(lines)
    found = [epoch for epoch in found if any(epoch.loss(side) is not None for side in ("train", "valid", "test"))]
    if not found:
        return None
    notes = []
    valid = "valid"
    if all(epoch.loss("valid") is None for epoch in found) and any(epoch.loss("test") is not None for epoch in found):
        valid = "test"
        notes.append("the log's test loss is taken for validation: it has no other")
    seconds = clock([epoch.seconds for epoch in found])
    # If epochs are counted from 0, epoch 0 is finished when its line is written.
    first = 1 if found[0].number == 0 else 0
    points, more = resolve_restarts([_point(epoch, valid, first, at) for epoch, at in zip(found, seconds, strict=True)])
    if any(_not_nats(epoch, side) for epoch in found for side in ("train", valid)):
        notes.append("the log's perplexities are not e to its losses: its losses may not be nats a token")
    timed = any(at is not None for at in seconds)
    return Log(
        form=EPOCHS,
        points=points,
        clock="epochs, by the log, which doesn't say whether evaluation is inside" if timed else "",
        planned_steps=planned,
        epochs=True,
        notes=(*notes, *more),
    )


def clock(seconds: Sequence[float | None]) -> list[float | None]:
    """Return cumulative times of rows: the given times if they are cumulative already, else their running sums.

    >>> clock([20.0, 21.0, 20.5]), clock([20.0, 41.0, 61.5])
    ([20.0, 41.0, 61.5], [20.0, 41.0, 61.5])
    """
    known = [value for value in seconds if value is not None]
    more = [later - earlier for earlier, later in pairwise(known)]
    if more and min(more) > 0 and median(more) > known[0] / 2:
        return list(seconds)
    total, found = 0.0, list[float | None]()
    for value in seconds:
        total += value or 0.0
        found.append(None if value is None else total)
    return found


def _epochs(lines: Iterable[str]) -> tuple[list[Epoch], int | None]:
    """Return the epochs in the order of the lines, one that was trained again occurs twice, and the number of planned epochs."""
    found: list[Epoch] = []
    planned = None
    for line in lines:
        match = EPOCH.search(line)
        if match and int(match[1]) < LARGEST_STEP:
            if not found or found[-1].number != int(match[1]):
                found.append(Epoch(number=int(match[1])))
            planned = int(match[2]) if match[2] else planned
        if not found:
            continue
        side = "train"
        for figure in FIGURE.finditer(line):
            side = SIDES[figure["side"][:2].lower()] if figure["side"] else side
            what = {"l": "loss", "p": "perplexity", "a": "accuracy"}[figure["what"][0].lower()]
            value = float(figure["value"])
            if what == "accuracy" and (figure["percent"] or value > 1):
                value = round(value / 100, 12)
            found[-1].figures[side, what] = value
        for minutes, seconds, alone in TIME.findall(line):
            found[-1].seconds = 60 * float(minutes or 0) + float(seconds or alone)
    return found, planned


def _point(epoch: Epoch, valid: str, first: int, seconds: float | None) -> LogPoint:
    """Return the epoch's evaluation, or its training loss if the log has no evaluation for it."""
    train, loss, figures = epoch.loss("train"), epoch.loss(valid), epoch.figures
    step = epoch.number + first
    if loss is None:
        return LogPoint(kind="train", step=step, loss=train, seconds=seconds)
    return LogPoint(
        kind="evaluation",
        step=step,
        loss=loss,
        train_loss=train,
        accuracy=figures.get((valid, "accuracy")),
        train_accuracy=figures.get(("train", "accuracy")),
        seconds=seconds,
    )


def _not_nats(epoch: Epoch, side: str) -> bool:
    loss, perplexity = epoch.figures.get((side, "loss")), epoch.figures.get((side, "perplexity"))
    if loss is None or perplexity is None or not (loss < 50 and math.isfinite(perplexity) and perplexity > 0):
        return False
    return not math.isclose(math.log(perplexity), loss, abs_tol=PERPLEXITY_OFF + 0.006)
