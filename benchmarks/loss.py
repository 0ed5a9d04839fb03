"""(c) Time to a validation loss on the whole split, and the loss that a time buys: whole commands in turns, seed by seed.

Wall time is a command's, start-up included. lmlab evaluates before the first and after the last step, and over the whole split
at the end; that time is known and is left out of `seconds` (`seconds with evaluation` has it). nanoGPT evaluates four batches
in all, and its whole-split loss is computed afterwards, outside its command. A run that misses its goal counts in no figure and
is listed with its loss.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import lmlab_command
from benchmarks.goals import Goal, Variant, read_goals
from benchmarks.nanogpt_command import Copy, Training
from benchmarks.options import NO_CHECKOUT, Found, Options
from benchmarks.results import Comparison, Measurement
from benchmarks.shapes import parameter_counts
from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.preparation import prepare
from lmlab.recipe import Data, check, load_recipe, override

PEER = "nanoGPT"
TIMES = ("seconds", "seconds with evaluation", "CPU seconds")
LOSS = "loss"
QUICK_STEPS = 20


@dataclass
class Side:
    """What one side's runs towards one goal came to: quantity -> seed -> value, of the runs that reached it."""

    name: str
    details: dict[str, Any]
    values: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, seed: int, values: dict[str, float | None]) -> None:
        """Take a run's figures; None is what this system doesn't tell."""
        for quantity, value in values.items():
            if value is not None:
                self.values.setdefault(quantity, {})[seed] = value


def measure(options: Options, goals: str, seeds: tuple[int, ...], only: str = "", steps: int | None = None) -> Found:
    """Every goal on a corpus of loss_targets.toml, `only` those whose name contains a text.

    `steps` is the length of lmlab's trainings where a goal gives minutes, on a machine of another speed.
    """
    found = Found(settings={"goals": goals, "seeds": list(seeds), "corpus": options.corpus.name})
    wanted = [goal for goal in read_goals(goals) if only in goal.case]
    if not wanted:
        raise LabError(f"no goal on {goals} has '{only}' in its name")
    if steps is not None:
        wanted = [with_steps(goal, steps) for goal in wanted]
    if options.quick:
        wanted = [shortened(goal) for goal in wanted[:1] + wanted[-1:]]
    found.settings["like"] = {goal.case: f"shakespeare to {goal.like:g}" for goal in wanted if goal.like is not None}
    dataset = prepare(Data(corpus=str(options.corpus), tokenizer="characters", split="tail"))
    with tempfile.TemporaryDirectory() as folder:
        copy = _copy(options, Path(folder), dataset.tokens("train"), dataset.tokens("valid"), dataset.vocabulary_size)
        for goal in wanted:
            _measure_goal(found, options, goal, seeds, dataset, copy)
    return found


def with_steps(goal: Goal, steps: int) -> Goal:
    """A goal in minutes with trainings of that length; LabError for a goal whose loss decides the length."""
    if goal.minutes is None:
        raise LabError(f"--steps is for goals in minutes: '{goal.case}' has its lengths in loss_targets.toml")
    return dataclasses.replace(
        goal, variants=tuple(dataclasses.replace(variant, steps=steps) for variant in goal.variants)
    )


def shortened(goal: Goal) -> Goal:
    """The goal of a smoke run: a few steps reach it."""
    return dataclasses.replace(
        goal,
        loss=None if goal.loss is None else 10.0,
        variants=tuple(
            dataclasses.replace(variant, steps=QUICK_STEPS, overrides={**variant.overrides, "schedule.warmup": 0})
            for variant in goal.variants
        ),
        nanogpt=goal.nanogpt and dataclasses.replace(goal.nanogpt, max_iters=QUICK_STEPS),
        nanogpt_seeds=None,
    )


def tune(options: Options, training: Training, held_out: float) -> dict[str, Any]:
    """One training of nanoGPT and its loss: over the validation split, or over a share held out of the training split's end."""
    dataset = prepare(Data(corpus=str(options.corpus), tokenizer="characters", split="tail"))
    train, scored = dataset.tokens("train"), dataset.tokens("valid")
    if held_out:
        cut = int(len(train) * (1 - held_out))
        train, scored = train[:cut], train[cut:]
    with tempfile.TemporaryDirectory() as folder:
        copy = _copy(options, Path(folder), train, scored, dataset.vocabulary_size)
        if copy is None:
            raise LabError(NO_CHECKOUT)
        finished = copy.train(training)
        loss = copy.score().loss
    on = f"the last {held_out:.0%} of the training split" if held_out else "the whole validation split"
    return {**dataclasses.asdict(training), "seconds": finished.seconds, "loss": loss, "on": on}


def _copy(options: Options, folder: Path, train: Any, valid: Any, vocabulary: int) -> Copy | None:
    if options.nanogpt is None:
        return None
    return Copy(options.nanogpt, folder, train, valid, vocabulary, options.threads)


def _measure_goal(
    found: Found, options: Options, goal: Goal, seeds: tuple[int, ...], dataset: Dataset, copy: Copy | None
) -> None:
    ours = [(variant, side) for variant in goal.variants if (side := _ours(found, options, goal, variant, dataset))]
    theirs = None
    if goal.nanogpt is not None:
        theirs = Side(PEER, {"learning_rate": goal.nanogpt.learning_rate, "steps": goal.nanogpt.max_iters})
        if copy is None:
            found.skip(goal.case, PEER, NO_CHECKOUT)
        else:
            copy.train(Training(learning_rate=1e-3, max_iters=1))  # its files are in the system's memory from now on
    for seed in seeds:
        if theirs is not None and copy is not None and seed in (goal.nanogpt_seeds or seeds):
            assert goal.nanogpt is not None
            _run_nanogpt(found, goal, theirs, copy, dataclasses.replace(goal.nanogpt, seed=seed))
        for variant, side in ours:
            _run_lmlab(found, options, goal, side, variant, seed)
    for side in [side for _, side in ours] + ([theirs] if theirs is not None else []):
        found.measurements += as_measurements(goal.case, side)
    if theirs is not None:
        for _, side in ours:
            found.comparisons += as_comparisons(goal.case, side, theirs)


def _ours(found: Found, options: Options, goal: Goal, variant: Variant, dataset: Dataset) -> Side | None:
    """A side for that variant after one step of it, which builds what is built once; None where it can't run here."""
    name = f"lmlab {variant.name}"
    try:
        settings = _settings(options, variant, 1)
        recipe = check(override(load_recipe(variant.recipe), settings))
        if prepare(recipe.data).id != dataset.id:
            raise LabError(
                f"{variant.recipe} reads other tokens: expected data.tokenizer characters and data.split tail"
            )
        spans = {"schedule.steps": variant.steps} if "schedule.steps" in settings else {}
        lmlab_command.train(variant.recipe, {**settings, **spans, "train.steps": 1}, options.threads)
    except LabError as error:
        found.skip(goal.case, name, str(error))
        return None
    details = {
        "recipe": variant.recipe,
        "steps": variant.steps,
        "overrides": dict(variant.overrides),
        "parameters": parameter_counts(recipe.model, dataset.vocabulary_size),
    }
    return Side(name, details)


def _settings(options: Options, variant: Variant, seed: int) -> dict[str, Any]:
    """What the command line gets: the schedule spans the training, evaluations are at its start and its end only."""
    recipe = override(load_recipe(variant.recipe), variant.overrides)
    spans = {"schedule.steps": None} if hasattr(recipe.schedule, "steps") else {}
    return {
        "data.corpus": str(options.corpus.resolve()),
        **spans,
        **variant.overrides,
        "train.steps": variant.steps,
        "train.seed": seed,
        "evaluate.every": variant.steps,
    }


def _run_lmlab(found: Found, options: Options, goal: Goal, side: Side, variant: Variant, seed: int) -> None:
    trained = lmlab_command.train(variant.recipe, _settings(options, variant, seed), options.threads)
    values = {
        "seconds": trained.finished.seconds - trained.evaluate_seconds,
        "seconds with evaluation": trained.finished.seconds,
        "CPU seconds": trained.finished.cpu_seconds,
        LOSS: trained.loss,
    }
    _add(found, goal, side, seed, values)


def _run_nanogpt(found: Found, goal: Goal, side: Side, copy: Copy, training: Training) -> None:
    finished, score = copy.train(training), copy.score()
    side.details["parameters"] = score.parameters
    values = {
        "seconds": finished.seconds,
        "seconds with evaluation": finished.seconds,
        "CPU seconds": finished.cpu_seconds,
        LOSS: score.loss,
    }
    _add(found, goal, side, training.seed, values)


def _add(found: Found, goal: Goal, side: Side, seed: int, values: dict[str, float | None]) -> None:
    print(json.dumps({"case": goal.case, "side": side.name, "seed": seed, **values}), file=sys.stderr, flush=True)
    reason = missed(goal, values["seconds"] or 0.0, values[LOSS] or 0.0)
    if reason is None:
        side.add(seed, values)
    else:
        found.skip(goal.case, side.name, f"seed {seed}: {reason}")


def missed(goal: Goal, seconds: float, loss: float) -> str | None:
    """Why a run doesn't count towards its goal; None where it does."""
    if goal.loss is not None and not loss <= goal.loss:
        return f"not reached: {loss:.4f} after {seconds:,.1f} s"
    if goal.minutes is not None and seconds > goal.minutes * 60:
        return f"took {seconds:,.1f} s to {loss:.4f}, more than {goal.minutes:g} min"
    return None


def as_measurements(case: str, side: Side) -> list[Measurement]:
    """A measurement a quantity; its samples are in the order of `seeds` in the details."""
    return [
        Measurement(
            case=case,
            side=side.name,
            quantity=quantity,
            unit="nats/token" if quantity == LOSS else "s",
            samples=tuple(by_seed.values()),
            details={**side.details, "seeds": list(by_seed)},
        )
        for quantity, by_seed in side.values.items()
    ]


def as_comparisons(case: str, side: Side, peer: Side) -> list[Comparison]:
    """How many times sooner, for the seeds with which both reached the goal."""
    compared = []
    for quantity in TIMES:
        ours, theirs = side.values.get(quantity, {}), peer.values.get(quantity, {})
        ratios = tuple(theirs[seed] / ours[seed] for seed in ours if seed in theirs)
        if ratios:
            compared.append(Comparison(case=case, side=side.name, against=peer.name, quantity=quantity, samples=ratios))
    return compared
