"""What a run knows about its model: the text it was trained on, its losses, a prompt for an example."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.catalogue import CATALOGUE
from lmlab.data.tokenizers import Tokenizer
from lmlab.exchange.models.card import CardFacts
from lmlab.experiment.loaded import Loaded
from lmlab.runs import Run

PROMPT_CHARACTERS = 40
PROMPTS = ("Once upon a time", "The", "A", " ")


def card_facts(loaded: Loaded) -> CardFacts:
    """Return what the card of an export says of the model."""
    run = loaded.run
    summary = None if run.model_from is not None else run.summary()
    trained = summary["tokens"] if summary and summary.get("steps") == loaded.step else None
    return CardFacts(
        run=run.name,
        text=trained_on(loaded),
        trained_tokens=trained,
        figures=[
            (f"{'whole ' if values.get('whole') else ''}{title}", values)
            for title, values in recorded_figures(run, loaded.step)
        ],
        prompt=prompt_of(loaded.tokenizer, loaded.recipe.evaluate.prompts),
    )


def recorded_figures(run: Run, step: int) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the figures that the run's summary has for the model of this step."""
    with contextlib.suppress(LabError):
        summary = run.summary()
        if summary is not None:
            at = [values for values in (summary["final"], summary["best"]) if values["step"] == step]
            return [("validation split", at[0])] if at else []
    return []


def trained_on(loaded: Loaded) -> str:
    """Return what the model was trained on, with the licence where lmlab's catalogue has one."""
    run = loaded.run
    if run.model_from is not None:
        known = run.model_from.get("corpus")
        what = f"; its file names {known}" if known else ""
        return f"Unknown: it is an import of {Path(run.model_from['path']).name} ({run.model_from['kind']}){what}."
    parent = run.origin().get("parent")
    before = f" It continues {parent['name']}@{parent['step']}, whose text came before." if parent else ""
    corpus = loaded.recipe.data.corpus
    if corpus in CATALOGUE:
        entry = CATALOGUE[corpus]
        return f"{entry.name}: {entry.about}. Licence: {entry.licence} ({entry.home}).{before}"
    return f"{Path(corpus).name}, a text of its owner's, whose licence the run doesn't know.{before}"


def prompt_of(tokenizer: Tokenizer, prompts: tuple[str, ...]) -> str:
    """Return a prompt for an example, of symbols that the tokenizer knows."""
    for one in (*prompts, *PROMPTS):
        if one.strip() and not tokenizer.unknown_symbols(one):
            return one.strip()[:PROMPT_CHARACTERS]
    return ""
