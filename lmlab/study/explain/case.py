"""A worked example of `lmlab explain`: two recipes with reported losses, and predictions about them.

format = 1
name = "laptop-and-gpu"
first = "shakespeare-cpu"
second = "shakespeare-gpu"
source = "where the losses were reported"
[reported]                          # validation losses of the last models; may be left out
first = 1.89
second = { valid = 1.70, train = 0.62, best = 1.47 }    # or with the training loss beside it, and the lowest validation loss
[first_settings]
train.precision = "fp32"
[proxy]                             # where whole trainings take too long, a scale model of both is trained in their place
about = "widths a quarter"
first = { model.width = 32 }
second = { model.width = 96 }
[[predictions]]                     # of the first recipe with settings, or of it continued under all of the second's
says = "at 5,000 iterations validation is at 1.6"
settings = { train.steps = 5000, schedule.steps = 5000 }
metric = "valid_loss"
value = 1.6                         # or a range: "1.5..1.8", "..1.8" or "1.5.."
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.experiment.ranges import Range, parse_range
from lmlab.recipe.text import parse_toml
from lmlab.study.grid.definition import flattened, require_known, study_name, study_text, table, word

FORMAT = 1
SHIPPED = "cases"
ENTRIES = (
    *("format", "name", "about", "first", "second", "source", "reported", "first_settings", "second_settings"),
    *("proxy", "continued", "predictions"),
)
METRICS = {"valid_loss": "validation", "train_loss": "training"}
TOLERANCE = 0.05
"""Nats: a single loss that was predicted with two digits holds within this, several times the spread between seeds."""
LARGEST_LOSS = 1e6
LONGEST_RANGE = 100


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A published prediction of a loss."""

    says: str
    metric: str
    """valid_loss: the last model's, over the whole split; train_loss: the last evaluation's, on a sample."""
    value: float | Range
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings on top of the first recipe's."""
    continued: bool = False
    """Whether it is about the first recipe continued under all of the second's settings that are tried."""


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The reported losses of a training, in nats a token."""

    valid: float
    """Validation loss of the last model."""
    train: float | None = None
    """Training loss at the end."""
    best: float | None = None
    """The lowest validation loss during training."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """The content of a case's file."""

    name: str
    about: str = ""
    first: str
    """A recipe's name or file."""
    second: str
    source: str = ""
    reported: tuple[Reported | None, Reported | None] = (None, None)
    first_settings: Mapping[str, Any] = field(default_factory=dict)
    second_settings: Mapping[str, Any] = field(default_factory=dict)
    proxy: str = ""
    """A description of the scale models that the interpolating runs train; empty where they train the recipes themselves."""
    proxies: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    """Settings on top of each recipe's, for the interpolating runs."""
    continued: bool = False
    """Whether the first is also trained at full length and continued."""
    predictions: tuple[Prediction, ...] = ()


def case_names() -> list[str]:
    """Return the names of the cases that come with lmlab."""
    folder = resources.files("lmlab") / SHIPPED
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_case(target: str) -> Case:
    """Return the case of that name or in that file; LabError with the nearest name where there is neither."""
    if target in case_names():
        text = (resources.files("lmlab") / SHIPPED / f"{target}.toml").read_text(encoding="utf-8")
    elif target.endswith(".toml"):
        text = study_text(Path(target))
    else:
        close = difflib.get_close_matches(target, case_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"add a second run, or name one of {', '.join(case_names())}"
        raise LabError(f"'{target[:60]}' is not a worked example: {hint}")
    try:
        return _case(parse_toml(text, target), Path(target).stem)
    except LabError as error:
        raise LabError(f"{target}: {str(error).removeprefix(f'{target} ')}") from None


def _case(value: Mapping[str, Any], stem: str) -> Case:
    require_known(value, ENTRIES)
    if value.get("format", FORMAT) != FORMAT:
        raise LabError(
            f"format {str(value['format'])[:20]} is not one that this version reads: expected {FORMAT}, or a newer lmlab"
        )
    reported, proxy = table(value, "reported"), table(value, "proxy")
    require_known(reported, ("first", "second"))
    require_known(proxy, ("about", "first", "second"))
    predictions = value.get("predictions", [])
    if not isinstance(predictions, list):
        raise LabError("predictions are tables: write [[predictions]] above each")
    found = Case(
        name=study_name(word(value, "name", stem)),
        about=word(value, "about", ""),
        first=word(value, "first"),
        second=word(value, "second"),
        source=word(value, "source", ""),
        reported=(_reported(reported, "first"), _reported(reported, "second")),
        first_settings=flattened(table(value, "first_settings")),
        second_settings=flattened(table(value, "second_settings")),
        proxy=word(proxy, "about") if proxy else "",
        proxies=(flattened(table(proxy, "first")), flattened(table(proxy, "second"))),
        continued=value.get("continued", False) is True,
        predictions=tuple(map(_prediction, predictions)),
    )
    if any(prediction.continued for prediction in found.predictions) and not found.continued:
        raise LabError("a prediction is of the continued run: set continued = true")
    return found


def _prediction(value: Any) -> Prediction:
    if not isinstance(value, dict):
        raise LabError("predictions are tables: write [[predictions]] above each")
    require_known(value, ("says", "metric", "value", "settings", "continued"))
    metric, predicted = word(value, "metric", "valid_loss"), _predicted(value)
    if metric not in METRICS or predicted is None:
        raise LabError(f"expected a prediction to have a value and to be of a {' or '.join(METRICS)}")
    settings = flattened(table(value, "settings"))
    continued = value.get("continued", False) is True
    if continued and settings:
        raise LabError("a prediction has settings, or is of the continued run: expected one of the two")
    return Prediction(says=word(value, "says"), metric=metric, value=predicted, settings=settings, continued=continued)


def _predicted(value: Mapping[str, Any]) -> float | Range | None:
    text = value.get("value")
    if not isinstance(text, str):
        return _loss(value, "value")
    found = None
    if len(text) <= LONGEST_RANGE:
        with contextlib.suppress(ValueError):
            found = parse_range(text, float)
    limits = [] if found is None else [limit for limit in (found.low, found.high) if limit is not None]
    if found is None or found.empty or not all(0 < limit < LARGEST_LOSS for limit in limits):
        raise LabError(f"value can't be {text[:40]}: expected a loss such as 1.6, or a range: 1.5..1.8, ..1.8 or 1.5..")
    return found


def _reported(value: Mapping[str, Any], name: str) -> Reported | None:
    if not isinstance(value.get(name), dict):
        loss = _loss(value, name)
        return None if loss is None else Reported(valid=loss)
    entries = table(value, name)
    require_known(entries, ("valid", "train", "best"))
    valid = _loss(entries, "valid")
    if valid is None:
        raise LabError(
            f"the reported losses of the {name} have no valid: expected the validation loss of its last model"
        )
    return Reported(valid=valid, train=_loss(entries, "train"), best=_loss(entries, "best"))


def _loss(value: Mapping[str, Any], name: str) -> float | None:
    number = value.get(name)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < LARGEST_LOSS:
        raise LabError(f"{name} can't be {str(number)[:40]}: expected a loss")
    return float(number)
