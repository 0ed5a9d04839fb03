"""Finished runs of a folder, for the next forecast: their settings, forecasts and measurements."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.hardware.cpu import cpu_name, physical_cores
from lmlab.hardware.machine import accelerator_at
from lmlab.model.cost import flops_per_token, parameters
from lmlab.recipe import Recipe, recipe_hash
from lmlab.recipe.identity import science
from lmlab.runs import Run, list_runs
from lmlab.scaling.arithmetic import tokens_in
from lmlab.scaling.fit import LossPoint
from lmlab.training.policy import Policy

MOST_RUNS = 300
"""Only the newest runs of a folder are read: more would slow a start and add little about this machine today."""
FREE = (
    *("train.steps", "train.epochs", "train.batch", "train.seed", "train.patience", "train.minimum_gain"),
    *(
        "train.tolerate",
        "schedule.steps",
        "schedule.warmup",
        "schedule.warmup_from",
        "optim.lr",
        "optim.adam_lr",
        "optim.table_lr",
        "optim.batch_from",
        "evaluate.every",
        "evaluate.share",
        "evaluate.tokens",
    ),
)
"""Settings in which runs of one law may differ: length, batch, seed, the rates that depend on size, and evaluation."""
Place = tuple[str, int, str, str, str]
"""Processor, cores, device, the name of its GPU (empty for a CPU) and engine."""
SIZES = ("model.layers", "model.heads", "model.width")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that finished undisturbed."""

    name: str
    recipe: Recipe
    data_id: str
    vocabulary: int
    unique_tokens: int
    tokens: int
    loss: float
    """The last step's, over the whole validation split, in nats a token."""
    score: dict[str, Any]
    machine: Place
    arithmetic: tuple[str, int, bool]
    """Precision, threads, and whether it was compiled: together with the machine all that its peak depends on."""
    flops_per_token: float
    """FLOPs of training: every matrix product."""
    flops_per_second: float
    """The rate that its steps reached, by that count."""
    processor_share: float
    """CPU time that it received as a share of what it requested."""

    @property
    def style(self) -> str:
        """The key of runs that one scaling law may be fitted to: all of `science` except size, length, batch, rates and seed."""
        return style_of(self.recipe)

    def point(self) -> LossPoint:
        """Return the run for fitting the law; parameters are those in matrix products."""
        matrix = parameters(self.recipe.model, self.vocabulary)["matrix"]
        return LossPoint(parameters=matrix, tokens=self.tokens, loss=self.loss, unique_tokens=self.unique_tokens)


def style_of(recipe: Recipe) -> str:
    """Return, as text, the settings of a recipe that must be equal for one law to describe two runs."""
    kept = {name: value for name, value in science(recipe).items() if name not in (*FREE, *SIZES)}
    return repr(sorted(kept.items(), key=lambda item: item[0]))


def machine_of(policy: Policy) -> Place:
    """Return what times and memory depend on."""
    accelerator = accelerator_at(policy.torch_device)
    name = "" if accelerator is None else accelerator.name
    return (cpu_name(), physical_cores(), policy.device, name, policy.engine)


def arithmetic_of(policy: Policy) -> tuple[str, int, bool]:
    """Return what the peak of a machine depends on."""
    return (policy.precision, policy.threads, policy.compile)


def finished_runs(root: Path) -> list[Finished]:
    """Return the finished runs in `root`, the newest MOST_RUNS; damaged ones and branches of other runs are skipped."""
    found = []
    for run in list_runs(root)[-MOST_RUNS:]:
        with contextlib.suppress(LabError, KeyError, TypeError, ValueError, AttributeError):
            found.append(_finished(run))
    return found


def scores_on(runs: list[Finished], machine: Place) -> list[dict[str, Any]]:
    """Return the forecast scores of those runs that were made on this machine."""
    return [run.score for run in runs if run.machine == machine and run.score]


def same_training(runs: list[Finished], recipe: Recipe, data_id: str) -> list[Finished]:
    """Return the runs of the same recipe on the same data, with any seed."""
    wanted = recipe_hash(_without_seed(recipe))
    return [run for run in runs if run.data_id == data_id and recipe_hash(_without_seed(run.recipe)) == wanted]


def _without_seed(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=0))


def _finished(run: Run) -> Finished:
    summary, origin, policy = run.summary(), run.origin(), run.read("policy.json")
    if summary is None or summary["ending"] != "finished" or origin.get("parent") is not None:
        raise LabError(f"{run.name} is not a run from beginning to end")
    hardware = origin["hardware"]
    forecast = run.read("forecast.json")
    recipe = run.recipe()
    vocabulary = int(origin["vocabulary_size"])
    flops = flops_per_token(recipe.model, vocabulary).training
    computed = tokens_in(int(summary["steps"]), recipe.train.batch, recipe.model.context)
    return Finished(
        name=run.name,
        recipe=recipe,
        data_id=origin["data_id"],
        vocabulary=vocabulary,
        unique_tokens=max(1, round(forecast["tokens"] / forecast["epochs"])),
        tokens=int(summary["tokens"]),
        loss=float(summary["final"]["loss"]),
        score=dict(summary["score"]),
        machine=_place(hardware, str(policy["device"]), str(policy["engine"])),
        arithmetic=(str(policy.get("precision")), int(policy.get("threads", 0)), bool(policy.get("compile"))),
        flops_per_token=flops,
        flops_per_second=flops * computed / max(float(summary["seconds"]["train"]), 1e-9),
        processor_share=float(summary.get("processor_share", 1.0)),
    )


def _place(hardware: Mapping[str, Any], device: str, engine: str) -> Place:
    """Return where a run computed, from its origin's description of the machine."""
    kind, _, index = device.partition(":")
    names = (
        str(one["name"])
        for one in hardware.get("accelerators", ())
        if (one["kind"], one["index"]) == (kind, int(index or 0))
    )
    return (str(hardware["cpu"]), int(hardware["physical_cores"]), device, next(names, ""), engine)
