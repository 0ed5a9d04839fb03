"""How large a validation set may be for a share of the training's time, and how precise a loss on it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lmlab.scaling.arithmetic import evaluation_share, sampling_error


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The cost of evaluations during a training, and their precision."""

    share: float
    """Share of the training's time that evaluations may take."""
    evaluations: int
    taken_share: float
    """The share that evaluations take with the recipe's settings."""
    affordable_tokens: int
    """How many tokens may be scored at each evaluation."""
    split_tokens: int
    scored_tokens: int
    """At each evaluation, with the recipe's settings."""
    standard_error: float | None
    """Standard error of the loss of one evaluation, in nats a token."""
    final_standard_error: float | None
    """Standard error of the loss over the whole split."""

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return asdict(self)


def validation_of(
    share: float,
    evaluations: int,
    train_seconds: float,
    forward_tokens_per_second: float,
    split_tokens: int,
    scored_tokens: int,
    loss: float | None,
) -> Validation:
    """Return how much each of `evaluations` may score within `share` of `train_seconds`; with errors where a `loss` is expected."""
    affordable = int(share * train_seconds * forward_tokens_per_second / max(1, evaluations))
    return Validation(
        share=share,
        evaluations=evaluations,
        taken_share=evaluation_share(evaluations, scored_tokens, forward_tokens_per_second, train_seconds),
        affordable_tokens=affordable,
        split_tokens=split_tokens,
        scored_tokens=scored_tokens,
        standard_error=None if loss is None else sampling_error(loss, scored_tokens),
        final_standard_error=None if loss is None else sampling_error(loss, split_tokens),
    )
