"""Score a run's model on a split of its own data, or on any other text encoded with the run's tokenizer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.data.windows import split_windows
from lmlab.evaluation.losses import Scoring, evaluate_split
from lmlab.evaluation.result import Evaluation
from lmlab.experiment.duplicated import without_duplicates
from lmlab.experiment.finish import figures
from lmlab.experiment.loaded import Loaded, load
from lmlab.experiment.scored_text import ScoredPart, part_to_score, seen_figures, seen_line
from lmlab.model.native import native_engine
from lmlab.native.engine import Engine
from lmlab.runs import Run
from lmlab.training.policy import Policy, read_policy


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A model's scores on a text, by unit."""

    loaded: Loaded
    part: ScoredPart
    evaluation: Evaluation
    precision: str
    """The precision of its matrix products."""

    def seen_line(self) -> str:
        """Return a line on how much of the text the run was trained on; empty where there is nothing to report."""
        return seen_line(self.loaded.run.name, self.part, seen_figures(self.part, self.evaluation))

    def precision_warnings(self) -> list[str]:
        """Return a line where the run's own scores were computed in another precision."""
        policy = _policy(self.loaded.run)
        if policy is None or policy.precision == self.precision:
            return []
        here = f"scored in {self.precision} on {self.loaded.device.type}"
        return [f"{here}; the run's own scores were in {policy.precision} on {policy.device} and may differ slightly"]


def evaluate(
    reference: str,
    *,
    on: str | None = None,
    split: str | None = None,
    reading: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return loss, perplexity, accuracy, bits per byte and their counts, and the loss without the units that are duplicates of
    training text; LabError where the text doesn't fit the model. The arguments are those of `score`."""
    scored = score(reference, on=on, split=split, reading=reading, runs=runs, device=device, progress=progress)
    loaded, part, scores = scored.loaded, scored.part, scored.evaluation
    return {
        "run": loaded.run.name,
        "step": loaded.step,
        "data_id": part.dataset.id,
        "on": on,
        "split": part.split,
        "scored": part.title(),
        **figures(scores),
        "units": len(scores.bits_per_unit),
        **without_duplicates(scores, part.dataset.plain, loaded.run.origin()["data_id"], progress),
        "precision": scored.precision,
        "trained_on": seen_figures(part, scores),
        "trained_on_note": scored.seen_line(),
        "warnings": [*loaded.warnings, *scored.precision_warnings()],
    }


def score(
    reference: str | Run,
    *,
    on: str | None = None,
    split: str | None = None,
    reading: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    device: str = "auto",
    progress: Progress | None = None,
) -> Scored:
    """Score a run's model; `on`, `split` and `reading` (settings by dotted name) are as in `part_to_score`.

    It is computed in the run's precision on the kind of device that it was trained on, and in float32 elsewhere.
    """
    loaded = load(reference, runs, device)
    arithmetic = arithmetic_of(loaded)
    part = part_to_score(loaded, on, split, reading or {}, progress)
    scoring = Scoring(
        model=loaded.model,
        text=part.dataset,
        context=loaded.recipe.model.context,
        device=loaded.device,
        autocast=arithmetic.autocast,
        engine=arithmetic.engine,
        documents=lambda split: split_windows(loaded.recipe, part.dataset, split),
    )
    with arithmetic.products():
        scores = evaluate_split(scoring, part.split)
    return Scored(loaded=loaded, part=part, evaluation=scores, precision=arithmetic.precision)


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How a model is scored: the run's precision on the kind of device that it was trained on, float32 elsewhere."""

    precision: str
    autocast: torch.dtype | None
    tf32: bool
    engine: Engine | None
    """The native engine of the model; None: PyTorch computes."""

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Context in which float32 products may round their inputs, if the precision allows it."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


def arithmetic_of(loaded: Loaded) -> Arithmetic:
    """Return how a loaded model is scored."""
    policy = _policy(loaded.run)
    if policy is not None and policy.torch_device.type != loaded.device.type:
        policy = None
    autocast = None if policy is None else policy.autocast_dtype
    return Arithmetic(
        precision="fp32" if policy is None else policy.precision,
        autocast=autocast,
        tf32=policy is not None and policy.tf32,
        engine=native_engine(loaded.model) if autocast is None else None,
    )


def _policy(run: Run) -> Policy | None:
    """Return the policy of a run; None where it has none, as an imported one."""
    with contextlib.suppress(LabError):
        return read_policy(run.read("policy.json"))
    return None
