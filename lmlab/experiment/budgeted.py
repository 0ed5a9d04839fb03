"""`lmlab plan --budget` and `lmlab plan --from`: plans from a recipe or a run's name."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.fresh import training_split
from lmlab.data.order import epoch_length
from lmlab.data.progress import Progress
from lmlab.data.shards.existing import Beginning
from lmlab.experiment.parent import parent_of
from lmlab.experiment.planned_data import data_for_plan
from lmlab.experiment.start import rate_line, with_rate
from lmlab.hardware.cards import Card
from lmlab.planning.cards.on_card import CardPlan, plan_for_card
from lmlab.planning.cards.price import Price
from lmlab.planning.forecasts.history import finished_runs
from lmlab.planning.inverse.budget import Budget
from lmlab.planning.inverse.plan import InversePlan
from lmlab.planning.inverse.resources import resources_here, resources_on
from lmlab.planning.inverse.search import CorpusFacts, inverse_plan
from lmlab.planning.inverse.shapes import shapes_like
from lmlab.planning.losses.evidence import law_for, law_of
from lmlab.planning.losses.known_law import KnownLaw, own_law, published_law
from lmlab.planning.losses.longer import Longer, longer_run
from lmlab.planning.next_steps.facts import facts_of
from lmlab.planning.next_steps.ranking import NextSteps, next_steps
from lmlab.recipe import Recipe, check, with_settings
from lmlab.runs import Run, open_run
from lmlab.training.length import planned_steps, steps_of
from lmlab.training.memory import device_memory_bytes
from lmlab.training.policy import choose_policy


def plan_within(
    recipe: Recipe,
    budget: Budget,
    *,
    runs: str | Path = "runs",
    card: Card | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] = print,
) -> InversePlan:
    """Return the best model in `recipe`'s style for `budget`, on this machine or on a card that isn't here.

    Its data is prepared; the loss law is fitted to the finished runs in `runs` where there are enough. Raises LabError where
    nothing fits, and for anything else that the user can correct.
    """
    check(recipe)
    shapes_like(recipe)  # raises before the data is prepared
    recipe, dataset = data_for_plan(recipe, progress)
    vocabulary = dataset.vocabulary_size
    if card is not None:
        resources = resources_on(card, vocabulary)
    else:
        policy = choose_policy(recipe, say, vocabulary=vocabulary)
        training = training_split(recipe, dataset)
        resources = resources_here(recipe, policy, training, vocabulary, device_memory_bytes(policy.torch_device))
    law = law_for(recipe, dataset, steps_of(recipe, training_split(recipe, dataset)), finished_runs(Path(runs)))
    return inverse_plan(recipe, CorpusFacts.of(recipe, dataset), budget, law, resources)


def plan_on_card(
    recipe: Recipe, card: Card, *, price: Price | None = None, progress: Progress | None = None
) -> CardPlan:
    """Return the expected cost of `recipe` on a card that isn't here; its data is prepared for its vocabulary size, of a large
    corpus the beginning.
    """
    check(recipe)
    recipe, dataset = data_for_plan(recipe, progress)
    steps, resources = steps_of(recipe, training_split(recipe, dataset)), resources_on(card, dataset.vocabulary_size)
    preparation = dataset.preparation if isinstance(dataset, Beginning) else None
    return plan_for_card(recipe, steps, CorpusFacts.of(recipe, dataset), card, resources, price, preparation)


def plan_after(reference: str, *, runs: str | Path = "runs") -> NextSteps:
    """Return the next steps after the finished run that `reference` names, by expected gain an hour; LabError where there is
    none."""
    run = _finished_run(reference, runs)
    facts = facts_of(run)
    return next_steps(facts, _law(facts.recipe, run.fact("data_id"), facts.vocabulary, run.folder.parent))


def plan_longer(reference: str, settings: Mapping[str, Any], *, runs: str | Path = "runs") -> Longer:
    """Return the forecast of continuing the finished run that `reference` names, as `lmlab train --from` would with these settings.

    `settings` are train.steps and those of the schedule, by dotted name; LabError for a run that can't be continued this way.
    """
    run = _finished_run(reference, runs)
    facts, parent = facts_of(run), parent_of(reference, runs)
    if parent.recipe.data.fresh:
        raise LabError(
            f"{run.name} read fresh tokens, and a branch of it counts its steps from 0: lmlab plan --from {run.name} forecasts "
            "twice the steps"
        )
    recipe = with_settings(parent.recipe, {"train.epochs": None, **settings})
    if recipe.train.epochs is not None:
        sequences = facts.unique_tokens / facts.step_tokens * recipe.train.batch
        if not recipe.data.by_document:
            sequences = epoch_length(recipe.data.order, facts.unique_tokens, recipe.model.context)
        recipe = with_settings(recipe, {"train.epochs": None, "train.steps": planned_steps(recipe, int(sequences))})
    if not any(name.startswith("schedule.") for name in settings):
        recipe = with_rate(recipe, parent, "stretch")
    words = " ".join(f"--{name} {value}" for name, value in settings.items())
    line = rate_line(check(recipe), parent, parent.step, recipe.train.steps)
    return longer_run(facts, recipe, line, f"lmlab train --from {shlex.quote(facts.folder)} {words}")


def _finished_run(reference: str, runs: str | Path) -> Run:
    run, which = open_run(reference, Path(runs))
    if which is not None:
        raise LabError(f"lmlab plan --from takes a whole run, but {reference} names a checkpoint: leave @{which} out")
    run.require_trained()
    return run


def _law(recipe: Recipe, data_id: str, vocabulary: int, root: Path) -> KnownLaw:
    fitted = law_of(finished_runs(root), recipe, data_id)
    return published_law(vocabulary) if fitted is None else own_law(fitted, vocabulary)
