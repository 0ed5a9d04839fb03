"""The state of a training run that isn't a function of (seed, step), stored as state.json in each checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lmlab import LabError
from lmlab.scaling.noise import GradientNoise
from lmlab.training.guard import GuardState, Running

FORMAT = 1
LATER_FIELDS = {
    "batches": "",
    "guard": dataclasses.asdict(GuardState()),
    "noise": dataclasses.asdict(GradientNoise()),
    "saves": 0,
    "wall_seconds": 0.0,
}
"""Fields that checkpoints of earlier versions lack, with the values to assume for them."""
SHA256_DIGITS = 64
MOST_EVALUATIONS = 999_999
"""Maximum number of columns of units-valid.npy."""


@dataclass
class State:
    """Everything besides weights and optimizer that the next step, or the next log line, depends on."""

    step: int = 0
    """Steps taken, skipped updates included."""
    cursor: int = 0
    """Sequences read from the infinite stream that (seed, order) defines."""
    first_cursor: int = 0
    """The cursor at which this run began: above 0 if it continues a parent run's stream."""
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
    """Statistics of the spike detection."""
    noise: GradientNoise = field(default_factory=GradientNoise)
    """Estimate of the gradient noise from batches of several micro-batches."""
    scale: float | None = None
    """float16's loss scale; None without one."""
    clean_steps: int = 0
    """Steps since the loss scale last changed."""
    best_loss: float | None = None
    """The lowest validation loss so far, in nats a token."""
    best_step: int | None = None
    """The step of `best_loss`."""
    patience_loss: float | None = None
    """The last validation loss that reset patience: each is more than train.minimum_gain below the previous one."""
    worse_in_a_row: int = 0
    """Evaluations since `patience_loss`."""
    evaluated_step: int = -1
    """The step of the last evaluation, so that a resume at it doesn't repeat it."""
    evaluations: int = 0
    """Number of evaluations, which is the number of columns of units-valid.npy."""
    train_seconds: float = 0.0
    """Seconds in training steps."""
    evaluate_seconds: float = 0.0
    """Seconds in evaluations and samples."""
    save_seconds: float = 0.0
    """Seconds that training waited for checkpoints."""
    wall_seconds: float = 0.0
    """Wall time up to this save, summed over the run's processes, each from its start (`training.wall`)."""
    saves: int = 0
    """Number of checkpoints saved before this one."""

    def to_json(self, journal: dict[str, int]) -> dict[str, Any]:
        """Return the value for state.json; `journal` holds the length in bytes of each of the run's .jsonl files at this point."""
        return {"format": FORMAT, **dataclasses.asdict(self), "journal": journal}

    def become(self, other: State) -> None:
        """Copy all fields from `other`, in place, so that all references to this object see them."""
        for entry in dataclasses.fields(self):
            setattr(self, entry.name, getattr(other, entry.name))


def read_state(value: dict[str, Any]) -> tuple[State, dict[str, int]]:
    """Return the state and the journal lengths in a checkpoint's state.json. LabError if it is invalid."""
    if value.get("format") != FORMAT:
        raise LabError(f"state.json has format {str(value.get('format'))[:20]}: expected {FORMAT}")
    names = {entry.name for entry in dataclasses.fields(State)}
    # In versions without a minimum gain, the best evaluation was the last that reset patience.
    value = {**LATER_FIELDS, "patience_loss": value.get("best_loss"), **value}
    lacking = (names | {"journal"}) - set(value)
    if lacking:
        raise LabError(f"state.json is damaged: it lacks {', '.join(sorted(lacking))}")
    journal = value["journal"]
    wrong = [name for name, fits in FITS.items() if not fits(value[name])]
    if not isinstance(journal, dict) or not all(_count(length) for length in journal.values()):
        wrong.append("journal")
    if wrong:
        raise LabError(f"state.json is damaged: {wrong[0]} can't be {str(value[wrong[0]])[:40]!r}")
    if value["evaluations"] > min(value["step"] + 1, MOST_EVALUATIONS):
        raise LabError(f"state.json is damaged: {value['evaluations']:,} evaluations in {value['step']:,} steps")
    known = {name: value[name] for name in names}
    parts = {"guard": _guard_state(known["guard"]), "noise": GradientNoise(**known["noise"])}
    return State(**{**known, **parts}), dict(journal)


def _guard_state(value: dict[str, Any]) -> GuardState:
    return GuardState(**{**value, **{name: Running(**value[name]) for name in ("loss", "norm")}})


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ranges(value: Any) -> bool:
    """Return whether `value` is a list of [first, last) ranges of cursors."""
    return isinstance(value, list) and all(
        isinstance(entry, list) and len(entry) == 2 and all(_count(end) for end in entry) for entry in value
    )


def _guard(value: Any) -> bool:
    """Return whether `value` is a valid `GuardState` as JSON."""
    if not isinstance(value, dict) or set(value) != {entry.name for entry in dataclasses.fields(GuardState)}:
        return False
    counts = all(_count(value[name]) for name in ("rewinds", "boxes"))
    return counts and all(_running(value[name]) for name in ("loss", "norm")) and _recent(value["recent"])


def _running(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {entry.name for entry in dataclasses.fields(Running)}:
        return False
    return _number(value["mean"]) and _number(value["variance"]) and value["variance"] >= 0 and _count(value["count"])


def _noise(value: Any) -> bool:
    """Return whether `value` is a valid `GradientNoise` as JSON."""
    if not isinstance(value, dict) or set(value) != {entry.name for entry in dataclasses.fields(GradientNoise)}:
        return False
    return _number(value["square"]) and _number(value["trace"]) and _count(value["steps"])


def _recent(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, list) and len(entry) == 3 and all(part is None or _number(part) for part in entry)
        for entry in value
    )


FITS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("step", "cursor", "first_cursor", "tokens", "loss_tokens", "skipped_in_a_row"), _count),
    **dict.fromkeys(("clean_steps", "worse_in_a_row", "evaluations"), _count),
    **dict.fromkeys(("loss_sum", "train_seconds", "evaluate_seconds", "save_seconds", "wall_seconds"), _number),
    **dict.fromkeys(("best_loss", "patience_loss"), lambda value: value is None or _number(value)),
    "scale": lambda value: value is None or (_number(value) and value > 0),
    "best_step": lambda value: value is None or _count(value),
    "evaluated_step": lambda value: value == -1 or _count(value),
    "skipped": _ranges,
    "saves": _count,
    "batches": lambda value: isinstance(value, str) and len(value) in (0, SHA256_DIGITS),
    "guard": _guard,
    "noise": _noise,
}
"""Field of a state -> check of a value read from a file."""
