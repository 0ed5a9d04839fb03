"""What somebody foretold of a training, held against that training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.experiment.record import Record
from lmlab.recipe import Recipe, check, with_settings
from lmlab.study.case import METRICS, TOLERANCE, Prediction
from lmlab.study.continuing import Continuations
from lmlab.study.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Tested:
    """One prediction, and what came."""

    prediction: Prediction
    run: str
    run_id: str
    measured: float

    @property
    def off(self) -> float:
        """What came minus what was foretold."""
        return self.measured - self.prediction.value

    @property
    def holds(self) -> bool:
        """Whether it's as near as a loss of two digits can be meant."""
        return abs(self.off) <= TOLERANCE

    def line(self) -> str:
        """In words."""
        said = self.prediction
        what = f"{METRICS[said.metric]} {said.value:g} predicted, {self.measured:.4f} measured ({self.run})"
        return f"{said.says}: {what}: {'held' if self.holds else f'off by {self.off:+.3f}'}"

    def cells(self) -> list[str]:
        """A row: what, foretold, measured, off, held."""
        said = self.prediction
        return [said.says, f"{said.value:g}", f"{self.measured:.4f}", f"{self.off:+.4f}", "yes" if self.holds else "no"]

    def to_json(self) -> dict[str, Any]:
        """For explain.json."""
        said = self.prediction
        return {
            "says": said.says,
            "metric": said.metric,
            "foretold": said.value,
            "measured": self.measured,
            "holds": self.holds,
            "run": self.run,
            "id": self.run_id,
        }


def tested(
    predictions: tuple[Prediction, ...], first: Recipe, name: str, going_on: Continuations | None, trainer: Trainer
) -> tuple[Tested, ...]:
    """Train what they are of, once for equal settings, as runs called NAME-foretold-N; Interrupted where a signal stopped one."""
    made: dict[str, Record] = {}
    found = []
    for said in predictions:
        if said.continued:
            assert going_on is not None
            record = going_on.runs[-1].record
        else:
            key = _key(said.settings)
            if key not in made:
                made[key] = trainer.train(_recipe(said, first, f"{name}-foretold-{len(made) + 1}"))
            record = made[key]
        found.append(Tested(prediction=said, run=record.name, run_id=record.id, measured=loss_in(record, said.metric)))
    return tuple(found)


def loss_in(record: Record, metric: str) -> float:
    """The run's last loss of that kind; LabError where it has none."""
    train = record.evaluations[-1].train_loss if record.evaluations else None
    loss = record.loss if metric == "valid_loss" else train
    if loss is None:
        raise LabError(f"{record.name} has no {METRICS[metric]} loss")
    return loss


def _key(settings: Mapping[str, Any]) -> str:
    return repr(sorted(settings.items()))


def _recipe(said: Prediction, first: Recipe, name: str) -> Recipe:
    recipe = dataclasses.replace(with_settings(first, said.settings), name=name, about="", claims=())
    evaluate = dataclasses.replace(recipe.evaluate, every=max(1, recipe.train.steps // 4), prompts=())
    return check(dataclasses.replace(recipe, evaluate=evaluate))
