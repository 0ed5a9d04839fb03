"""Running a chain: each step is left out where it is done, continued where it was stopped, and else begun.

bases -> tunings of each -> answers, compared -> RUNS/chain-NAME/chain.json
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.chain.answers import answers_of
from lmlab.chain.definition import Base, Definition, Tuning
from lmlab.chain.result import ChainResult, chain_result, write_chain
from lmlab.chain.rows import ModelRow, base_row, tuned_row
from lmlab.data.progress import Progress
from lmlab.experiment.finish import Outcome
from lmlab.experiment.instruct import Tuning as FoundTuning
from lmlab.experiment.instruct import tuning_of
from lmlab.experiment.resuming import require_same
from lmlab.experiment.start import train_or_resume
from lmlab.generation.settings import Sampling
from lmlab.judge.asked import AskedJudging, Cost
from lmlab.judge.client import JudgeSettings
from lmlab.judge.figures import Figures
from lmlab.judge.judging import judge_models
from lmlab.recipe import Recipe, check, load_recipe, with_settings
from lmlab.runs import Run


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where a chain runs and who is told."""

    runs: Path
    options: Callable[[], Mapping[str, Any]]
    """Called for each training: its display and clock."""
    progress: Progress | None
    say: Callable[[str], None]
    confirm: Callable[[Cost], object] = lambda cost: None


def run_chain(chain: Definition, around: Surroundings) -> tuple[ChainResult, Figures, Path] | Outcome:
    """Take all steps that are left; return the result, the comparison of answers and the result's file.

    Where a signal stopped a training after saving, return that training.

    LabError where a step can't be taken: what was done until then is kept, and the same command continues.
    """
    count = len(chain.bases) * (1 + len(chain.tunings)) + 1
    done = 0
    models: list[tuple[ModelRow, str]] = []
    """Each with the reference by which its answers are asked for."""
    for base in chain.bases:
        done += 1
        stopped = None if base.run else _train_base(chain, base, around, f"{done}/{count}")
        if stopped is not None:
            return stopped
        reference = base.run or chain.run_of(base)
        own = base_row(base.name, reference, around.runs)
        models.append((own, reference))
        for tuning in chain.tunings:
            done += 1
            stopped = _tune(chain, base, tuning, reference, around, f"{done}/{count}")
            if stopped is not None:
                return stopped
            name = chain.run_of(base, tuning)
            models.append((tuned_row(own, tuning.name, name, around.runs), name))
    around.say(f"{count}/{count} answers")
    figures, path = judge_models(_asked(chain, models), around.runs, around.progress, around.say, around.confirm)
    result = chain_result(chain.name, [row for row, _ in models], answers_of(figures))
    return result, figures, write_chain(result, path, around.runs)


def _train_base(chain: Definition, base: Base, around: Surroundings, place: str) -> Outcome | None:
    """Train or continue a base; return the outcome where a signal stopped it."""
    recipe = check(with_settings(load_recipe(base.recipe), dict(base.settings)))
    return _train(recipe, chain.run_of(base), None, around, f"{place} training")


def _tune(
    chain: Definition, base: Base, tuning: Tuning, reference: str, around: Surroundings, place: str
) -> Outcome | None:
    """Tune or continue the tuning of a base; return the outcome where a signal stopped it."""
    found = tuning_of(
        reference, tuning.data, tuning.settings, recipe=tuning.recipe, runs=around.runs, progress=around.progress
    )
    return _train(found.recipe, chain.run_of(base, tuning), found, around, f"{place} tuning {reference} into")


def _train(recipe: Recipe, name: str, tuning: FoundTuning | None, around: Surroundings, doing: str) -> Outcome | None:
    """Train or continue a run that isn't finished; LabError where there is one of this name that is of another recipe."""
    folder = around.runs / name
    around.say(f"{doing} {name}")
    if folder.exists() and (run := Run(folder)).status() == "finished":
        require_same(run, recipe, "give it another name in the file")
        around.say(f"{name} is finished already")
        return None
    for line in () if tuning is None else tuning.lines:
        around.say(line)
    outcome = train_or_resume(
        recipe,
        run=name,
        runs=around.runs,
        parent=None if tuning is None else tuning.parent,
        progress=around.progress,
        say=around.say,
        **around.options(),
    )
    return outcome if outcome.ending.kind == "stopped" else None


def _asked(chain: Definition, models: list[tuple[ModelRow, str]]) -> AskedJudging:
    judge = chain.judge
    settings = JudgeSettings(address=judge.address, model=judge.model, method=judge.method) if judge.address else None
    return AskedJudging(
        models=tuple(reference for row, reference in models if row.tuning is not None or judge.bases),
        data=Path(judge.data),
        part=judge.part,
        items=judge.items,
        sampling=Sampling(temperature=0.0, tokens=judge.tokens),
        judges=() if settings is None else (settings,),
    )
