"""Train a new run, from recipe to summary: from initial weights, or as a branch of another run's checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from lmlab import LabError
from lmlab.data.dataset import Dataset, find_dataset
from lmlab.data.fresh import FreshTokens
from lmlab.data.preparation import prepare
from lmlab.data.progress import Progress
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.experiment.beginning import begin
from lmlab.experiment.circumstances import versions
from lmlab.experiment.expectations import ExpectedRange, parse_expectations, read_expectations
from lmlab.experiment.finish import Outcome, train_to_end
from lmlab.experiment.fresh import fresh_lines, require_one_pass, require_parent, training_tokens
from lmlab.experiment.lineage import ancestry_to_json, lineage_if_known, lineage_through
from lmlab.experiment.outline import Outline, deadline_of, outline_of, with_known_prompts
from lmlab.experiment.parent import Parent, same_stream
from lmlab.experiment.resuming import resume_same
from lmlab.files import read_json, require_free_bytes
from lmlab.hardware.machine import detect
from lmlab.planning.forecasts.forecast import require_budget
from lmlab.planning.losses.ladder import ladder_seconds, unknown_loss
from lmlab.recipe import Data, Recipe, check, recipe_hash
from lmlab.recipe.data import IMPORTED
from lmlab.recipe.schedule import has_span
from lmlab.runs import Run, RunLock, check_note, create_run, require_free_name, require_place, write_note
from lmlab.training.display import Display, make_display
from lmlab.training.policy import Policy
from lmlab.training.wall import WallClock

RateName = Literal["stretch", "hold", "rewarm"]


def train(
    recipe: Recipe,
    *,
    run: str | None = None,
    runs: str | Path = "runs",
    parent: Parent | None = None,
    display: Display | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
    expect: Sequence[str] = (),
    note: str = "",
    clock: WallClock | None = None,
) -> Outcome:
    """Prepare the data, forecast, train, evaluate on the whole split and write the summary; return the new run's outcome.

    `expect` are ranges such as `valid_perplexity=25..30` that are kept with the run and scored after it, `note` is a text to keep.

    `say` is called with the lines for the user before and after, `display` with the progress: a live panel in a terminal and lines
    elsewhere, in a notebook too (`lmlab.training.display.Quiet()` shows nothing). `clock` is that of the wall time, which counts
    from this call unless a command passes its process's. Raises LabError for anything that the user can correct.
    """
    clock = clock or WallClock.of_call()
    deadline = deadline_of(recipe)
    root, expected = Path(runs), parse_expectations(expect)
    check(recipe)
    check_note(note)
    require_parent(recipe, parent is not None)
    require_free_name(root, run)
    require_place(root)
    dataset = _dataset(recipe, parent, progress)
    _require_windows(recipe, dataset)
    _require_boundary(recipe, dataset)
    lineage = () if parent is None or not recipe.data.fresh else lineage_through(parent.run, parent.checkpoint)
    training = training_tokens(recipe, dataset, lineage)
    recipe = with_known_prompts(recipe, dataset.tokenizer, say)
    outline = outline_of(recipe, dataset, training, parent, say)
    if isinstance(training, FreshTokens):
        require_one_pass(training, recipe, outline.steps)
    say(dataset_line(dataset))
    say(policy_line(outline.policy))
    if parent is not None:
        say(rate_line(recipe, parent, outline.first, outline.steps))
    if isinstance(training, FreshTokens):
        for line in fresh_lines(training, recipe, dataset, outline.steps, lineage):
            say(line)
    outline, forecast = outline.fitted(lambda one: one.forecast(root, say, clock), say)
    say(forecast.line())
    if parent is None and "final_loss" not in forecast.figures:
        vocabulary = dataset.vocabulary_size
        say(unknown_loss(ladder_seconds(recipe, vocabulary, outline.steps, forecast.train_seconds)))
    for line in outline.plan.lines(recipe, outline.steps - outline.first):
        say(line)
    require_free_bytes(root, forecast.disk_bytes, "keeping this run's checkpoints")
    require_budget(recipe, forecast)
    made = create_run(root, run, recipe, _origin(recipe, outline, dataset, parent, expected))
    if note:
        write_note(made.folder, note)
    with RunLock(made.folder) as lock:
        session = begin(made, outline, forecast, display or make_display(), lock.storage, clock)
        return train_to_end(session, deadline, say)


def train_or_resume(
    recipe: Recipe,
    *,
    run: str,
    runs: str | Path = "runs",
    parent: Parent | None = None,
    expect: Sequence[str] = (),
    note: str = "",
    **options: Any,
) -> Outcome:
    """Resume the run if it exists (`resume_same`), else train it, so that repeating an interrupted command continues it."""
    folder = Path(runs) / run
    if not folder.exists():
        return train(recipe, run=run, runs=runs, parent=parent, expect=expect, note=note, **options)
    if expect and parse_expectations(expect) != read_expectations(Run(folder).origin().get("expected")):
        raise LabError(
            f"{run} has begun, so its expectations can't change: leave out --expect, or choose another --run"
        )
    check_note(note)
    outcome = resume_same(run, recipe, runs=runs, **options)
    if note:
        write_note(folder, note)
    return outcome


def with_rate(recipe: Recipe, parent: Parent, rate: RateName) -> Recipe:
    """Return `recipe` with its schedule stretched over the new length, continued like the parent's, or restarted at the branch."""
    schedule = recipe.schedule
    # A branch that doesn't continue its parent's batch order starts at step 0, and so does its schedule.
    reads_on = recipe.data == parent.recipe.data and same_stream(recipe, parent.run.fact("data_id"), parent)
    start = parent.step if reads_on else 0
    if recipe.data.fresh and rate == "hold":
        raise LabError(
            "--rate hold continues the parent's schedule, but with data.fresh steps begin at 0: expected stretch or "
            "rewarm, or --schedule.kind constant with an --optim.lr"
        )
    if not has_span(schedule):
        return (
            recipe
            if rate != "rewarm"
            else dataclasses.replace(recipe, schedule=dataclasses.replace(schedule, start=start))
        )
    if rate == "stretch":
        changed: Any = dataclasses.replace(schedule, steps=None)
    elif rate == "hold":
        own = parent.recipe.schedule
        # A warm-up that wasn't set explicitly would have grown with the steps.
        warmup = own.warmup if "schedule.warmup" in recipe.derived else schedule.warmup
        changed = dataclasses.replace(schedule, steps=own.steps or parent.recipe.train.steps, warmup=warmup)
    else:
        changed = dataclasses.replace(schedule, steps=None, start=start)
    return dataclasses.replace(recipe, schedule=changed)


def rate_line(recipe: Recipe, parent: Parent, first: int, steps: int) -> str:
    """Describe the learning rate at the branch."""
    from lmlab.optim.schedule import rate_share

    schedule = recipe.schedule
    here = rate_share(schedule, max(1, steps - schedule.start), max(0, first - schedule.start))
    span = f" over {schedule.steps or steps - schedule.start:,} steps" if has_span(schedule) else ""
    if schedule.start and schedule.start == first:
        what = f"warms up again, {schedule.warmup:,} steps, then runs{span}"
    elif schedule.steps and schedule.steps <= first:
        what = f"holds at its floor (its{span.replace(' over', '')} are over)"
    elif first < parent.step:
        what = f"restarts{span}"
    elif not has_span(schedule):
        what = f"is {schedule.kind}"
    elif schedule == parent.recipe.schedule and recipe.train.steps == parent.recipe.train.steps:
        what = "continues as the parent's would have"
    else:
        what = f"is stretched{span}"
    return f"from {parent.run.name}@{parent.step}: the learning rate {what}; at step {first:,} it is {here:.1%} of its peak"


def dataset_line(dataset: Dataset) -> str:
    """Describe a data set in one line."""
    sizes = ", ".join(f"{split} {len(dataset.tokens(split)):,}" for split in dataset.splits)
    return f"data {dataset.id}: {sizes} tokens, vocabulary {dataset.vocabulary_size:,} ({dataset.tokenizer.name})"


def policy_line(policy: Policy) -> str:
    """Describe the policy chosen for this machine, with the reasons."""
    parts = []
    if policy.device == "cpu":
        threads = "1 thread" if policy.threads == 1 else f"{policy.threads} threads"
        parts += [threads, f"{policy.engine} engine ({policy.reasons['engine']})"]
    parts.append(f"{policy.precision} ({policy.reasons['precision']})")
    if policy.engine == "torch":
        parts.append(f"{'compiled' if policy.compile else 'eager'} ({policy.reasons['compile']})")
    parts.append(f"micro-batch {policy.micro_batch} ({policy.reasons['micro_batch']})")
    return f"on {policy.device}: {', '.join(parts)}"


def _dataset(recipe: Recipe, parent: Parent | None, progress: Progress | None) -> Dataset:
    """Return the recipe's data set; a branch with unchanged data settings uses its parent's, as the text may be missing."""
    if parent is not None and _same_data(recipe.data, parent.recipe.data):
        with contextlib.suppress(LabError):
            return find_dataset(parent.run.fact("data_id"))
    return prepare(recipe.data, progress=progress, tokenizer=_given_tokenizer(recipe, parent))


def _given_tokenizer(recipe: Recipe, parent: Parent | None) -> Tokenizer | None:
    """Return the parent's tokenizer where the recipe's settings don't make it: of an imported model, or for conversations."""
    if parent is None or recipe.data.tokenizer != parent.recipe.data.tokenizer:
        return None
    foreign = parent.run.model_from is not None or recipe.data.tokenizer == IMPORTED
    # A tokenizer that learns from text would be another one after conversations than after the parent's text.
    theirs = foreign or recipe.data.conversations
    return load_tokenizer(read_json(parent.run.folder / "tokenizer.json")) if theirs else None


def _same_data(one: Data, other: Data) -> bool:
    """Return whether two settings give one data set: order, stride and freshness only affect how it is read."""
    return (
        dataclasses.replace(one, order=other.order, stride=other.stride, fresh=other.fresh, targets=other.targets)
        == other
    )


def _require_boundary(recipe: Recipe, dataset: Dataset) -> None:
    boundary, end = getattr(recipe.model, "boundary", None), dataset.end_of_text
    if boundary is None or boundary == end:
        return
    advice = "leave it out" if end is None else f"use --model.boundary {end}"
    has = "no end-of-text token" if end is None else f"the end-of-text token {end}"
    raise LabError(
        f"model.boundary {boundary} doesn't separate documents here: data set {dataset.id} has {has}; {advice}"
    )


def _require_windows(recipe: Recipe, dataset: Dataset) -> None:
    if recipe.data.by_document:
        return  # each document has a window, however short it is
    for split in ("train", "valid"):
        tokens, context = len(dataset.tokens(split)), recipe.model.context
        if tokens < context + 1:
            raise LabError(
                f"the {split} split has {tokens:,} tokens, less than one window of {context + 1:,}: use a model.context of at most "
                f"{max(1, tokens - 1):,}, more text, or another data.valid_share"
            )


def _origin(
    recipe: Recipe, outline: Outline, dataset: Dataset, parent: Parent | None, expected: Sequence[ExpectedRange]
) -> dict[str, Any]:
    lineage = None
    if parent is not None:
        lineage = {
            "id": parent.run.id,
            "name": parent.run.name,
            "step": parent.step,
            "recipe_hash": recipe_hash(parent.recipe),
        }
        lineage["weights_sha256"] = parent.weights_sha256
    return {
        **versions(outline.policy),
        "hardware": detect().facts(),
        "command": sys.argv,
        "recipe_hash": recipe_hash(recipe),
        "data_id": dataset.id,
        "data": ancestry_to_json(dataset.ancestry),
        "vocabulary_size": dataset.vocabulary_size,
        "evaluation": outline.plan.to_json(),
        "expected": [dataclasses.asdict(entry) for entry in expected],
        "parent": lineage,
        "lineage": [] if parent is None else lineage_if_known(parent.run, parent.checkpoint),
    }
