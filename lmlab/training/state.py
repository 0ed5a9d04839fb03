"""What a training run knows that is no function of (seed, step): one small value, kept as state.json in each checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from lmlab import LabError
from lmlab.training.guard import GuardState, Running

FORMAT = 1
CAME_LATER = ("batches", "guard", "saves")
"""Fields that checkpoints of earlier versions lack; their defaults are what was true then."""


@dataclass
class State:
    """Everything besides weights and optimizer that the next step, or the next log line, depends on."""

    step: int = 0
    """Steps taken, skipped updates included."""
    cursor: int = 0
    """Sequences read from the endless stream that (seed, order) defines."""
    first_cursor: int = 0
    """Where in the stream this run began: above 0 where it goes on from a parent's."""
    tokens: int = 0
    """Tokens trained on."""
    loss_sum: float = 0.0
    """Nats over the tokens since the last log line; float64."""
    loss_tokens: int = 0
    """Tokens since the last log line."""
    skipped: list[list[int]] = field(default_factory=list)
    """[first, last) cursor ranges whose update was skipped."""
    skipped_in_a_row: int = 0
    """Updates skipped since the last one that was made."""
    batches: str = ""
    """SHA-256 over all batches so far: each step's hash is chained to it (`lmlab.training.step.chained`)."""
    guard: GuardState = field(default_factory=GuardState)
    """What tells a spike from what is usual."""
    scale: float | None = None
    """float16's loss scale; None without one."""
    clean_steps: int = 0
    """Steps since the loss scale last changed."""
    best_loss: float | None = None
    """The lowest validation loss so far, in nats a token."""
    best_step: int | None = None
    """The step of it."""
    worse_in_a_row: int = 0
    """Evaluations since the best one."""
    evaluated_step: int = -1
    """The step of the last evaluation, so that a resume at it makes no second one."""
    evaluations: int = 0
    """Evaluations made, columns of units-valid.npy."""
    train_seconds: float = 0.0
    """Time in training steps."""
    evaluate_seconds: float = 0.0
    """Time in evaluations and samples."""
    save_seconds: float = 0.0
    """Time that training waited for checkpoints."""
    saves: int = 0
    """Checkpoints saved before this one."""

    def to_json(self, journal: dict[str, int]) -> dict[str, Any]:
        """For state.json; `journal` holds the length in bytes of each of the run's .jsonl files at this point."""
        return {"format": FORMAT, **dataclasses.asdict(self), "journal": journal}

    def become(self, other: State) -> None:
        """Take over everything from `other`, for all who hold this one."""
        for entry in dataclasses.fields(self):
            setattr(self, entry.name, getattr(other, entry.name))


def read_state(value: dict[str, Any]) -> tuple[State, dict[str, int]]:
    """The state and the journal lengths in a checkpoint's state.json; LabError where it's none."""
    if value.get("format") != FORMAT:
        raise LabError(f"state.json has format {value.get('format')!r}: expected {FORMAT}")
    names = {entry.name for entry in dataclasses.fields(State)}
    lacking = (names | {"journal"}) - {*value, *CAME_LATER}
    if lacking:
        raise LabError(f"state.json lacks {', '.join(sorted(lacking))}")
    known = {name: value[name] for name in names if name in value}
    if "guard" in known:
        known["guard"] = _guard_state(known["guard"])
    return State(**known), dict(value["journal"])


def _guard_state(value: Any) -> GuardState:
    try:
        running = {name: Running(**value[name]) for name in ("loss", "norm")}
        return GuardState(**{**value, **running})
    except (TypeError, KeyError):
        raise LabError(f"state.json has a damaged guard: {str(value)[:80]}") from None
