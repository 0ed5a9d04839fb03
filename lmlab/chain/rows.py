"""The models of a chain: a base, or a tuning of it, with the figures of its run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.experiment.at_checkpoint import record_at
from lmlab.experiment.judging import checkpoint_in
from lmlab.runs import Run, open_run


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One model."""

    name: str
    """RUN@STEP, as answers name it."""
    base: str
    tuning: str | None
    """None: the base itself."""
    id: str
    """The run's."""
    step: int
    base_loss: float | None
    """Bits per byte of the base on its own validation split; nats a token where its tokenizer loses text; None where unknown."""
    valid_loss: float | None
    """Nats a target of the run's own validation split; None where unknown."""
    epochs: float | None
    """Passes over the conversations until the kept model; None for a base."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(vars(self))


def base_row(name: str, reference: str, runs: Path) -> ModelRow:
    """Return the row of a base that RUN or RUN@STEP names; its loss is scored now where the run doesn't have it."""
    run, which = open_run(reference, runs)
    step = checkpoint_in(run, which or "best")[0].step
    return base_figures(name, run, step)


def tuned_row(base: ModelRow, tuning: str, name: str, runs: Path) -> ModelRow:
    """Return the row of a finished tuning at its best checkpoint."""
    run, _ = open_run(name, runs)
    return tuned_figures(base, tuning, run, checkpoint_in(run, "best")[0].step)


def base_figures(name: str, run: Run, step: int) -> ModelRow:
    """Return the row of a run as a base, at a step."""
    imported = run.model_from is not None
    record = None if imported else record_at(run, str(step))
    bits = None if record is None else record.bits_per_byte
    loss = None if record is None else record.loss
    return ModelRow(
        name=f"{run.name}@{step}",
        base=name,
        tuning=None,
        id=run.id,
        step=step,
        base_loss=loss if bits is None else bits,
        valid_loss=loss,
        epochs=None,
    )


def tuned_figures(base: ModelRow, tuning: str, run: Run, step: int) -> ModelRow:
    """Return the row of a tuning at a step that was evaluated."""
    lines = [line for line in run.read_lines("metrics") if line.get("kind") == "evaluation" and line["step"] == step]
    return ModelRow(
        name=f"{run.name}@{step}",
        base=base.base,
        tuning=tuning,
        id=run.id,
        step=step,
        base_loss=base.base_loss,
        valid_loss=lines[-1]["valid_loss"] if lines else None,
        epochs=_epochs(run, step),
    )


def _epochs(run: Run, step: int) -> float | None:
    every = run.recipe().evaluate.every
    return None if not every else step / every
