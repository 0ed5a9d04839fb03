"""How large a validation set may be for a share of the training's time, and how precise a loss on it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lmlab.scaling.arithmetic import evaluation_share, sampling_error


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What evaluations during a training cost, and what they tell."""

    share: float
    """Of the training's time that evaluations may take."""
    evaluations: int
    taken_share: float
    """What evaluations take as the recipe has them."""
    affordable_tokens: int
    """So many may be scored at each evaluation."""
    split_tokens: int
    scored_tokens: int
    """At each evaluation, as the recipe has it."""
    standard_error: float | None
    """Of the loss of one evaluation, in nats a token."""
    final_standard_error: float | None
    """Of the loss over the whole split."""

    def to_json(self) -> dict[str, Any]:
        """For --json."""
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
    """How much each of `evaluations` may score within `share` of `train_seconds`; errors where a `loss` is expected."""
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
