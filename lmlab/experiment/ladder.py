"""`lmlab plan --ladder`: small trainings of increasing size, from which the loss of the whole one is extrapolated.

Each is an ordinary run in the cache folder, so that an interrupted one continues; its loss is kept, and its folder removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.experiment.start import train_or_resume
from lmlab.files import cache_folder, make_folder, remove_tree
from lmlab.planning.losses.ladder import remember, remembered, rungs_of
from lmlab.recipe import Recipe, recipe_hash
from lmlab.recipe.quantities import duration
from lmlab.scaling.ladder import LadderLaw, LadderPoint, ladder_law
from lmlab.training.display import Display


def run_ladder(
    recipe: Recipe, dataset: Dataset, steps: int, display: Display, say: Callable[[str], object] = print
) -> LadderLaw:
    """Return the law from the ladder of a training of `steps` steps; rungs that were trained before aren't trained again.

    LabError where a rung was stopped (the next call continues it), or has no finite loss.
    """
    rungs = rungs_of(recipe, dataset.vocabulary_size, steps)
    done = remembered(recipe, dataset.id, steps)
    if len(done) < len(rungs):
        share = sum(rung.share for rung in rungs)
        say(f"a ladder of {len(rungs)} small trainings, {share:.1%} of the run's arithmetic together:")
    for number in range(len(done), len(rungs)):
        rung = rungs[number]
        folder = make_folder(cache_folder() / "ladders" / f"{_name(rung.recipe)}-{dataset.id}")
        outcome = train_or_resume(rung.recipe, run="rung", runs=folder, display=display, say=_nothing)
        if outcome.ending.kind == "stopped":
            raise LabError(f"stopped in rung {number + 1} of {len(rungs)}: the same command continues from there")
        loss, seconds = outcome.summary["final"]["loss"], outcome.summary["seconds"]["total"]
        say(
            f"  {number + 1} of {len(rungs)}: width {rung.recipe.model.width}, {rung.recipe.train.steps:,} steps, "
            f"{duration(seconds)}: loss {loss:.4f}"
        )
        done.append(LadderPoint(size=rung.size, length=rung.length, loss=loss))
        remember(recipe, dataset.id, steps, done)
        remove_tree(folder)
    return ladder_law(done, steps)


def _name(recipe: Recipe) -> str:
    return hashlib.sha256(recipe_hash(recipe).encode()).hexdigest()[:16]


def _nothing(line: str) -> None:
    """Discard a rung's own lines, which add nothing to the ladder's."""
