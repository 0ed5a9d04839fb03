"""How large a validation set may be for a share of the training's time, and how precise a loss on it is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from lmlab.scaling.arithmetic import evaluation_share

DEVIATION_SHARE = 1.0
"""The standard deviation of a token's loss over its mean: 1.0 in characters, .9 to 1.1 in words' pieces. Tokens of one document
belong together, so that the error of a split's loss is larger than these alone would make it."""
TOGETHER = 1.6
"""How much larger, for documents of some hundred tokens."""


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
        standard_error=None if loss is None else standard_error(loss, scored_tokens),
        final_standard_error=None if loss is None else standard_error(loss, split_tokens),
    )


def standard_error(loss: float, tokens: int) -> float:
    """About how far a loss on `tokens` lies from that on endless text, in nats a token."""
    return TOGETHER * DEVIATION_SHARE * loss / math.sqrt(max(1, tokens))
