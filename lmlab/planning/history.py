"""Finished runs of a folder, as the next forecast wants them: what they were, what was forecast, and what came."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.hardware import physical_cores
from lmlab.hardware.cpu import cpu_name
from lmlab.model import flops_per_token, parameters
from lmlab.recipe import Recipe, recipe_hash
from lmlab.recipe.identity import science
from lmlab.runs import Run, list_runs
from lmlab.scaling.arithmetic import tokens_in
from lmlab.scaling.fit import LossPoint
from lmlab.training.policy import Policy

MOST_RUNS = 300
"""The newest of a folder: more would make a start slow and say little about this machine today."""
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
"""What runs of one law may differ in: length, batch, seed, the rates that go with the size, and how they are watched."""
SIZES = ("model.layers", "model.heads", "model.width")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that came to its end undisturbed."""

    name: str
    recipe: Recipe
    data_id: str
    vocabulary: int
    unique_tokens: int
    tokens: int
    loss: float
    """Of the last step, over the whole validation split, in nats a token."""
    score: dict[str, Any]
    machine: tuple[str, int, str, str]
    """Processor, cores, device and engine."""
    arithmetic: tuple[str, int, bool]
    """Precision, threads, and whether it was compiled: with the machine all that its peak depends on."""
    flops_per_token: float
    """Of training: every matrix product."""
    flops_per_second: float
    """That its steps reached, counted so."""
    processor_share: float
    """Of what it asked for."""

    @property
    def style(self) -> str:
        """Equal for runs that one law may describe: all of the science but size, length, batch, rates and seed."""
        return style_of(self.recipe)

    def point(self) -> LossPoint:
        """The run for a fit of the law; parameters are those that every token is multiplied by."""
        matrix = parameters(self.recipe.model, self.vocabulary)["matrix"]
        return LossPoint(parameters=matrix, tokens=self.tokens, loss=self.loss, unique_tokens=self.unique_tokens)


def style_of(recipe: Recipe) -> str:
    """What of a recipe must be equal for one law to describe two runs of it, as text."""
    kept = {name: value for name, value in science(recipe).items() if name not in (*FREE, *SIZES)}
    return repr(sorted(kept.items(), key=lambda item: item[0]))


def machine_of(policy: Policy) -> tuple[str, int, str, str]:
    """What times and memory depend on."""
    return (cpu_name(), physical_cores(), policy.device, policy.engine)


def arithmetic_of(policy: Policy) -> tuple[str, int, bool]:
    """What the peak of a machine depends on."""
    return (policy.precision, policy.threads, policy.compile)


def finished_runs(root: Path) -> list[Finished]:
    """The finished runs in `root`, the newest MOST_RUNS; one that is damaged, or was branched from another, is passed over."""
    found = []
    for run in list_runs(root)[-MOST_RUNS:]:
        with contextlib.suppress(LabError, KeyError, TypeError, ValueError, AttributeError):
            found.append(_finished(run))
    return found


def scores_on(runs: list[Finished], machine: tuple[str, int, str, str]) -> list[dict[str, Any]]:
    """What the forecasts of these runs were worth, of those that were made on this machine."""
    return [run.score for run in runs if run.machine == machine and run.score]


def same_training(runs: list[Finished], recipe: Recipe, data_id: str) -> list[Finished]:
    """Runs of the same recipe on the same data, whatever their seed."""
    wanted = recipe_hash(_without_seed(recipe))
    return [run for run in runs if run.data_id == data_id and recipe_hash(_without_seed(run.recipe)) == wanted]


def _without_seed(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=0))


def _finished(run: Run) -> Finished:
    summary, origin, policy = run.summary(), run.origin(), run.read("policy.json")
    if summary is None or summary["ending"] != "finished" or origin.get("parent") is not None:
        raise LabError(f"{run.name} is no run from beginning to end")
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
        machine=(str(hardware["cpu"]), int(hardware["physical_cores"]), str(policy["device"]), str(policy["engine"])),
        arithmetic=(str(policy.get("precision")), int(policy.get("threads", 0)), bool(policy.get("compile"))),
        flops_per_token=flops,
        flops_per_second=flops * computed / max(float(summary["seconds"]["train"]), 1e-9),
        processor_share=float(summary.get("processor_share", 1.0)),
    )
