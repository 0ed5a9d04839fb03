"""The answers of a chain's models as numbers: the scores of each question, from which every figure follows without any text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.judge.figures import Figures
from lmlab.judge.metrics import CHRF, EXACT, LIKELIHOOD, metric_tables
from lmlab.stats.bootstrap import Interval, ratio_interval
from lmlab.stats.scores import mean_score

BITS_A_BYTE = "bits per byte of the reference"
FIGURES = (f"{EXACT} %", CHRF, BITS_A_BYTE)
LOWER_IS_BETTER = frozenset({BITS_A_BYTE})


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What the answers of each model came to."""

    models: tuple[str, ...]
    """RUN@STEP."""
    questions: tuple[str, ...]
    """The hash of each."""
    bytes: tuple[int, ...]
    """Of each reference answer."""
    scores: Mapping[str, NDArray[np.float64]]
    """Metric -> [models, questions], of which the higher is better; NaN where it can't be computed."""
    judges: Mapping[str, tuple[float, ...]]
    """Mean score of each model by each judge that passed its examination."""

    def figures(self) -> dict[str, list[Interval]]:
        """Return figure -> one for each model, with a 95% interval over questions."""
        sizes = np.array(self.bytes, dtype=np.float64)
        return {
            FIGURES[0]: [mean_score(row).mean for row in self.scores[EXACT]],
            FIGURES[1]: [mean_score(row).mean for row in self.scores[CHRF]],
            FIGURES[2]: [ratio_interval(-row / math.log(2), sizes) for row in self.scores[LIKELIHOOD]],
        }

    def qualities(self) -> dict[str, list[float]]:
        """Return figure or judge -> a value for each model, of which the higher is better."""
        found = {
            name: [-one.estimate if name in LOWER_IS_BETTER else one.estimate for one in values]
            for name, values in self.figures().items()
        }
        return {**found, **{name: list(values) for name, values in self.judges.items()}}

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "models": list(self.models),
            "questions": list(self.questions),
            "bytes": list(self.bytes),
            "scores": {
                name: [[None if math.isnan(one) else one for one in row] for row in table.tolist()]
                for name, table in self.scores.items()
            },
            "judges": {name: list(values) for name, values in self.judges.items()},
        }


def answers_of(figures: Figures) -> Answers:
    """Return the answers of a comparison by `lmlab.judge`."""
    raw = figures.raw
    return Answers(
        models=tuple(figures.names),
        questions=tuple(question.key for question in raw.questions),
        bytes=tuple(len(question.reference.encode()) for question in raw.questions),
        scores=metric_tables(raw),
        judges={
            f"{judge.raw.name}, {judge.raw.method}": tuple(one.score.mean.estimate for one in judge.standings)
            for judge in figures.judges
            if judge.trusted and judge.standings
        },
    )


def answers_from(value: Any) -> Answers:
    """Return what `to_json` converted; LabError where it's of another form."""
    try:
        scores = {
            name: np.array([[math.nan if one is None else float(one) for one in row] for row in value["scores"][name]])
            for name in (EXACT, CHRF, LIKELIHOOD)
        }
        found = Answers(
            models=tuple(map(str, value["models"])),
            questions=tuple(map(str, value["questions"])),
            bytes=tuple(map(int, value["bytes"])),
            scores=scores,
            judges={str(name): tuple(map(float, values)) for name, values in value["judges"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LabError(f"the answers of a chain are damaged ({error!r}): run lmlab chain again") from None
    shape = (len(found.models), len(found.questions))
    rows = [len(values) for values in found.judges.values()]
    if any(table.shape != shape for table in scores.values()) or {*rows, shape[0]} != {shape[0]}:
        raise LabError(f"the answers of a chain are damaged: expected {shape[0]} models and {shape[1]} questions each")
    return found
