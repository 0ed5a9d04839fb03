"""Score a model on a split of its own data, or on any other text encoded with its tokenizer.

The model is a run's, or a local one of transformers (hf:PATH).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.windows import Windows, split_windows
from lmlab.evaluation.losses import Scoring, evaluate_split
from lmlab.evaluation.result import Evaluation
from lmlab.experiment.arithmetic import PLAIN, Arithmetic, arithmetic_of, policy_of
from lmlab.experiment.duplicated import without_duplicates
from lmlab.experiment.finish import figures
from lmlab.experiment.loaded import Loaded, load
from lmlab.experiment.models_of_others import Foreign, is_foreign, load_foreign
from lmlab.experiment.scored_text import Reader, ScoredPart, part_to_score, seen_figures, seen_line
from lmlab.recipe import Data, Recipe
from lmlab.runs import Run


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A model's scores on a text, by unit."""

    name: str
    """The run's, or hf:PATH."""
    step: int | None
    """The checkpoint's; None for a model that isn't a run."""
    run: Run | None
    tokenizer: Tokenizer
    context: int
    part: ScoredPart
    evaluation: Evaluation
    precision: str
    """The precision of its matrix products."""
    parameters: int
    device: torch.device
    warnings: tuple[str, ...]

    def seen_line(self) -> str:
        """Return a line on how much of the text the model was trained on; empty where there is nothing to report."""
        if self.run is None or self.run.model_from is not None:
            kind = "a model of others" if self.run is None else "an imported model"
            return f"whether {self.name} was trained on it is unknown: it is {kind}"
        return seen_line(self.name, self.part, seen_figures(self.part, self.evaluation))

    def precision_warnings(self) -> list[str]:
        """Return a line where the run's own scores were computed in another precision."""
        policy = None if self.run is None else policy_of(self.run)
        if policy is None or policy.precision == self.precision:
            return []
        here = f"scored in {self.precision} on {self.device.type}"
        return [f"{here}; the run's own scores were in {policy.precision} on {policy.device} and may differ slightly"]


def evaluate(
    reference: str,
    *,
    on: str | None = None,
    split: str | None = None,
    reading: Mapping[str, Any] | None = None,
    stride: int | None = None,
    alone: bool = False,
    runs: str | Path = "runs",
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return loss, perplexity, accuracy, bits per byte and their counts, and the loss without the units that are duplicates of
    training text; LabError where the text doesn't fit the model. The arguments are those of `score`."""
    scored = score(
        reference,
        on=on,
        split=split,
        reading=reading,
        stride=stride,
        alone=alone,
        runs=runs,
        device=device,
        progress=progress,
    )
    part, scores = scored.part, scored.evaluation
    trained_on = None if scored.run is None else scored.run.origin().get("data_id")
    return {
        "run": scored.name,
        "step": scored.step,
        "data_id": part.dataset.id,
        "on": on,
        "split": part.split,
        "scored": part.title() + _windows_words(scored.context, stride, alone),
        "stride": stride,
        "documents_alone": alone,
        **figures(scores),
        "units": len(scores.bits_per_unit),
        **without_duplicates(scores, part.dataset.plain, trained_on, progress),
        "precision": scored.precision,
        "trained_on": seen_figures(part, scores),
        "trained_on_note": scored.seen_line(),
        "warnings": [*scored.warnings, *scored.precision_warnings()],
    }


def score(
    reference: str | Run,
    *,
    on: str | None = None,
    split: str | None = None,
    reading: Mapping[str, Any] | None = None,
    stride: int | None = None,
    alone: bool = False,
    runs: str | Path = "runs",
    device: str = "auto",
    progress: Progress | None = None,
) -> Scored:
    """Score a model; `on`, `split` and `reading` (settings by dotted name) are as in `part_to_score`.

    `stride` and `alone` set the windows: see `lmlab.evaluation.losses.Scoring`. A run's model is computed in the run's precision on
    the kind of device that it was trained on, and in float32 elsewhere. LabError if the windows or the text don't fit the model.
    """
    found: _Model
    if isinstance(reference, str) and is_foreign(reference):
        found = _of_foreign(load_foreign(reference, device))
    else:
        found = _of_run(load(reference, runs, device))
    _require_windows(found, stride, alone)
    part = part_to_score(found.reader, on, split, reading or {}, progress)
    loaded, arithmetic = found.loaded, found.arithmetic
    scoring = Scoring(
        model=found.model,
        text=part.dataset,
        context=found.context,
        device=found.device,
        autocast=arithmetic.autocast,
        engine=arithmetic.engine,
        documents=lambda split: None if loaded is None else _windows_of(loaded.recipe, part, split),
        stride=stride,
        alone=alone,
    )
    with arithmetic.products():
        scores = evaluate_split(scoring, part.split)
    return Scored(
        name=found.reader.name,
        step=None if loaded is None else loaded.step,
        run=None if loaded is None else loaded.run,
        tokenizer=found.reader.tokenizer,
        context=found.context,
        part=part,
        evaluation=scores,
        precision=arithmetic.precision,
        parameters=sum(parameter.numel() for parameter in found.model.parameters()),
        device=found.device,
        warnings=found.warnings,
    )


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A model to score: a run's or another."""

    reader: Reader
    model: torch.nn.Module
    context: int
    device: torch.device
    arithmetic: Arithmetic
    warnings: tuple[str, ...]
    loaded: Loaded | None


def _of_run(loaded: Loaded) -> _Model:
    recipe = loaded.recipe
    reader = Reader(name=loaded.run.name, data=recipe.data, tokenizer=loaded.tokenizer, dataset=loaded.dataset)
    context = recipe.model.context
    return _Model(
        reader=reader,
        model=loaded.model,
        context=context,
        device=loaded.device,
        arithmetic=arithmetic_of(loaded),
        warnings=loaded.warnings,
        loaded=loaded,
    )


def _of_foreign(foreign: Foreign) -> _Model:
    reader = Reader(name=foreign.name, data=Data(), tokenizer=foreign.tokenizer, dataset=foreign.dataset)
    model = foreign.model
    return _Model(
        reader=reader,
        model=model,
        context=model.context,
        device=foreign.device,
        arithmetic=PLAIN,
        warnings=foreign.warnings,
        loaded=None,
    )


def _windows_of(recipe: Recipe, part: ScoredPart, split: str) -> Windows | None:
    """Return the windows of documents in which a model of `recipe` is scored; None for one stream."""
    return split_windows(dataclasses.replace(recipe, data=part.data), part.dataset, split)


def _require_windows(found: _Model, stride: int | None, alone: bool) -> None:
    name, context = found.reader.name, found.context
    if stride is not None and not 1 <= stride <= context:
        raise LabError(f"a stride of {stride} doesn't fit {name}: expected 1 to its context of {context} tokens")
    if (stride is not None or alone) and found.reader.data.windows != "stream":
        raise LabError(
            f"{name} was trained on windows of documents and is scored in the same: leave out --stride and --documents"
        )


def _windows_words(context: int, stride: int | None, alone: bool) -> str:
    """Describe windows that aren't the usual ones."""
    slid = "" if stride is None else f", windows of {context} tokens at a stride of {stride}"
    return (", each document by itself" if alone else "") + slid
