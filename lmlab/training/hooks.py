"""What the training loop calls, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lmlab.training.guard import StepVerdict
from lmlab.training.pace import Correction
from lmlab.training.state import State

EndingName = Literal["finished", "patience", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The results of one evaluation during training."""

    valid_loss: float
    """Nats a token."""
    metrics: dict[str, Any]
    """The fields of the evaluation's line in metrics.jsonl."""
    samples: tuple[dict[str, Any], ...]
    """The fields of the lines in samples.jsonl."""
    line: str
    """The metrics as text for the display."""


class RecordLine(Protocol):
    """Appends a line to one of the run's .jsonl files."""

    def __call__(self, file: str, kind: str, step: int, tokens: int, values: dict[str, Any]) -> None:
        """`file` is metrics, samples or events; `kind` is the line's kind, `values` its further fields."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Callbacks of the loop for everything outside of this package: files, evaluation and forecasts."""

    record: RecordLine
    evaluate: Callable[[State], Scores]
    """Evaluates the model. Raises Interrupted if a stop is requested meanwhile."""
    save: Callable[[State, bool], None]
    """Saves a checkpoint, possibly in the background; the flag is True if it's the best so far."""
    check_save: Callable[[bool], None]
    """Raises the error of a background save that has finished; with True, waits until it has finished first."""
    black_box: Callable[[State, StepVerdict, int], str]
    """Writes the black box of the step that follows the state; returns the file's name in the run's folder. The number is how many
    steps the weights have taken: those of the state, or more if its update was launched already."""
    corrected: Callable[[Correction], None]
    """Receives the forecast of the run's time that is corrected by its own first steps."""
    wall_seconds: Callable[[], float]
    """Returns the run's wall time so far, from the start of its process."""
    rewind: Callable[[State], State]
    """Restores model, optimizer and journals from a checkpoint before that state; returns the checkpoint's state."""


class StopCheck(Protocol):
    """Tells the loop whether to stop, and why."""

    @property
    def reason(self) -> str | None:
        """Why to stop; None while no stop is requested."""

    @property
    def since(self) -> float | None:
        """When the stop was requested, in `time.monotonic()`."""

    def stopping(self) -> bool:
        """Return whether to stop; called at every boundary."""

    def stopping_now(self) -> bool:
        """Return whether to stop; called between the batches of an evaluation."""

    def save_requested(self) -> bool:
        """Return whether a checkpoint was requested since the last call."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a training ended."""

    kind: EndingName
    reason: str
    seconds: float | None = None
    """Seconds from the request to stop until everything was saved; None if no stop was requested."""
