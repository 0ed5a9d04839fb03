"""What there is to read of a run, whatever state it is in: the value that tables, comparisons and studies are made of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.model import flops_per_token, parameters
from lmlab.recipe import Recipe, recipe_hash
from lmlab.runs import Run, list_runs
from lmlab.runs.run import StatusName


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation of a run while it trained."""

    step: int
    tokens: int
    train_seconds: float
    """Spent on training steps by then: without evaluations, saving and pauses."""
    valid_loss: float
    """Nats a token."""
    train_loss: float | None
    """On a fixed sample of the training split, dropout off."""
    bits_per_byte: float | None
    whole: bool
    """Whether it was of the whole validation split."""
    number: int
    """Which evaluation of the run it was, from 0: its column in units-valid.npy."""
    joules: float | None = None
    """Spent by then, evaluations included; None where the machine doesn't say."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run as read at one moment."""

    run: Run
    status: StatusName
    recipe: Recipe
    origin: Mapping[str, Any]
    policy: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    """None before the run's end."""
    evaluations: tuple[Evaluation, ...]
    step: int
    """The last that metrics tell of."""
    tokens: int
    """Trained on by then."""
    tokens_per_second: float | None
    """Over all training steps of this run, evaluations left out; None before the first line of training."""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.id

    @property
    def data_id(self) -> str:
        """Of the data set it read."""
        return str(self.run.fact("data_id"))

    @property
    def vocabulary(self) -> int:
        """Size of the vocabulary."""
        return int(self.run.fact("vocabulary_size"))

    @property
    def seed(self) -> int:
        """train.seed."""
        return self.recipe.train.seed

    @cached_property
    def family(self) -> str:
        """Equal for runs that differ in nothing but the seed: 16 hexadecimal digits of recipe, data and length."""
        same = dataclasses.replace(self.recipe, train=dataclasses.replace(self.recipe.train, seed=0))
        parent = self.origin.get("parent")
        text = json.dumps([recipe_hash(same), self.data_id, parent and [parent.get("id"), parent.get("step")]])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def parameters(self) -> Mapping[str, int]:
        """By part, with `total` and `matrix`."""
        return parameters(self.recipe.model, self.vocabulary)

    @property
    def training_flops(self) -> float:
        """Of all its tokens so far, by the exact count."""
        return flops_per_token(self.recipe.model, self.vocabulary).training * self.tokens

    @property
    def device(self) -> str:
        """What it trained on, in words."""
        kind = str(self.policy.get("device", "?"))
        hardware = self.origin.get("hardware") or {}
        if kind.startswith("cuda"):
            cards = [str(card.get("name", "")) for card in hardware.get("accelerators") or [] if isinstance(card, dict)]
            return cards[0] if cards and cards[0] else kind
        return f"{hardware.get('physical_cores', '?')} cores of {hardware.get('cpu', '?')}" if kind == "cpu" else kind

    @property
    def final(self) -> Mapping[str, Any] | None:
        """Figures of the last model over the whole validation split; None before the run's end."""
        return None if self.summary is None else self.summary["final"]

    @property
    def loss(self) -> float | None:
        """The final loss, else that of the last evaluation; nats a token."""
        if self.final is not None:
            return float(self.final["loss"])
        return self.evaluations[-1].valid_loss if self.evaluations else None

    @property
    def bits_per_byte(self) -> float | None:
        """Likewise; None for tokenizers that lose text."""
        if self.final is not None:
            value = self.final["bits_per_byte"]
            return None if value is None else float(value)
        return self.evaluations[-1].bits_per_byte if self.evaluations else None

    @property
    def train_seconds(self) -> float | None:
        """Of training steps alone."""
        if self.summary is not None:
            return float(self.summary["seconds"]["train"])
        return self.evaluations[-1].train_seconds if self.evaluations else None

    @property
    def total_seconds(self) -> float | None:
        """With evaluations and saving; None before the run's end."""
        return None if self.summary is None else float(self.summary["seconds"]["total"])


def read_record(run: Run) -> Record:
    """What can be read of `run`; LabError where a file of it is damaged."""
    try:
        recipe = run.recipe()
        evaluations, seconds, trained, last = [], 0.0, 0, (0, 0)
        energy: dict[int, float] = {}  # of each segment, up to its last evaluation
        number = 0
        reached: int | None = None  # tokens at the last line of training, or where the run began
        for line in run.read_lines("metrics"):
            last = (int(line["step"]), int(line["tokens"]))
            if line["kind"] == "train":
                if reached is None:
                    reached = max(0, last[1] - recipe.train.log_every * recipe.train.batch * recipe.model.context)
                rate = line.get("tokens_per_second")
                if rate:
                    seconds += (last[1] - reached) / float(rate)
                    trained += last[1] - reached
                reached = last[1]
            elif line["kind"] == "evaluation":
                if line.get("joules") is not None:
                    energy[int(line["segment"])] = float(line["joules"])
                if line.get("valid_loss") is not None:
                    reached = last[1] if reached is None else reached
                    evaluations.append(_evaluation(line, seconds, number, sum(energy.values()) if energy else None))
                number += 1
        return Record(
            run=run,
            status=run.status(),
            recipe=recipe,
            origin=run.origin(),
            policy=run.read("policy.json") if (run.folder / "policy.json").exists() else {},
            summary=run.summary(),
            evaluations=tuple(evaluations),
            step=last[0],
            tokens=last[1],
            tokens_per_second=trained / seconds if seconds > 0 else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"{run.name} has a damaged line or file ({type(error).__name__}: {error})") from None


def read_records(root: Path) -> tuple[list[Record], list[str]]:
    """All runs of a folder that can be read, by name; and a line for each that can't."""
    records, problems = [], []
    for run in list_runs(root):
        try:
            records.append(read_record(run))
        except LabError as error:
            problems.append(f"{run.name}: {error}")
    return records, problems


def _evaluation(line: Mapping[str, Any], seconds: float, number: int, joules: float | None) -> Evaluation:
    train, bits = line.get("train_loss"), line.get("valid_bits_per_byte")
    return Evaluation(
        step=int(line["step"]),
        tokens=int(line["tokens"]),
        train_seconds=seconds,
        valid_loss=float(line["valid_loss"]),
        train_loss=None if train is None else float(train),
        bits_per_byte=None if bits is None else float(bits),
        whole=bool(line.get("whole", False)),
        number=number,
        joules=joules,
    )
