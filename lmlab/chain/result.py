"""The result of a chain: its models with their losses and the figures of their answers, and whether these follow the loss.

For each metric Kendall's tau between the quality of the base (minus its loss) and the metric (higher is better) over the models of
one tuning, pooled over tunings. Near 1: a base with a lower loss answers better; an interval around 0: no order can be seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError, __version__
from lmlab.chain.rows import ModelRow, base_figures, tuned_figures
from lmlab.files import make_folder, read_json, write_json
from lmlab.judge.figures import Figures
from lmlab.judge.stored import read_judged
from lmlab.runs import Run
from lmlab.stats.bootstrap import Interval
from lmlab.stats.kendall import kendall_tau, kendall_tau_within

FORMAT = 1
KIND = "chain"
FILE, JUDGED, FOLDER = "chain.json", "judged.json", "chain-"
FEWEST = 3
"""Bases from which an order is computed."""

Values = Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class ChainResult:
    """The models, the comparison of their answers, and the orders."""

    name: str
    rows: tuple[ModelRow, ...]
    figures: Figures
    orders: Mapping[str, Interval]
    """Metric -> tau; empty with fewer bases than `FEWEST`."""

    @property
    def answering(self) -> list[ModelRow]:
        """The rows of the models that answered, in the order of the comparison."""
        named = {row.name: row for row in self.rows}
        return [named[name] for name in self.figures.names]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for chain.json and --json."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "lmlab": __version__,
            "name": self.name,
            "judged": self.figures.raw.id,
            "models": [row.to_json() for row in self.rows],
            "metrics": {name: list(values) for name, values in metrics_of(self.figures).items()},
            "follows_the_loss": {
                name: {"tau": one.estimate, "low": one.low, "high": one.high} for name, one in self.orders.items()
            },
        }


def chain_result(name: str, rows: Sequence[ModelRow], figures: Figures) -> ChainResult:
    """Return the result of these models and the comparison of their answers."""
    named = {row.name: row for row in rows}
    answering = [named[one] for one in figures.names]
    return ChainResult(name=name, rows=tuple(rows), figures=figures, orders=orders_of(answering, metrics_of(figures)))


def metrics_of(figures: Figures) -> Values:
    """Return metric -> a value for each model that answered, of which the higher is better; judges that are trusted among them."""
    found: dict[str, Sequence[float]] = {
        "exact match %": [one.exact.mean.estimate for one in figures.metrics],
        "chrF": [one.chrf.mean.estimate for one in figures.metrics],
        "minus bits per byte of the reference": [-one.bits_per_byte.estimate for one in figures.metrics],
    }
    for judge in figures.judges:
        if judge.trusted and judge.standings:
            found[f"{judge.raw.name}, {judge.raw.method}"] = [one.score.mean.estimate for one in judge.standings]
    return found


def orders_of(rows: Sequence[ModelRow], metrics: Values) -> dict[str, Interval]:
    """Return metric -> Kendall's tau of the bases' order with the metric's, within each tuning."""
    chosen = [place for place, row in enumerate(rows) if row.tuning is not None and row.base_loss is not None]
    if len({rows[place].base for place in chosen}) < FEWEST:
        return {}
    quality = np.array([-_number(rows[place].base_loss) for place in chosen])
    tunings = [rows[place].tuning for place in chosen]
    groups = np.array([tunings.index(one) for one in tunings])
    found = {}
    for name, values in metrics.items():
        scores = np.array(values)[chosen]
        one_tuning = len(set(groups.tolist())) == 1
        found[name] = kendall_tau(quality, scores) if one_tuning else kendall_tau_within(quality, scores, groups)
    return found


def write_chain(result: ChainResult, judged: Path, runs: Path) -> Path:
    """Write RUNS/chain-NAME/chain.json with the comparison beside it; return its path."""
    folder = make_folder(runs / f"{FOLDER}{result.name}", "choose a folder of runs that can be written")
    write_json(folder / JUDGED, read_json(judged))
    write_json(folder / FILE, result.to_json())
    return folder / FILE


def recomputed(path: Path, find: Callable[[str], Run]) -> tuple[Any, Any]:
    """Return the values of a chain.json, and the same from its runs (`find` takes an id) and the judged.json beside it."""
    said = read_json(path)
    if not isinstance(said, dict) or said.get("kind") != KIND or said.get("format") != FORMAT:
        raise LabError(f"{path} is no result of lmlab chain in format {FORMAT}")
    figures, _ = read_judged(path.parent / JUDGED)
    bases: dict[str, ModelRow] = {}
    rows = []
    for one in said["models"]:
        run, step = find(one["id"]), int(one["step"])
        if one["tuning"] is None:
            bases[one["base"]] = base_figures(one["base"], run, step)
            rows.append(bases[one["base"]])
        else:
            rows.append(tuned_figures(bases[one["base"]], one["tuning"], run, step))
    now = chain_result(str(said["name"]), rows, figures).to_json()
    return said, {**now, "lmlab": said.get("lmlab")}


def _number(value: float | None) -> float:
    return math.nan if value is None else value
