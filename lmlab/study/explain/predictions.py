"""Predictions about a training, compared with that training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.experiment.ranges import Range
from lmlab.experiment.record import Record
from lmlab.recipe import Recipe, check, with_settings
from lmlab.study.explain.case import METRICS, TOLERANCE, Prediction
from lmlab.study.explain.continuing import Continuations
from lmlab.study.grid.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Tested:
    """One prediction, and the measured loss."""

    prediction: Prediction
    run: str
    run_id: str
    measured: float

    @property
    def off(self) -> float:
        """The measured minus the predicted loss; for a range minus its nearest limit, 0 within."""
        return off_by(self.prediction.value, self.measured)

    @property
    def holds(self) -> bool:
        """Whether the prediction holds."""
        return holds(self.prediction.value, self.measured)

    def line(self) -> str:
        """Return the result as a line of text."""
        said = self.prediction
        what = f"{METRICS[said.metric]} {_shown(said.value)} predicted, {self.measured:.4f} measured ({self.run})"
        return f"{said.says}: {what}: {'held' if self.holds else f'off by {self.off:+.3f}'}"

    def cells(self) -> list[str]:
        """Return a table row: prediction, which loss, predicted, measured, off, held."""
        said = self.prediction
        predicted, held = _shown(said.value), "yes" if self.holds else "no"
        return [said.says, METRICS[said.metric], predicted, f"{self.measured:.4f}", f"{self.off:+.4f}", held]

    def to_json(self) -> dict[str, Any]:
        """Return the value for explain.json."""
        said = self.prediction
        return {
            "says": said.says,
            "metric": said.metric,
            "foretold": dataclasses.asdict(said.value) if isinstance(said.value, Range) else said.value,
            "measured": self.measured,
            "holds": self.holds,
            "run": self.run,
            "id": self.run_id,
        }


def tested(
    predictions: tuple[Prediction, ...], first: Recipe, name: str, going_on: Continuations | None, trainer: Trainer
) -> tuple[Tested, ...]:
    """Train the predictions' recipes, once for equal settings, as runs called NAME-predicted-N; Interrupted where a signal stopped
    one."""
    made: dict[str, Record] = {}
    found = []
    for said in predictions:
        if said.continued:
            assert going_on is not None
            record = going_on.runs[-1].record
        else:
            key = _key(said.settings)
            if key not in made:
                made[key] = trainer.train(_recipe(said, first, f"{name}-predicted-{len(made) + 1}"))
            record = made[key]
        found.append(Tested(prediction=said, run=record.name, run_id=record.id, measured=loss_in(record, said.metric)))
    return tuple(found)


def off_by(predicted: float | Range, measured: float) -> float:
    """Return the measured minus the predicted loss; for a range minus its nearest limit, 0 within."""
    return predicted.off(measured) if isinstance(predicted, Range) else measured - predicted


def holds(predicted: float | Range, measured: float) -> bool:
    """Return whether a prediction holds: within its range, or within TOLERANCE of a single value."""
    return abs(off_by(predicted, measured)) <= (0.0 if isinstance(predicted, Range) else TOLERANCE)


def predicted_from(value: Any) -> float | Range:
    """Read a prediction that `to_json` wrote: a number, or the limits of a range."""
    return float(value) if isinstance(value, (int, float)) else Range(low=value["low"], high=value["high"])


def loss_in(record: Record, metric: str) -> float:
    """Return the run's last loss of that kind; LabError where it has none."""
    train = record.evaluations[-1].train_loss if record.evaluations else None
    loss = record.loss if metric == "valid_loss" else train
    if loss is None:
        raise LabError(f"{record.name} has no {METRICS[metric]} loss")
    return loss


def _shown(predicted: float | Range) -> str:
    return predicted.words("{:g}".format) if isinstance(predicted, Range) else f"{predicted:g}"


def _key(settings: Mapping[str, Any]) -> str:
    return repr(sorted(settings.items()))


def _recipe(said: Prediction, first: Recipe, name: str) -> Recipe:
    recipe = dataclasses.replace(with_settings(first, said.settings), name=name, about="", claims=())
    evaluate = dataclasses.replace(recipe.evaluate, every=max(1, recipe.train.steps // 4), prompts=())
    return check(dataclasses.replace(recipe, evaluate=evaluate))
