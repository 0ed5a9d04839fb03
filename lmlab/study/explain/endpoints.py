"""The two endpoints that `lmlab explain` interpolates between: two finished runs, or two recipes, trained or not."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.preparation import prepare
from lmlab.data.progress import Progress
from lmlab.experiment.asked import recipe_asked
from lmlab.experiment.at_checkpoint import record_at
from lmlab.experiment.reading import read_record
from lmlab.experiment.record import Record
from lmlab.hardware.device import choose_device
from lmlab.recipe import Recipe, check, is_recipe, recipe_hash, with_settings
from lmlab.recipe.schedule import has_span
from lmlab.recipe.train import PrecisionName
from lmlab.runs import open_run
from lmlab.study.compare.comparing import name_of
from lmlab.study.explain.differing import comparable


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One of the two endpoints."""

    name: str
    identity: str
    """The run's id, with @ and the step of a checkpoint that it's taken at, or the recipe's hash."""
    recipe: Recipe
    steps: int
    precision: PrecisionName
    vocabulary: int
    loss: float | None
    """The last model's, in nats a token; None for a recipe without a reported loss."""
    record: Record | None = None
    """None for a recipe."""
    proxy: Recipe | None = None
    """A scale model that is trained in its place by the interpolating runs."""

    @property
    def device(self) -> str:
        """The device that it ran on, or would: cpu, cuda, mps or auto."""
        named = self.recipe.train.device if self.record is None else str(self.record.policy.get("device", "auto"))
        return named.partition(":")[0]

    def whole(self, device: str) -> Recipe:
        """Return its recipe at full length."""
        return check(comparable(self.recipe, self.steps, self.precision, 1.0, device))

    def interpolated(self, share: float, device: str) -> Recipe:
        """Return its recipe, or its scale model, as an endpoint of the interpolation, with that share of its steps."""
        if self.proxy is None:
            return check(comparable(self.recipe, self.steps, self.precision, share, device))
        train = self.proxy.train
        return check(comparable(self.proxy, train.steps, train.precision, share, device))

    def to_json(self) -> dict[str, Any]:
        """Return the value for explain.json."""
        at = None if self.record is None else self.record.checkpoint
        number = self.identity if self.record is None else self.record.id
        return {"name": self.name, "id": number, "loss": self.loss, **({} if at is None else {"checkpoint": at})}


Endpoints = tuple[Endpoint, Endpoint]


def endpoints_of_runs(first: str, second: str, runs: Path, progress: Progress | None = None) -> Endpoints:
    """Read two finished runs, or checkpoints of runs; LabError where they can't be interpolated between."""
    one, other = (_finished(name, runs, progress) for name in (first, second))
    units = [record.run.units() for record in (one, other)]
    if not all(np.array_equal(units[0][field], units[1][field]) for field in ("key", "tokens")):
        raise LabError(
            f"{one.name} and {other.name} have different validation texts or tokens, so that their losses have no difference to "
            "explain: lmlab compare --on scores both on one text"
        )
    return _endpoint_of_run(one), _endpoint_of_run(other)


def endpoints_of_recipes(
    targets: tuple[str, str],
    settings: tuple[Mapping[str, Any], Mapping[str, Any]],
    reported: tuple[float | None, float | None] = (None, None),
    proxies: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
    *,
    progress: Progress | None = None,
    say: Callable[[str], object],
) -> Endpoints:
    """Resolve two recipes with their settings and prepare their data; `reported` are published losses of theirs, `proxies` the
    settings of their scale models. LabError where they can't be interpolated between.
    """
    recipes = [recipe_asked(target, own, say=say) for target, own in zip(targets, settings, strict=True)]
    for recipe in recipes:
        if recipe.train.epochs is not None:
            raise LabError(f"{recipe.name} gives its length in epochs: set train.epochs=none and train.steps")
    datasets = [prepare(recipe.data, progress=progress) for recipe in recipes]
    _require_same_split(recipes, datasets)
    one, other = (
        Endpoint(
            name=recipe.name,
            identity=recipe_hash(recipe),
            recipe=recipe,
            steps=recipe.train.steps,
            precision=recipe.train.precision,
            vocabulary=dataset.vocabulary_size,
            loss=loss,
            proxy=check(with_settings(recipe, proxy)) if proxy else None,
        )
        for recipe, dataset, loss, proxy in zip(recipes, datasets, reported, proxies, strict=True)
    )
    return one, other


def are_recipes(first: str, second: str, runs: Path) -> bool:
    """Return whether both names are recipes, and neither a run; LabError where only one is."""
    kinds = [is_recipe(name) and not _is_run(name, runs) for name in (first, second)]
    if kinds[0] != kinds[1]:
        recipe, run = (first, second) if kinds[0] else (second, first)
        raise LabError(f"{recipe} is a recipe and {run} is not: expected two finished runs, or two recipes")
    return kinds[0]


def common_devices(endpoints: Endpoints) -> tuple[str, str]:
    """Return the devices of the interpolating runs: those of the two endpoints where these differ and both are present, else
    auto."""
    one, other = (end.device for end in endpoints)
    if one == other or "auto" in (one, other):
        return "auto", "auto"
    with contextlib.suppress(LabError):
        for device in (one, other):
            choose_device(device)
        return one, other
    return "auto", "auto"


def unmeasured(endpoints: Endpoints, devices: tuple[str, str], as_they_are: bool = False) -> tuple[str, ...]:
    """Return what differs between the two endpoints and is in no factor; empty where the path joins the runs `as_they_are`."""
    if as_they_are:
        return ()
    one, other = endpoints
    if one.record is None or other.record is None:
        which = f" ({one.device} against {other.device})" if one.device != other.device else ""
        return () if devices[0] != devices[1] else (f"hardware{which}, unmeasured here",)
    found = []
    if one.record.device != other.record.device and devices[0] == devices[1]:
        found.append(f"hardware ({one.record.device} against {other.record.device}), unmeasured here")
    if one.record.seed != other.record.seed:
        found.append(f"the seed ({one.record.seed} against {other.record.seed})")
    sources = [record.origin.get("code", {}).get("source_sha256") for record in (one.record, other.record)]
    if sources[0] != sources[1]:
        found.append("another version of lmlab")
    if one.record.data_id != other.record.data_id and one.recipe.data.tokens == other.recipe.data.tokens:
        found.append("other training text")
    return tuple(found)


def _endpoint_of_run(record: Record) -> Endpoint:
    recipe = record.known_recipe
    steps = recipe.train.steps if recipe.train.epochs is None else int(record.run.read("forecast.json")["steps"])
    identity = record.id
    if record.checkpoint is not None:
        recipe, steps, identity = (
            _until(recipe, steps, record.checkpoint),
            record.checkpoint,
            f"{identity}@{record.checkpoint}",
        )
    return Endpoint(
        name=name_of(record),
        identity=identity,
        recipe=recipe,
        steps=steps,
        precision=record.policy.get("precision", "auto"),
        vocabulary=record.known_vocabulary,
        loss=record.loss,
        record=record,
    )


def _until(recipe: Recipe, of: int, step: int) -> Recipe:
    """Return the recipe of a run of `of` steps up to `step`: fewer steps of the same schedule."""
    schedule: Any = recipe.schedule
    if has_span(schedule) and schedule.steps is None:
        schedule = dataclasses.replace(schedule, steps=of - schedule.start)
    train = dataclasses.replace(recipe.train, steps=step, epochs=None)
    return dataclasses.replace(recipe, train=train, schedule=schedule)


def _finished(name: str, runs: Path, progress: Progress | None) -> Record:
    run, which = open_run(name, runs)
    run.require_trained()
    record = read_record(run) if which is None else record_at(run, which, progress=progress)
    if record.final is None:
        raise LabError(f"{name} has no final loss: expected a finished run, or one of its checkpoints ({name}@latest)")
    if record.step == 0:
        raise LabError(f"{name} was trained on nothing: expected a checkpoint of a later step")
    if record.origin.get("parent") is not None:
        raise LabError(
            f"{name} continues another run, which its recipe alone doesn't contain: expected a run that was trained from scratch"
        )
    return record


def _require_same_split(recipes: list[Recipe], datasets: list[Dataset]) -> None:
    units = [dataset.units("valid") for dataset in datasets]
    same = all(np.array_equal(units[0][field], units[1][field]) for field in ("key", "start"))
    if not same or datasets[0].vocabulary_size != datasets[1].vocabulary_size:
        raise LabError(
            f"{recipes[0].name} and {recipes[1].name} have different validation texts or tokens, so their losses can't be "
            "compared: give both the same data settings"
        )


def _is_run(name: str, runs: Path) -> bool:
    try:
        open_run(name, runs)
    except LabError:
        return False
    return True
