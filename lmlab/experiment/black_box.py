"""The content of a black box: the batch of a loss spike, as text, and its effect on the model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lmlab.data.dataset import Dataset
from lmlab.hardware.memory import first_line
from lmlab.training.guard import StepVerdict
from lmlab.training.observing import Observation, observe
from lmlab.training.policy import Policy
from lmlab.training.state import State
from lmlab.training.step import TrainingStep, batch_hash

MOST_TEXTS = 64
"""Sequences whose text is recorded: those with the highest losses."""
LONGEST_TEXT = 4_000
"""Characters of each."""


def black_box(
    step: TrainingStep, policy: Policy, dataset: Dataset, state: State, verdict: StepVerdict, weights_step: int
) -> dict[str, Any]:
    """Return the value for black-boxes/, for the step that follows `state`, observed with the weights of today.

    `weights_step` is the number of steps that these have taken: the state's, if the update wasn't launched yet.
    Where the model can't be observed, such as for lack of memory, `failed` says why, and what the observation gives is left out.
    """
    batch = step.recipe.train.batch
    inputs, targets = step.batch(state.cursor)
    earlier = state.cursor - batch
    now = before = None
    failed = {}
    try:
        now = observe(step.model, policy, inputs, targets)
        before = observe(step.model, policy, *step.batch(earlier)) if earlier >= state.first_cursor else None
    except (MemoryError, RuntimeError) as error:  # diagnostics must not end the training
        failed = {"failed": f"{type(error).__name__}: {first_line(error)}"}
    losses = (math.nan,) * len(inputs) if now is None else now.sequence_losses
    return {
        "kind": verdict.kind,
        "what": verdict.sentence(),
        **verdict.values(),
        "cursor": state.cursor,
        "sequences": batch,
        "batch": batch_hash(inputs, targets),
        "learning_rate_share": step.rate(state.step),
        "loss_scale": state.scale,
        "weights_step": weights_step,
        "recent": [{"step": recent, "loss": loss, "gradient_norm": norm} for recent, loss, norm in state.guard.recent],
        "layers": [] if now is None else layers(now, before),
        "texts": texts(dataset, *step.spans(state.cursor), losses),
        **failed,
    }


def layers(now: Observation, before: Observation | None) -> list[dict[str, Any]]:
    """Return a row for each layer: its norms on this batch, and on the previous one with the same weights."""
    quantities = {
        "gradient_norm": now.gradient_norms,
        "gradient_norm_before": before.gradient_norms if before else {},
        "activation_rms": now.activation_rms,
        "activation_rms_before": before.activation_rms if before else {},
    }
    names = dict.fromkeys([*now.activation_rms, *now.gradient_norms])
    return [
        {"layer": name, **{what: values[name] for what, values in quantities.items() if name in values}}
        for name in names
    ]


def texts(dataset: Dataset, starts: np.ndarray, ends: np.ndarray, losses: tuple[float, ...]) -> list[dict[str, Any]]:
    """Return the batch's sequences as text, the highest loss first, with their documents in the training split.

    A sequence without tokens, such as the last ones of a short batch, is left out.
    """
    borders = dataset.document_starts("train")
    worst = sorted(
        np.flatnonzero(ends > starts).tolist(),
        key=lambda row: -losses[row] if math.isfinite(losses[row]) else -math.inf,
    )
    found = []
    for row in worst[:MOST_TEXTS]:
        first, last = int(starts[row]), int(ends[row]) - 1
        documents = np.searchsorted(borders, [first, last], side="right") - 1
        found.append(
            {
                "row": row,
                "loss": losses[row],
                "first_token": first,
                "documents": [int(documents[0]), int(documents[1])],
                "text": dataset.text("train", first, last - first)[:LONGEST_TEXT],
            }
        )
    return found
