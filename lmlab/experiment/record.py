"""The readable facts about a run in any state, from which tables, comparisons and studies are made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.model.adapter_cost import training_flops_per_token
from lmlab.model.cost import parameters
from lmlab.recipe import Recipe, recipe_hash
from lmlab.runs import Run
from lmlab.runs.run import StatusName

LARGEST_EXPONENT = 700.0
"""For a larger loss the perplexity overflows a float."""


@dataclass(frozen=True, kw_only=True)
class EvaluationPoint:
    """One evaluation of a run during training."""

    step: int
    tokens: int | None
    """None where an imported log lacks it."""
    train_seconds: float | None
    """Time spent on training steps by then: without evaluations, saving and pauses. For an imported run by its log's clock, None
    without one."""
    valid_loss: float
    """Nats a token."""
    train_loss: float | None
    """On a fixed sample of the training split, without dropout."""
    bits_per_byte: float | None
    whole: bool | None
    """Whether it scored the whole validation split; None where an imported log doesn't tell."""
    number: int
    """The number of the evaluation, from 0: its column in units-valid.npy."""
    accuracy: float | None = None
    """Share of the validation tokens whose top-1 prediction was right; None where an imported log lacks it."""
    joules: float | None = None
    """Energy spent by then, evaluations included; None where the machine doesn't report it."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run as read at one moment.

    For a run that was imported from a log many fields are None, that is unknown: two such values don't count as equal.
    """

    run: Run
    status: StatusName
    recipe: Recipe | None
    origin: Mapping[str, Any]
    policy: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    """None before the run's end."""
    evaluations: tuple[EvaluationPoint, ...]
    step: int
    """The last step in metrics."""
    tokens: int | None
    """Tokens trained on by then."""
    tokens_per_second: float | None
    """Over all training steps of this run, without evaluations; None before the first line of training."""
    began: tuple[int, int] | None = (0, 0)
    """Steps and tokens at which a branch began to count: its parent's where it continues in the parent's stream, else 0; None where
    unknown."""

    checkpoint: int | None = None
    """The step of the checkpoint at which it is read (`lmlab.experiment.at_checkpoint`); None for the run as it is."""
    units: np.ndarray | None = None
    """For a run that is read at a checkpoint: units-valid.npy as if the run had ended there; None where unknown."""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.id

    @property
    def imported(self) -> Mapping[str, Any] | None:
        """The facts about a run that was imported from someone else's log; else None."""
        return self.origin.get("imported")

    @property
    def known_recipe(self) -> Recipe:
        """The recipe; LabError for an imported log, which has none."""
        if self.recipe is None:
            raise LabError(f"{self.name} is someone else's log, without a recipe: expected a run that lmlab trained")
        return self.recipe

    @property
    def corpus(self) -> str | None:
        """The name of its training text, as in the recipe."""
        if self.recipe is None or self.run.model_from is not None:
            return (self.imported or {}).get("corpus")
        return self.recipe.data.corpus

    @property
    def data_id(self) -> str | None:
        """The id of its data set; None for an imported log or model."""
        unknown = self.imported is not None or self.run.model_from is not None
        return None if unknown else str(self.run.fact("data_id"))

    @property
    def vocabulary(self) -> int | None:
        """Size of the vocabulary; None for an imported log."""
        return None if self.imported is not None else int(self.run.fact("vocabulary_size"))

    @property
    def known_vocabulary(self) -> int:
        """Size of the vocabulary; LabError for an imported log, which has none."""
        if self.vocabulary is None:
            raise LabError(
                f"{self.name} is someone else's log, without a vocabulary: expected a run that lmlab trained"
            )
        return self.vocabulary

    @property
    def seed(self) -> int | None:
        """train.seed; None for an imported log or model."""
        return None if self.recipe is None or self.run.model_from is not None else self.recipe.train.seed

    @cached_property
    def family(self) -> str:
        """Equal for runs that differ only in the seed: 16 hexadecimal digits of recipe, data and length.

        Unique for an imported run.
        """
        if self.recipe is None or self.run.model_from is not None:
            return hashlib.sha256(self.id.encode()).hexdigest()[:16]
        same = dataclasses.replace(self.recipe, train=dataclasses.replace(self.recipe.train, seed=0))
        parent = self.origin.get("parent")
        origin = parent and [parent.get("id"), parent.get("step")]
        at = [] if self.checkpoint is None else [self.checkpoint]
        text = json.dumps([recipe_hash(same), self.data_id, origin, *at])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def parameters(self) -> Mapping[str, int] | None:
        """Counts by part, with `total` and `matrix`; for an imported run only `total`, or None."""
        if self.recipe is None or self.vocabulary is None:
            total = (self.imported or {}).get("parameters")
            return None if total is None else {"total": total}
        return parameters(self.recipe.model, self.vocabulary)

    @property
    def training_flops(self) -> float | None:
        """FLOPs of all its tokens so far, by the exact count."""
        if self.recipe is None or self.vocabulary is None or self.tokens is None:
            return None
        return training_flops_per_token(self.recipe, self.vocabulary) * self.tokens

    @property
    def device(self) -> str:
        """The name of the device that it trained on; ? where unknown."""
        kind = str(self.policy.get("device", "?"))
        hardware = self.origin.get("hardware") or {}
        if kind.startswith("cuda"):
            cards = [str(card.get("name", "")) for card in hardware.get("accelerators") or [] if isinstance(card, dict)]
            return cards[0] if cards and cards[0] else kind
        return f"{hardware.get('physical_cores', '?')} cores of {hardware.get('cpu', '?')}" if kind == "cpu" else kind

    @property
    def steps_are_epochs(self) -> bool:
        """Whether the log that it was imported from counts only epochs."""
        return bool((self.imported or {}).get("steps_are_epochs"))

    @property
    def own_steps(self) -> int | None:
        """Steps that this run took, without those of its lineage."""
        return None if self.began is None or self.steps_are_epochs else self.step - self.began[0]

    @property
    def own_tokens(self) -> int | None:
        """Tokens that this run was trained on, without those of its lineage."""
        return None if self.began is None or self.tokens is None else self.tokens - self.began[1]

    @property
    def own_epochs(self) -> float | None:
        """Passes over the text, without those of its lineage; for a log that counts only epochs, the log's."""
        if self.steps_are_epochs or not self.own_tokens or not self.epoch_tokens:
            return self.epochs
        return self.own_tokens / self.epoch_tokens

    @cached_property
    def lineage(self) -> tuple[int, int] | None:
        """Steps and tokens of its lineage up to where it began, (0, 0) without any; None where unknown."""
        if self.origin.get("parent") is None:
            return 0, 0
        entries = self.origin.get("lineage")
        if not isinstance(entries, list) or any(entry.get("windows", "stream") != "stream" for entry in entries):
            return None
        steps = tokens = before = 0
        for entry in entries:
            first, end = entry["cursor"]
            # In the stream of the previous run, its steps continue that one's.
            steps += int(entry["step"]) - (before if first else 0)
            tokens += (int(end) - int(first)) * int(entry["context"])
            before = int(entry["step"])
        return steps, tokens

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
        """The final bits per byte, else those of the last evaluation; None for tokenizers that lose text."""
        if self.final is not None:
            value = self.final["bits_per_byte"]
            return None if value is None else float(value)
        return self.evaluations[-1].bits_per_byte if self.evaluations else None

    @property
    def train_seconds(self) -> float | None:
        """Time of training steps alone."""
        if self.summary is not None:
            return float(self.summary["seconds"]["train"])
        return self.evaluations[-1].train_seconds if self.evaluations else None

    @property
    def total_seconds(self) -> float | None:
        """Time with evaluations and saving; None before the run's end."""
        total = None if self.summary is None else self.summary["seconds"]["total"]
        return None if total is None else float(total)

    @property
    def perplexity(self) -> float | None:
        """exp(loss); None where it overflows."""
        return None if self.loss is None or self.loss > LARGEST_EXPONENT else math.exp(self.loss)

    @property
    def accuracy(self) -> float | None:
        """Share of the validation tokens whose top-1 prediction was right: the final one, else that of the last evaluation."""
        if self.final is not None:
            value = self.final.get("accuracy")
            return None if value is None else float(value)
        return self.evaluations[-1].accuracy if self.evaluations else None

    @property
    def training_tokens(self) -> int | None:
        """Tokens of the training split; None where unknown."""
        sets = self.origin.get("data")
        if not isinstance(sets, list) or not sets or not isinstance(sets[0], dict):
            return None
        tokens = sets[0].get("train_tokens")
        return tokens if isinstance(tokens, int) and tokens > 0 else None

    @cached_property
    def epoch_tokens(self) -> float | None:
        """Tokens that one epoch trains on; windows that are cut from documents overlap and are padded."""
        if self.recipe is None or not self.recipe.data.by_document:
            return self.training_tokens
        if not (self.run.folder / "forecast.json").exists():
            return None
        forecast = self.run.read("forecast.json")
        return float(forecast["tokens"]) / float(forecast["epochs"]) if forecast.get("epochs") else None

    @property
    def epochs(self) -> float | None:
        """How often it has read its training text."""
        if self.steps_are_epochs:
            return float(self.step)
        return None if self.tokens is None or not self.epoch_tokens else self.tokens / self.epoch_tokens

    @property
    def epoch_seconds(self) -> float | None:
        """Duration of an epoch in training steps, in seconds, without evaluations and saving."""
        if self.steps_are_epochs:
            return self.train_seconds / self.step if self.train_seconds and self.step else None
        return self.epoch_tokens / self.tokens_per_second if self.epoch_tokens and self.tokens_per_second else None

    @property
    def step_seconds(self) -> float | None:
        """Mean duration of a training step, in seconds."""
        if self.imported is not None and self.own_steps and self.train_seconds:
            return self.train_seconds / self.own_steps
        if not self.own_steps or not self.own_tokens or not self.tokens_per_second:
            return None
        return self.own_tokens / self.own_steps / self.tokens_per_second
