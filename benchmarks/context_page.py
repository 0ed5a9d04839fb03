"""The tables of docs/studies/context-propagation.md, from the studies that are published beside it.

    python -m benchmarks.context_page

Each table stands between <!-- begin: NAME --> and <!-- end: NAME -->; the text around them is written by people, and left alone.
Losses are means over seeds of the last model on the whole validation split, in nats a token.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.published_studies import DOCS
from benchmarks.render import fill
from lmlab.files import read_json, write_text
from lmlab.study.verify.bundle import NAME, unpack

PAGE = DOCS / "context-propagation.md"
LARGER, TRANSFERRED = "size 6 layers, vector 96", "size 6 layers, vector 96, transferred"
MODELS = {"smaller": "", "larger": LARGER, "larger, transferred": TRANSFERRED}
"""Row of the table -> its part of a cell's name."""
RATES = {"1e-3": "rate 0.001", "2e-3": "", "4e-3": "rate 0.004", "8e-3": "rate 0.008"}
LENGTHS = {
    "128, 8 (200)": ("", ""),
    "128, 32 (800)": ("", "epochs 32"),
    "8, 8 (3,192)": ("batch 8", ""),
    "8, 32 (12,768)": ("batch 8", "epochs 32"),
}
"""Batch, epochs (updates) -> their parts of a cell's name."""


def main() -> None:
    """Write the page."""
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8")))


def page(before: str) -> str:
    """The page with the tables of those studies that have an archive of their runs."""
    made: dict[str, tuple[str, Callable[[Path], str]]] = {
        "sizes": ("context-size", sizes_table),
        "depth": (
            "context-depth",
            lambda study: square(study, ("vector 48", "vector 96"), "vector 96", ("3 layers", "6 layers"), "depth 6"),
        ),
        "residual": (
            "context-residual",
            lambda study: square(study, ("smaller", "larger"), LARGER, ("rate 2e-3", "rate 8e-3"), "rate 0.008"),
        ),
    }
    return fill(
        before, {name: table(DOCS / study) for name, (study, table) in made.items() if (DOCS / study / NAME).is_file()}
    )


def sizes_table(study: Path) -> str:
    """Losses by batch, epochs, model and rate; in brackets those of the best models on the way, where they are lower."""
    found = cells_of(study)
    rows = ["| batch, epochs (updates) | model | " + " | ".join(RATES) + " |", "|---|---|" + "---|" * len(RATES)]
    for length, parts in LENGTHS.items():
        for model, size in MODELS.items():
            losses = [_last_and_best(found[cell_name(size, rate, *parts)]) for rate in RATES.values()]
            rows.append(f"| {length} | {model} | " + " | ".join(losses) + " |")
    return "\n".join(rows)


def square(study: Path, rows: tuple[str, str], row: str, columns: tuple[str, str], column: str) -> str:
    """Losses of two levels by two, each with the standard deviation over seeds and the best on the way."""
    found = cells_of(study)
    lines = [f"| loss (SD; best on the way) | {columns[0]} | {columns[1]} |", "|---|---|---|"]
    for title, level in zip(rows, ("", row), strict=True):
        cells = []
        for other in ("", column):
            last, best = found[name_in(found, level, other)]
            cells.append(f"{statistics.mean(last):.3f} ({_deviation(last)}; {statistics.mean(best):.3f})")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cells_of(study: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Cell -> the losses of its last and of its best models, by seed."""
    values = read_json(study / "study.json")
    found: dict[str, tuple[list[float], list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        unpack(study / NAME, Path(folder))
        for run in values["runs"]:
            summary: dict[str, Any] = read_json(Path(folder) / run["name"] / "summary.json")
            last, best = found.setdefault(run["cell"], ([], []))
            last.append(summary["final"]["loss"])
            best.append(summary["best"]["loss"])
    return found


def cell_name(*parts: str) -> str:
    """As a study calls a cell."""
    return " + ".join(part for part in parts if part) or "baseline"


def name_in(found: dict[str, Any], one: str, other: str) -> str:
    """The cell of two levels, in whichever order the study names them."""
    names = cell_name(one, other), cell_name(other, one)
    return names[0] if names[0] in found else names[1]


def _last_and_best(losses: tuple[list[float], list[float]]) -> str:
    last, best = (statistics.mean(values) for values in losses)
    return f"{last:.3f}" if math.isclose(last, best, abs_tol=5e-4) else f"{last:.3f} ({best:.3f})"


def _deviation(values: list[float]) -> str:
    return f"{statistics.stdev(values):.3f}" if len(values) > 1 else "one seed"


if __name__ == "__main__":
    main()
