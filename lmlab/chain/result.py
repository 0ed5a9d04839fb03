"""The result of a chain: its models with their losses, their answers as numbers, and whether these follow the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError, __version__
from lmlab.chain.answers import Answers, answers_from, answers_of
from lmlab.chain.orders import Orders, orders_of
from lmlab.chain.rows import ModelRow, base_figures, tuned_figures
from lmlab.files import make_folder, read_json, write_json
from lmlab.judge.figures import Figures
from lmlab.judge.stored import read_judged
from lmlab.runs import Run
from lmlab.stats.bootstrap import Interval

FORMAT = 1
KIND = "chain"
FILE, JUDGED, FOLDER = "chain.json", "judged.json", "chain-"


@dataclass(frozen=True, kw_only=True)
class ChainResult:
    """The models, their answers, and the orders."""

    name: str
    rows: tuple[ModelRow, ...]
    answers: Answers
    orders: Orders
    """Figure -> tuning -> tau; empty with too few bases."""

    @property
    def answering(self) -> list[ModelRow]:
        """The rows of the models that answered, in the order of the answers."""
        named = {row.name: row for row in self.rows}
        return [named[name] for name in self.answers.models]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for chain.json and --json."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "lmlab": __version__,
            "name": self.name,
            "models": [row.to_json() for row in self.rows],
            "answers": self.answers.to_json(),
            "figures": {name: [_interval(one) for one in values] for name, values in self.answers.figures().items()},
            "follows_the_loss": {
                name: {tuning: dict(vars(one)) for tuning, one in orders.items()}
                for name, orders in self.orders.items()
            },
        }


def chain_result(name: str, rows: Sequence[ModelRow], answers: Answers) -> ChainResult:
    """Return the result of these models and their answers."""
    named = {row.name: row for row in rows}
    orders = orders_of([named[one] for one in answers.models], answers.qualities())
    return ChainResult(name=name, rows=tuple(rows), answers=answers, orders=orders)


def write_chain(result: ChainResult, judged: Path, runs: Path) -> Path:
    """Write RUNS/chain-NAME/chain.json with the comparison beside it; return its path."""
    folder = make_folder(runs / f"{FOLDER}{result.name}", "choose a folder of runs that can be written")
    write_json(folder / JUDGED, read_json(judged))
    write_json(folder / FILE, result.to_json())
    return folder / FILE


def read_chain(path: Path) -> Mapping[str, Any]:
    """Return the values of a chain.json; LabError where it is none."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("kind") != KIND or value.get("format") != FORMAT:
        raise LabError(f"{path} is no result of lmlab chain in format {FORMAT}")
    return value


def recomputed(value: Mapping[str, Any], find: Callable[[str], Run], figures: Figures | None) -> dict[str, Any]:
    """Return the values of a chain.json again: models from their runs (`find` takes an id), figures and orders from the scores of
    each question, and these from the answers where there are `figures` of them.
    """
    bases: dict[str, ModelRow] = {}
    rows = []
    for one in value["models"]:
        run, step = find(one["id"]), int(one["step"])
        if one["tuning"] is None:
            bases[one["base"]] = base_figures(one["base"], run, step)
            rows.append(bases[one["base"]])
        else:
            rows.append(tuned_figures(bases[one["base"]], one["tuning"], run, step))
    answers = answers_from(value.get("answers")) if figures is None else answers_of(figures)
    now = chain_result(str(value["name"]), rows, answers).to_json()
    return {**now, **{name: value[name] for name in ("lmlab", "context") if name in value}}


def judged_beside(path: Path) -> Figures | None:
    """Return the figures of the judged.json beside a chain.json, which has the answers; None without one."""
    beside = path.parent / JUDGED
    return read_judged(beside)[0] if beside.exists() else None


def _interval(found: Interval) -> dict[str, float]:
    return {"estimate": found.estimate, "low": found.low, "high": found.high}
