"""The verdict on each pair of sides: the seeds on either side, the noise between seeds, and the significance of the difference.

Two sides with the same two seeds or more are paired by seed (`stats.paired_seeds`); others count as independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmlab.experiment.record import Record
from lmlab.stats import PairedDifference, PairVerdict, paired_difference
from lmlab.stats.factorial import difference
from lmlab.stats.paired_seeds import Noise, judge_paired, noise_among, paired_contrast
from lmlab.stats.verdict import ErrorPart, verdict
from lmlab.study.grid.seeds import one_a_seed
from lmlab.study.scores import Scale, TextScores, common_scale, scores_of, size_of, sizes

ENOUGH_FREEDOM = 7.0
"""Degrees of freedom (those of nine runs on two sides) from which the noise is estimated from the two recipes' own seeds alone."""
LARGEST_RATIO = 2.0
"""Ratio of parameters: models further from both of the two in size don't contribute to the noise estimate."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One side of a comparison: one run, or all seeds of its recipe."""

    name: str
    family: str
    scores: tuple[TextScores, ...]
    unfinished: bool = False
    imported: bool = False
    """Whether it is someone else's log, which has only a curve."""

    def loss(self, scale: Scale) -> float:
        """Return the mean loss over the seeds."""
        return sum(entry.on(scale) for entry in self.scores) / len(self.scores)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two sides and the verdict on them, or the reason why there is none."""

    first: str
    second: str
    seeds: tuple[int, int]
    scale: Scale | None = None
    losses: tuple[float, float] | None = None
    paired: PairedDifference | None = None
    """Paired over units of the text."""
    noise: Noise | None = None
    verdict: PairVerdict | None = None
    bits_per_byte: PairedDifference | None = None
    """The same on the other scale, where known."""
    withheld: str = ""
    """Why there is no verdict; empty where there is one."""

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        value: dict[str, Any] = {"first": self.first, "second": self.second, "seeds": list(self.seeds)}
        if self.verdict is None or self.noise is None or self.paired is None:
            return {**value, "verdict": None, "withheld": self.withheld}
        smallest = self.noise.seeds.smallest_judged(self.paired.standard_error)
        noise = {**self.noise.to_json(), "smallest_visible": smallest}
        return {
            **value,
            "scale": self.scale,
            "losses": list(self.losses or ()),
            **self.verdict.to_json(),
            "standard_error": self.paired.standard_error,
            "units": self.paired.units,
            "noise": noise,
            "bits_per_byte": None if self.bits_per_byte is None else _difference(self.bits_per_byte),
        }


def sides_of(named: Mapping[str, Record], there: Sequence[Record], alone: bool) -> list[Side]:
    """Return the sides of a comparison: each named run with all finished seeds of its recipe among those `there`, once for each
    recipe.

    Just the named runs with `alone`, or where they are all seeds of one recipe. Runs without a loss are left out.
    """
    scored = {label: record for label, record in named.items() if record.loss is not None}
    families = {record.family for record in named.values()}
    sides, met = [], set()
    for label, record in scored.items():
        single = alone or len(families) == 1 or record.summary is None
        if not single and record.family in met:
            continue
        met.add(record.family)
        own = [record]
        if not single:
            own += [
                entry
                for entry in [*scored.values(), *there]
                if entry.family == record.family and entry.final is not None
            ]
        scores = tuple(found for found in map(scores_of, one_a_seed(own)) if found is not None)
        imported = record.imported is not None
        unfinished = record.summary is None and not imported
        sides.append(Side(name=label, family=record.family, scores=scores, unfinished=unfinished, imported=imported))
    return sides


def judge(first: Side, second: Side, there: Sequence[Record], relative: bool = False) -> Pair:
    """Judge two sides. The noise is estimated from the runs `there`; with `relative` they were scored on another text than the
    sides, and their noise counts as a share of the loss."""
    seeds = (len(first.scores), len(second.scores))
    scale = common_scale([*first.scores, *second.scores])
    logs = [side.name for side in (first, second) if side.imported]
    if logs:
        return Pair(first=first.name, second=second.name, seeds=seeds, withheld=_of_logs(logs, scale))
    if scale is None:
        reason = "they were scored on different texts; --on TEXT scores both on the same one"
        return Pair(first=first.name, second=second.name, seeds=seeds, withheld=reason)
    unfinished = [side.name for side in (first, second) if side.unfinished]
    if unfinished:
        are = "is" if len(unfinished) == 1 else "are"
        reason = f"{' and '.join(unfinished)} {are} not finished: see the losses at equal tokens"
        return Pair(first=first.name, second=second.name, seeds=seeds, withheld=reason)
    losses = first.loss(scale), second.loss(scale)
    if not all(map(math.isfinite, losses)):
        return Pair(first=first.name, second=second.name, seeds=seeds, withheld="a loss is not finite")
    paired = _paired(first, second, scale)
    if paired.units and paired.difference == 0 and np.array_equal(_mean_bits(first), _mean_bits(second)):
        reason = "their models give identical losses on every unit: one training, run twice"
        return Pair(first=first.name, second=second.name, seeds=seeds, withheld=reason)
    noise = noise_of((first, second), there, scale, relative)
    bytes_too = scale == "nats a token" and all(
        entry.bits_per_byte for side in (first, second) for entry in side.scores
    )
    return Pair(
        first=first.name,
        second=second.name,
        seeds=seeds,
        scale=scale,
        losses=losses,
        paired=paired,
        noise=noise,
        verdict=_verdict(first, second, scale, paired.standard_error, noise),
        bits_per_byte=_paired(first, second, "bits per byte") if bytes_too else None,
    )


def _of_logs(names: Sequence[str], scale: Scale | None) -> str:
    """Return why there is no verdict on someone else's log, and what can be compared instead."""
    are = f"{names[0]} is a log without a model" if len(names) == 1 else "both are logs without models"
    if scale is not None:
        return f"{are}, so no losses by unit of text are known: compare the losses at equal budgets above"
    again = (
        "; if it was one text and tokenizer, import each with the same --corpus NAME to compare their losses"
        if len(names) > 1
        else ""
    )
    return f"{are}, and it is unknown whether both were scored on the same text: compare size, steps, tokens and time above{again}"


def _paired(first: Side, second: Side, scale: Scale) -> PairedDifference:
    """Return the paired difference of the mean bits of each side's seeds, by unit; empty where a run kept no units."""
    units = [entry.units for side in (first, second) for entry in side.scores]
    known = [entry for entry in units if entry is not None]
    if len(known) < len(units) or len({len(entry) for entry in known}) > 1:
        return paired_difference([], [], [])
    return paired_difference(_mean_bits(first), _mean_bits(second), sizes(known[0], scale))


def _mean_bits(side: Side) -> np.ndarray:
    """Return the mean bits of each unit over the side's runs, all of which have units."""
    found: np.ndarray = np.mean(
        [entry.units["bits"][:, -1] for entry in side.scores if entry.units is not None], axis=0
    )
    return found


def _verdict(first: Side, second: Side, scale: Scale, standard_error: float, noise: Noise) -> PairVerdict:
    """Return the verdict, paired by seed where both sides have the same seeds."""
    losses = {
        cell: {entry.seed: entry.on(scale) for entry in side.scores if entry.seed is not None}
        for cell, side in (((0,), first), ((1,), second))
    }
    whole = all(len(losses[cell]) == len(side.scores) for cell, side in (((0,), first), ((1,), second)))
    found = paired_contrast(difference((0,), (1,)), losses, noise.runs) if whole else None
    if found is not None:
        return judge_paired(found, ErrorPart(standard_error=standard_error))
    return verdict(
        first.loss(scale) - second.loss(scale), standard_error, noise.seeds, len(first.scores), len(second.scores)
    )


def noise_of(sides: Sequence[Side], there: Sequence[Record], scale: Scale, relative: bool = False) -> Noise:
    """Estimate the noise between seeds: from these sides' own recipes where they have many seeds, else from all recipes with two or
    more on the same data, of models of about their size. A repeat of a run doesn't count; where one of the two is on a side, the
    other is the repeat.
    """
    texts = {entry.text for side in sides for entry in side.scores}
    named = {entry.run: (side.family, entry) for side in sides for entry in side.scores}
    losses: dict[str, dict[int, float]] = {}
    for record in one_a_seed(sorted(there, key=lambda record: record.id not in named)):
        like = record.id in named or _alike(size_of(record), sides)
        if record.final is not None and like and (relative or record.origin.get("data_id") in texts):
            loss = record.final["loss"] if scale == "nats a token" else record.final["bits_per_byte"]
            if isinstance(loss, float):
                _add(losses, record.family, record.seed, loss)
    if not relative:  # a run without a summary, such as an imported one, is known by its scores alone
        without = named.keys() - {record.id for record in there if record.final is not None}
        for run in sorted(without):
            family, entry = named[run]
            _add(losses, family, entry.seed, entry.on(scale))
    size = sum(side.loss(scale) for side in sides) / len(sides)
    if relative:
        means = {family: sum(found.values()) / len(found) for family, found in losses.items()}
        losses = {
            family: {seed: loss / means[family] for seed, loss in found.items()} for family, found in losses.items()
        }
        losses = losses or {"": {0: 1.0}}
    own = noise_among({side.family: losses.get(side.family, {}) for side in sides})
    pooled = noise_among(losses)
    enough = own.seeds.source == "measured" and own.seeds.freedom >= ENOUGH_FREEDOM
    noise = own if enough or pooled.seeds.source == "default" else pooled
    return noise.scaled(size) if relative else noise


def _alike(parameters: int | None, sides: Sequence[Side]) -> bool:
    """Return whether a model of that size is within LARGEST_RATIO of one of the sides' models."""
    known = [entry.parameters for side in sides for entry in side.scores if entry.parameters is not None]
    return parameters is None or any(
        one / LARGEST_RATIO <= parameters <= one * LARGEST_RATIO for one in known or [parameters]
    )


def _add(losses: dict[str, dict[int, float]], family: str, seed: int | None, loss: float) -> None:
    """Add a loss; a run whose seed is unknown gets a negative number as its seed."""
    found = losses.setdefault(family, {})
    found[-1 - len(found) if seed is None or seed in found else seed] = loss


def _difference(paired: PairedDifference) -> dict[str, Any]:
    return {
        "difference": paired.difference,
        "standard_error": paired.standard_error,
        "low": paired.low,
        "high": paired.high,
    }
