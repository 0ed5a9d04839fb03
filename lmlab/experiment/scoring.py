"""Score a run's model on a whole split: of its own data, or of any other text read with the run's tokenizer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data import Dataset, prepare
from lmlab.data.progress import Progress
from lmlab.data.windows import split_windows
from lmlab.evaluation import Evaluation, evaluate_split
from lmlab.experiment.duplicated import without_duplicates
from lmlab.experiment.finish import figures
from lmlab.experiment.loaded import Loaded, load
from lmlab.model.native import native_engine
from lmlab.runs import Run


def evaluate(
    reference: str,
    *,
    on: str | None = None,
    split: str = "valid",
    runs: str | Path = "runs",
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Loss, perplexity, accuracy, bits per byte and what they were counted over, and the loss without the units that are
    duplicates of training text; LabError where the text doesn't fit the model."""
    loaded, dataset, scores = score(reference, on=on, split=split, runs=runs, device=device, progress=progress)
    return {
        "run": loaded.run.name,
        "step": loaded.step,
        "data_id": dataset.id,
        "split": split,
        **figures(scores),
        "units": len(scores.bits_per_unit),
        **without_duplicates(scores, dataset, loaded.run.origin()["data_id"], progress),
        "warnings": list(loaded.warnings),
    }


def score(
    reference: str | Run,
    *,
    on: str | None = None,
    split: str = "valid",
    runs: str | Path = "runs",
    device: str = "auto",
    progress: Progress | None = None,
) -> tuple[Loaded, Dataset, Evaluation]:
    """The model, the text and its scores, unit by unit; LabError where the text doesn't fit the model."""
    loaded = load(reference, runs, device)
    dataset = loaded.dataset() if on is None else _other_text(loaded, on, progress)
    if dataset.vocabulary_size != loaded.tokenizer.vocabulary_size:
        raise LabError(
            f"data {dataset.id} has a vocabulary of {dataset.vocabulary_size:,} tokens, the model of {loaded.run.name} one of "
            f"{loaded.tokenizer.vocabulary_size:,}: give the text itself with --on"
        )
    if split not in dataset.splits:
        raise LabError(f"data {dataset.id} has no split '{split}': expected one of {', '.join(dataset.splits)}")
    scores = evaluate_split(
        loaded.model,
        dataset,
        split,
        loaded.recipe.model.context,
        device=loaded.device,
        engine=native_engine(loaded.model),
        documents=split_windows(loaded.recipe, dataset, split),
    )
    return loaded, dataset, scores


def _other_text(loaded: Loaded, corpus: str, progress: Progress | None) -> Dataset:
    """`corpus` prepared with the run's own tokenizer, so that its ids mean to the model what they meant in training."""
    data = dataclasses.replace(loaded.recipe.data, corpus=corpus, split="auto", tokens=None)
    return prepare(data, progress=progress, tokenizer=loaded.tokenizer)
