"""Prepare a recipe's data and benchmark it on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmlab import LabError
from lmlab.data.fresh import sequences_an_epoch, training_split
from lmlab.data.preparation import prepare
from lmlab.data.progress import Progress
from lmlab.experiment.outline import with_known_prompts
from lmlab.planning.benchmark.bench import MOST_BATCH, Bencher, effort_of
from lmlab.planning.benchmark.result import Bench
from lmlab.recipe import Recipe, check
from lmlab.training.length import steps_of

MOST_ROUNDS = 100


def bench(
    recipe: Recipe,
    *,
    batches: Sequence[int] = (),
    thorough: bool = False,
    rounds: int | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Bench:
    """Benchmark `recipe` by batch (default: 1, 2, 4, ... up to the limits of memory and time), precision, engine and threads.

    `say` is called with progress lines. KeyboardInterrupt ends it with the results so far, marked `interrupted`. LabError where the
    recipe can't run here at all.
    """
    check(recipe)
    if any(not 1 <= batch <= MOST_BATCH for batch in batches):
        raise LabError(f"--batch {','.join(map(str, batches))}: expected batch sizes from 1 to {MOST_BATCH:,}")
    if rounds is not None and not 1 <= rounds <= MOST_ROUNDS:
        raise LabError(f"--rounds {rounds}: expected 1 to {MOST_ROUNDS}")
    dataset = prepare(recipe.data, progress=progress)
    training = training_split(recipe, dataset)
    if not sequences_an_epoch(training, recipe.data.order, recipe.model.context) or len(dataset.tokens("valid")) < 2:
        raise LabError(f"{recipe.name} has no window of {recipe.model.context:,} tokens: use a smaller model.context")
    recipe = with_known_prompts(recipe, dataset.tokenizer, say)
    steps = steps_of(recipe, training)
    return Bencher(recipe, dataset, steps, effort_of(thorough, rounds), sorted(set(batches)), say).go()
