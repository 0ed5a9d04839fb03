"""What verdicts of `lmlab study` are worth, on simulated studies: false verdicts, and intervals that miss.

A study has the cells of a design, true means that are drawn at random, and runs of so many seeds. A run's loss is its cell's mean,
what its seed adds to every cell alike, and an error of its own, whose deviation differs from cell to cell. Where seeds are not
shared, each cell draws its own. Effects are judged as those of a real study are: a verdict is false where the interval misses the
true effect, and a study where one of its effects would still be called a difference from the truth after Holm's adjustment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.files import read_json
from lmlab.recipe import Recipe
from lmlab.stats import seed_noise
from lmlab.stats.multiple import holm
from lmlab.stats.paired_seeds import paired_contrast, run_variance
from lmlab.stats.verdict import LEVEL, ErrorPart, half_width, p_value
from lmlab.study.grid.design import DesignName, Factor, Level
from lmlab.study.grid.effects import wanted
from lmlab.study.grid.study_plan import StudyPlan

STUDIES = 2_000
WIDTHS = 200
"""Studies of each kind whose intervals are computed; the others are judged by their p-values."""
SPREADS = (0.0, 0.4, 0.9)
"""Standard deviation of the logarithm of a cell's deviation: from none to that of docs/studies/width-and-rate (.005 to .11)."""
SHARED_SEED = 0.5
"""What a shared seed moves all cells by, against the deviation of a single run; in docs/studies .25 to 1.2."""
DESIGNS: tuple[tuple[str, DesignName, tuple[int, ...], int], ...] = (
    ("eight interventions, alone and stacked", "cumulative", (1,) * 8, 2),
    ("eight interventions, alone and stacked", "cumulative", (1,) * 8, 3),
    ("eight interventions, alone and stacked", "cumulative", (1,) * 8, 6),
    ("3 x 3", "factorial", (2, 2), 3),
    ("3 x 3 x 2", "factorial", (2, 2, 1), 2),
    ("2 x 2", "factorial", (1, 1), 2),
    ("2 x 2", "factorial", (1, 1), 6),
    ("one setting", "one-factor", (1,), 3),
    ("one setting", "one-factor", (1,), 6),
)
"""What it is like, design, levels of each factor besides the baseline, seeds."""


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """One kind of study, many times."""

    of: str
    seeds: int
    shared: bool
    spread: float
    effects: int
    """In one study."""
    studies: int
    covered: float
    """Share of the intervals that hold the true effect."""
    false_studies: float
    """Share of the studies with a false difference after Holm's adjustment."""
    width: float
    """Median half of an interval, in deviations of a run."""
    independent_width: float
    """The same where the seeds of cells count as independent, with one pooled deviation."""
    independent_covered: float

    def to_json(self) -> dict[str, Any]:
        """For docs/verdicts.json."""
        return asdict(self)


def simulated(studies: int = STUDIES, workers: int = 2) -> list[Simulated]:
    """Every kind."""
    kinds = [(*design, shared, spread) for design in DESIGNS for shared in (True, False) for spread in SPREADS]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(_kind, kinds, [studies] * len(kinds), range(len(kinds))))


def _kind(kind: tuple[str, DesignName, tuple[int, ...], int, bool, float], studies: int, seed: int) -> Simulated:
    of, design, levels, seeds, shared, spread = kind
    plan = _plan(design, levels, seeds)
    generator = np.random.default_rng(seed)
    covered, former_covered, widths, former_widths, false = [], [], [], [], 0
    for study in range(studies):
        p_values = []
        for off, parts, former in _judged(plan, generator, shared, spread):
            p_values.append(p_value(off, parts))
            covered.append(p_values[-1] >= 1 - LEVEL)
            former_widths.append(half_width(former))
            former_covered.append(abs(off) <= former_widths[-1])
            if study < WIDTHS:
                widths.append(half_width(parts))
        false += min(holm(p_values)) < 1 - LEVEL
    found = Simulated(
        of=of,
        seeds=seeds,
        shared=shared,
        spread=spread,
        effects=len(covered) // studies,
        studies=studies,
        covered=float(np.mean(covered)),
        false_studies=false / studies,
        width=float(np.median(widths)),
        independent_width=float(np.median(former_widths)),
        independent_covered=float(np.mean(former_covered)),
    )
    print(found, flush=True)
    return found


def _judged(
    plan: StudyPlan, generator: np.random.Generator, shared: bool, spread: float
) -> Iterator[tuple[float, list[ErrorPart], list[ErrorPart]]]:
    """One study: by how much each effect is off the true one, the causes of its error, and the same for independent seeds."""
    cells, seeds = plan.cells, range(plan.seeds)
    means = {cell: float(generator.normal(0.0, 3.0)) for cell in cells}
    deviations = {cell: math.exp(generator.normal(0.0, spread) - spread**2) for cell in cells}  # mean square 1
    of_seed = generator.normal(0.0, SHARED_SEED, len(seeds))
    losses = {}
    for cell in cells:
        own = of_seed if shared else generator.normal(0.0, SHARED_SEED, len(seeds))
        errors = generator.normal(0.0, deviations[cell], len(seeds))
        losses[cell] = {seed: means[cell] + float(own[seed] + errors[seed]) for seed in seeds}
    contrasts = [contrast for _, _, contrast in wanted(plan)]
    common = run_variance(losses, contrasts)
    noise = seed_noise({str(cell): list(of_cell.values()) for cell, of_cell in losses.items()})
    counts = {cell: len(seeds) for cell in cells}
    for contrast in contrasts:
        paired = paired_contrast(contrast, losses, common)
        assert paired is not None
        error = noise.standard_deviation * math.sqrt(sum(1 / count for count in contrast.runs(counts)))
        former = ErrorPart(standard_error=error, freedom=noise.freedom)
        yield paired.value - contrast.value(means), [paired.part], [former]


def _plan(design: DesignName, levels: tuple[int, ...], seeds: int) -> StudyPlan:
    """A plan with factors that nobody trains."""
    factors = tuple(
        Factor(name=f"factor {place}", levels=tuple(Level(label=str(level), settings={}) for level in range(count)))
        for place, count in enumerate(levels)
    )
    return StudyPlan(name="simulated", about="", asked="", base=Recipe(), factors=factors, design=design, seeds=seeds)


def published_halves(folder: Path) -> list[dict[str, Any]]:
    """Of each study in `folder` whose effects are paired: the median of halves of intervals against those of independent seeds."""
    found = []
    for path in sorted(folder.glob("*/study.json")):
        value = read_json(path)
        counts = {cell["cell"]: cell["seeds"] for cell in value["cells"]}
        noise, ratios = value["noise"], []
        for effect in value["effects"]:
            if effect.get("seeds") and effect["cells"]:
                error = math.sqrt(sum(weight**2 / counts[cell] for cell, weight in effect["cells"].items()))
                text = ErrorPart(standard_error=effect["errors"]["text"]["standard_error"])
                seeds = ErrorPart(standard_error=noise["standard_deviation"] * error, freedom=noise["freedom"])
                ratios.append((effect["high"] - effect["low"]) / 2 / half_width([text, seeds]))
        if ratios:
            found.append({"study": path.parent.name, "effects": len(ratios), "median_ratio": float(np.median(ratios))})
    return found


def table(value: list[dict[str, Any]]) -> list[str]:
    """The rows of docs/verdicts.md."""
    rows = [
        "| study | effects | seeds | | spread | intervals that hold the truth | studies with a false difference (Holm) "
        "| half of an interval | taken as independent: hold | half |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in value:
        rows.append(
            f"| {one['of']} | {one['effects']} | {one['seeds']} | {'shared' if one['shared'] else 'own'} "
            f"| {one['spread']:.1f} | {one['covered']:.1%} | {one['false_studies']:.1%} "
            f"| {one['width']:.2f} | {one['independent_covered']:.1%} | {one['independent_width']:.2f} |"
        )
    return rows
