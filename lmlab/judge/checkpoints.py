"""A ladder of one's own: the answers of a run's checkpoints, of which a later one is better while the validation loss falls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.experiment.judging import checkpoint_in, present_steps
from lmlab.generation.settings import Sampling
from lmlab.judge.answering import answer
from lmlab.judge.models import find_models
from lmlab.judge.questions import Question
from lmlab.judge.texts import Candidate
from lmlab.runs import open_run

MOST_RUNGS = 4


def rungs_of(steps: Sequence[int], most: int = MOST_RUNGS) -> list[int]:
    """Return at most so many of the ascending steps, the first and the last among them, evenly by their place.

    >>> rungs_of([0, 100, 200, 300, 400, 500])
    [0, 200, 300, 500]
    """
    if len(steps) <= most:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]


def checkpoint_candidates(
    reference: str,
    runs: Path,
    questions: Sequence[Question],
    sampling: Sampling,
    template: str,
    device: str,
    progress: Progress,
) -> list[Candidate]:
    """Return the answers of a run's checkpoints up to its best one, the last first; LabError if it has fewer than two of them."""
    run, which = open_run(reference, runs)
    last = checkpoint_in(run, which or "best")[0].step
    steps = rungs_of([step for step in present_steps(run) if step <= last])
    if len(steps) < 2:
        raise LabError(
            f"--ladder {run.name} has {len(steps)} checkpoint up to step {last}: expected two or more; train with "
            "--train.keep 9 --train.keep_finished all"
        )
    found = []
    for model in find_models([f"{run.folder}@{step}" for step in reversed(steps)], runs, template):
        loaded = model.load(device)
        done = answer(model, questions, sampling, lambda loaded=loaded: loaded, progress)  # type: ignore[misc]
        found.append(Candidate(name=model.name, kind="model", texts=done.texts))
    return found
