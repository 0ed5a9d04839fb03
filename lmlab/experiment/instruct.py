"""Tuning a run on conversations: the recipe of a branch, from the parent's model and the conversations' file.

    parent RUN@STEP + file -> recipe -> data set -> once an epoch the whole validation split -> the training of any branch

Without a named recipe the optimizer is the parent's with its rates x RATE_SHARE, which fall to zero in a straight line after a
short warm-up, and its moments begin at zero (`train.inherit all` continues them). The result is an ordinary run with a parent and a
template.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.instructions.contents import Contents, contents_of
from lmlab.data.preparation import prepare
from lmlab.data.progress import Progress
from lmlab.data.reading import scored_targets
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.data.windows import split_windows
from lmlab.experiment.finish import Outcome
from lmlab.experiment.parent import Parent, parent_of
from lmlab.files import read_json
from lmlab.planning.inverse.shapes import counted_parameters
from lmlab.recipe import GPT, Data, Linear, Muon, Recipe, check, load_recipe, with_settings
from lmlab.recipe.quantities import count
from lmlab.recipe.template import template_named
from lmlab.recipe.train import Evaluate, Train
from lmlab.training.table import Column, Table

RATE_SHARE = 0.8
"""The peak rate of a tuning without a named recipe, as a share of the parent's."""
EPOCHS, PATIENCE, BATCH = 10, 3, 8
"""Of a tuning without a named recipe: at most so many epochs, the end after so many without a lower validation loss, sequences."""
WARMUP_SHARE = 0.1
"""Warm-up of the rate, as a share of an epoch."""
SMALL_PARAMETERS, FEW_CONVERSATIONS = 50_000_000, 10_000
"""Below both, answers are likely at the floor of what a judge can tell apart."""
NAME = "instruct"


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A tuning that is about to begin."""

    recipe: Recipe
    parent: Parent
    contents: Contents
    lines: tuple[str, ...]
    """What the user should know before it."""


def tuning_of(
    reference: str,
    corpus: str,
    settings: Mapping[str, Any],
    *,
    recipe: str = "",
    runs: str | Path = "runs",
    progress: Progress | None = None,
) -> Tuning:
    """Return the tuning of the run that RUN@STEP names on the conversations in `corpus`.

    `recipe` is a recipe's name or file, of which everything but the model is used; empty: the parent's optimizer and `RATE_SHARE`.
    `settings` are recipe settings by dotted name. The data set is prepared. Raises LabError for anything that the user can correct.
    """
    parent = parent_of(reference, runs)
    base = _of_recipe(load_recipe(recipe), parent) if recipe else _of_parent(parent)
    if corpus:
        base = dataclasses.replace(base, data=dataclasses.replace(base.data, corpus=corpus))
    elif not recipe and "data.corpus" not in settings:
        raise LabError("lmlab instruct needs --data FILE, conversations as Alpaca's JSON or chats")
    wanted = check(_with(base, settings))
    if not wanted.data.conversations:
        raise LabError(
            "data.template none is plain text: expected alpaca, chatml, phi3 or plain; for plain text use lmlab train --from"
        )
    dataset = prepare(wanted.data, progress=progress, tokenizer=parent_tokenizer(parent))
    bounded = _with_boundary(wanted, dataset, settings)
    contents = contents_of(bounded, dataset)
    complete = check(_once_an_epoch(bounded, dataset, settings))
    lines = (
        *contents.lines(complete),
        *_boundary_lines(complete, contents),
        *_power_lines(complete, dataset, contents),
    )
    return Tuning(recipe=complete, parent=parent, contents=contents, lines=lines)


def parent_tokenizer(parent: Parent) -> Tokenizer:
    """Return the tokenizer of the parent's model."""
    return load_tokenizer(read_json(parent.run.folder / "tokenizer.json"))


def _with(base: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with the settings; steps that are given replace the recipe's epochs."""
    if "train.steps" in settings and "train.epochs" not in settings:
        settings = {**settings, "train.epochs": None}
    return with_settings(base, settings)


def _of_recipe(named: Recipe, parent: Parent) -> Recipe:
    """Return a named recipe for the parent's model; its claims stay where it is the model that they are about."""
    theirs = parent.recipe
    same = named.model == theirs.model and named.data.tokenizer == theirs.data.tokenizer
    return dataclasses.replace(
        named,
        data=_data(named.data, theirs.data),
        model=dataclasses.replace(theirs.model, dropout=named.model.dropout) if same else theirs.model,
        claims=named.claims if same else (),
        published_vocabulary=None,
    )


def _of_parent(parent: Parent) -> Recipe:
    """Return the recipe of a tuning for which none is named."""
    theirs, template = parent.recipe, parent.run.template()
    optim = dataclasses.replace(theirs.optim, lr=RATE_SHARE * theirs.optim.lr, clip_steps=(), clip_then=())
    if isinstance(optim, Muon):
        optim = dataclasses.replace(optim, adam_lr=RATE_SHARE * optim.adam_lr)
    data = Data(template="alpaca", windows="bucketed", split="auto", valid_share=0.1)
    recipe = Recipe(
        name=NAME,
        about=f"{parent.run.name} tuned on conversations",
        data=_data(data, theirs.data),
        model=theirs.model,
        optim=optim,
        schedule=Linear(),
        train=Train(epochs=EPOCHS, patience=PATIENCE, batch=BATCH, inherit="weights"),
        evaluate=Evaluate(sample_tokens=64),
    )
    return recipe if template is None else with_settings(recipe, {"data.template": template.name})


def _data(data: Data, parent: Data) -> Data:
    """Return how conversations are read, with the tokenizer's settings of the parent."""
    names = ("tokenizer", "vocabulary", "minimum_count", "lowercase", "unknown")
    return dataclasses.replace(data, **{name: getattr(parent, name) for name in names})


def _with_boundary(recipe: Recipe, dataset: Dataset, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with a boundary between the conversations of a packed window, where the model may have one.

    Where an end of text also ends each answer inside a conversation, a boundary would hide its earlier turns.
    """
    model = recipe.model
    if not isinstance(model, GPT):
        return recipe
    divides = (
        bool((dataset.conversations or {}).get("several_turns"))
        and not template_named(recipe.data.template).assistant[1]
    )
    if model.boundary is not None and divides:
        raise LabError(
            f"the template {recipe.data.template} ends each answer with the end of text, at which this model's attention stops "
            "(model.boundary), so that it would not see earlier turns: use --data.template chatml"
        )
    if recipe.data.windows != "packed" or divides or model.boundary is not None or "model.boundary" in settings:
        return recipe
    if model.ngrams:
        return recipe  # tables of n-grams reach across documents, and exclude a boundary
    return dataclasses.replace(recipe, model=dataclasses.replace(model, boundary=dataset.end_of_text))


def _once_an_epoch(recipe: Recipe, dataset: Dataset, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with an evaluation of the whole validation split and a checkpoint once an epoch, and a question of that
    split as its prompt, as far as `settings` don't set them.
    """
    windows = split_windows(recipe, dataset, "train")
    assert windows is not None
    steps = windows.epoch // recipe.train.batch
    wanted: dict[str, Any] = {"evaluate.every": steps, "train.checkpoint_every": steps}
    if "evaluate.share" not in settings:
        wanted["evaluate.tokens"] = scored_targets(recipe, dataset, "valid")
    if recipe.name == NAME and "schedule.kind" not in settings:
        wanted["schedule.warmup"] = max(1, round(WARMUP_SHARE * steps))
    if not recipe.evaluate.prompts:
        wanted["evaluate.prompts"] = (_first_question(dataset),)
    return with_settings(recipe, {name: value for name, value in wanted.items() if name not in settings})


def _first_question(dataset: Dataset) -> str:
    """Return the text of the first validation conversation up to its first response."""
    end = int(dataset.document_starts("valid")[1])
    return dataset.text("valid", 0, int(dataset.responses("valid")[:end].argmax()))


def _boundary_lines(recipe: Recipe, contents: Contents) -> list[str]:
    if recipe.data.windows != "packed":
        return []
    if isinstance(recipe.model, GPT) and recipe.model.boundary is not None:
        return ["conversations in one window don't attend to each other (model.boundary)"]
    return ["conversations in one window attend to those before them; data.windows bucketed keeps them apart"]


def _power_lines(recipe: Recipe, dataset: Dataset, contents: Contents) -> list[str]:
    """Return a warning where the answers will hardly be told apart by any judge."""
    parameters = counted_parameters(recipe, dataset.vocabulary_size)
    examples = contents.splits["train"].conversations
    if parameters >= SMALL_PARAMETERS or examples >= FEW_CONVERSATIONS:
        return []
    return [
        f"! power first: a model of {count(parameters)} parameters tuned on {examples:,} conversations is likely at the floor of "
        "instruction scores, where no judge can rank it; the log-likelihood of the reference answers tells more (--data.targets "
        "response makes it the validation loss)"
    ]


def closing_parts(outcome: Outcome, tuning: Tuning) -> list[str | Table]:
    """Return what is shown after the training: the validation loss by epoch, the best epoch, and what to do next."""
    run, epoch_steps = outcome.run, max(1, tuning.contents.sequences // tuning.recipe.train.batch)
    best = int(outcome.summary["best"]["step"])
    columns = (
        Column("epoch", True),
        Column("step", True),
        Column("train loss", True),
        Column("valid loss", True),
        Column(""),
    )
    rows = epoch_rows(run.read_lines("metrics"), epoch_steps, best)
    name = run.folder
    parts: list[str | Table] = [
        "",
        Table(columns=columns, rows=tuple(rows)),
        f"kept: epoch {best / epoch_steps:.3g}, {name}@best",
    ]
    if "test" in tuning.contents.splits:
        parts.append(f"on the test split: lmlab evaluate {name}@best --split test")
    return [*parts, f"talk to it: lmlab chat {name}@best"]


def epoch_rows(lines: Sequence[Mapping[str, Any]], epoch_steps: int, best_step: int) -> list[tuple[str, ...]]:
    """Return a row for each evaluation in metrics.jsonl: epoch, step, training loss, validation loss, and which model was kept."""
    return [
        (
            f"{line['step'] / epoch_steps:.3g}",
            f"{line['step']:,}",
            f"{line['train_loss']:.4f}",
            f"{line['valid_loss']:.4f}",
            "best" if line["step"] == best_step else "",
        )
        for line in lines
        if line.get("kind") == "evaluation"
    ]
