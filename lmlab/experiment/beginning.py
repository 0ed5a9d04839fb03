"""The files and the session of a run at its first step: new, branched, or restarted after it was killed before its first
checkpoint."""

from __future__ import annotations

from typing import Literal

import numpy as np

from lmlab.data.dataset import Dataset
from lmlab.data.windows import split_windows
from lmlab.experiment.circumstances import circumstances
from lmlab.experiment.outline import Outline
from lmlab.experiment.parent import Parent
from lmlab.experiment.session import Session, open_session
from lmlab.files import DISK, Storage
from lmlab.planning.forecasts.forecast import Forecast
from lmlab.recipe import Recipe
from lmlab.recipe.template import FILE as TEMPLATE
from lmlab.recipe.template import template_named
from lmlab.runs import Journal, Run
from lmlab.training.display import Display
from lmlab.training.state import read_state
from lmlab.training.wall import WallClock


def start_units(run: Run, recipe: Recipe, dataset: Dataset, storage: Storage = DISK) -> None:
    """Start the run's units file with the units of the validation split."""
    units, tokens = dataset.units("valid"), len(dataset.tokens("valid"))
    windows = split_windows(recipe, dataset, "valid")
    scored = None if windows is None else windows.targets_in(units["start"], np.append(units["start"][1:], tokens))
    run.start_units(units, tokens, scored, storage)


def begin(
    made: Run,
    outline: Outline,
    forecast: Forecast,
    display: Display,
    storage: Storage,
    clock: WallClock,
    kind: Literal["start", "resume"] = "start",
) -> Session:
    """Write a new run's files, and open its session at its first step. Idempotent."""
    dataset = outline.dataset
    made.write("policy.json", outline.policy.to_json(), storage)
    made.write("forecast.json", forecast.to_json(), storage)
    made.write("tokenizer.json", dataset.tokenizer.to_json(), storage)
    if outline.recipe.data.conversations:
        made.write(TEMPLATE, template_named(outline.recipe.data.template).to_json(), storage)
    start_units(made, outline.recipe, dataset, storage)
    segment = made.begin_segment(kind, outline.first, True, storage, **circumstances(outline.policy))
    journal = Journal(made.folder, run_id=made.id, segment=segment, storage=storage)
    journal.rewind({})
    session = open_session(outline, made, journal, display, storage=storage, clock=clock)
    if outline.parent is not None:
        _inherit(session, outline.parent, outline.first)
    return session


def _inherit(session: Session, parent: Parent, first: int) -> None:
    """Load the parent's weights, its optimizer where the kinds agree, and its position in the stream where that is the same."""
    recipe = session.recipe
    warm = recipe.train.inherit == "all" and recipe.optim.kind == parent.recipe.optim.kind
    if warm and "optimizer" in parent.checkpoint.parts:
        session.training.restore(parent.checkpoint)
    else:
        session.training.restore_weights(parent.checkpoint)
    state, _ = read_state(parent.checkpoint.state)
    if first:
        session.state.step, session.state.tokens = state.step, state.tokens
        session.state.cursor = session.state.first_cursor = state.cursor
