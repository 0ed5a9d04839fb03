"""A plan: all expected figures of a training before it begins, each with its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmlab.data.reading import Reading
from lmlab.data.shards.forecast import PreparationForecast
from lmlab.exchange.models.exportable import exportable
from lmlab.hardware.datasheet import DatasheetPeak
from lmlab.planning.forecasts.duration import Duration
from lmlab.planning.forecasts.forecast import Forecast
from lmlab.planning.forecasts.validation import Validation
from lmlab.planning.losses.evidence import Law
from lmlab.planning.losses.ladder import unknown_loss
from lmlab.planning.memory.parts import MemoryParts
from lmlab.planning.position import Position
from lmlab.planning.trials.child import Measurement
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import count, duration
from lmlab.scaling.arithmetic import COMPUTE_OPTIMAL
from lmlab.scaling.estimate import Estimate, Evidence
from lmlab.scaling.rates import batch_band, rate_band
from lmlab.training.load import load_words
from lmlab.training.policy import Policy

SMALLEST_PART = 0.005
"""Share of all parameters below which a part isn't listed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The expected figures of a training on this machine."""

    recipe: Recipe
    policy: Policy
    data_id: str
    steps: int
    reading: Reading
    """What an epoch consists of."""
    position: Position
    forecast: Forecast
    duration: Duration
    trial: Measurement
    evidence: Evidence
    """measured, or extrapolated where a step was too long to try the whole model."""
    peak_flops: float
    """FLOP/s of the fastest products measured here."""
    datasheet: DatasheetPeak | None
    """The peak in the device's datasheet, where known."""
    usual_rate: Estimate | None
    """FLOP/s of a similar training from other runs or datasheets, independent of the trial; None where unknown."""
    memory: tuple[MemoryParts, ...]
    """At each micro-batch that was tried, the recipe's own among them."""
    largest: int | None
    """The largest micro-batch that fits; None where unknown."""
    memory_bytes: int
    """Total memory of this machine, or its GPU; 0 where unknown."""
    free_disk_bytes: int
    validation: Validation
    law: Law | None
    """The loss of other sizes and lengths; None where no law covers this training."""
    law_rests_on: str
    ladder_seconds: float | None
    """The duration of `--ladder`; None for a model that has none."""
    cost: Mapping[str, Estimate]
    """Energy in kJ and its cost in the price's currency, where known."""
    preparation: PreparationForecast | None = None
    """What preparing the rest of the data takes first; None where it's there."""

    @property
    def reached_flops(self) -> float:
        """The peak of products, or the rate of the timed steps where that is higher because the machine was busier during the
        peak."""
        return max(self.peak_flops, self.achieved_flops)

    @property
    def achieved_flops(self) -> float:
        """FLOP/s of the model's products during training."""
        return self.position.exact_flops / self.steps / self.duration.step_seconds

    @property
    def compute_by_time(self) -> Estimate | None:
        """FLOPs from the forecast time of training and an independent rate."""
        return None if self.usual_rate is None else self.usual_rate.scaled(self.duration.train_seconds)

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        by_time, sheet = self.compute_by_time, self.datasheet
        loss = self.forecast.figures.get("final_loss")
        return {
            "recipe": self.recipe.name,
            "data_id": self.data_id,
            "steps": self.steps,
            "loss": None if loss is None else loss.value,
            "seconds": self.duration.total_seconds.value,
            "tokens": self.position.tokens,
            "position": self.position.to_json(),
            "duration": self.duration.to_json(),
            "forecast": self.forecast.to_json(),
            "flops": {
                "six_nd": self.position.six_nd_flops,
                "exact": self.position.exact_flops,
                "time_times_rate": None if by_time is None else by_time.to_json(),
                "achieved_per_second": self.achieved_flops,
                "peak_per_second": self.reached_flops,
                "utilisation": self.achieved_flops / self.reached_flops,
                "datasheet_peak_per_second": None if sheet is None else sheet.flops,
                "datasheet_utilisation": None if sheet is None else self.achieved_flops / sheet.flops,
                "datasheet": None if sheet is None else sheet.card.sheet,
            },
            "memory": [entry.to_json() for entry in self.memory],
            "largest_micro_batch": self.largest,
            "trial": self.trial.to_json(),
            "memory_bytes": self.memory_bytes,
            "free_disk_bytes": self.free_disk_bytes,
            "validation": self.validation.to_json(),
            "preparation": None if self.preparation is None else self.preparation.to_json(),
            "cost": {name: estimate.to_json() for name, estimate in self.cost.items()},
            "policy": self.policy.to_json(),
            "exportable": exportable(self.recipe).to_json(),
            "alarms": self.alarms(),
        }

    def alarms(self) -> list[str]:
        """Return the warnings about this training."""
        found = preparation_alarms(self.preparation)
        if self.memory_bytes and self.forecast.figures["peak_memory_bytes"].high > self.memory_bytes:
            found.append("it may not fit into memory: try a smaller train.micro_batch, model.width or model.context")
        if self.forecast.disk_bytes > self.free_disk_bytes:
            found.append(
                f"its checkpoints need {_bytes(self.forecast.disk_bytes)}, {_bytes(self.free_disk_bytes)} are free: "
                "set train.disk, or a smaller train.keep"
            )
        if self.position.repetition_cost > 0.1:
            found.append(
                f"the text is read {self.position.epochs:.1f} times: {self.position.repetition_cost:.0%} of the tokens teach "
                "nothing new; more text or fewer steps would serve better"
            )
        loss = self.forecast.figures.get("final_loss")
        if loss is not None and loss.alarm:
            found.append(f"the loss is an extrapolation: {loss.alarm}")
        return found

    def lines(self) -> list[str]:
        """Return the plan as lines of text."""
        return [
            f"plan for {self.recipe.name}: {self.steps:,} steps of {self.recipe.train.batch} x {self.recipe.model.context} tokens "
            f"on {self.policy.device} ({self.policy.engine}, {self.policy.precision})",
            *preparation_lines(self.preparation),
            *self._position_lines(),
            *self._flops_lines(),
            *self._memory_lines(),
            *self._time_lines(),
            *self._disk_lines(),
            *self._loss_lines(),
            *self._settings_lines(),
            *self._export_lines(),
            *(f"! {alarm}" for alarm in self.alarms()),
        ]

    def _position_lines(self) -> list[str]:
        here = self.position
        total = here.parameters["total"]
        parts = ", ".join(
            f"{name} {count(number)}"
            for name, number in here.parameters.items()
            if name != "total" and number >= SMALLEST_PART * total
        )
        repeated = ""
        if here.epochs > 1:
            repeated = (
                f"; with repetition they are worth {count(here.effective_tokens)} new ones (-{here.repetition_cost:.1%}"
            )
            repeated += f"{self._repetition_nats()})"
        of_documents = []
        if self.recipe.data.by_document:
            read = self.reading
            of_documents = [
                (
                    f"{count(read.sequences)} sequences an epoch",
                    "formula",
                    f"windows of documents; {read.padding_share:.1%} of their places are padding, which counts as no token",
                )
            ]
            if self.recipe.data.windows == "cropped":
                of_documents.append(
                    (
                        f"{read.lost_share:.2%} of the text lost",
                        "formula",
                        f"documents are cropped at {read.context:,} tokens; data.windows stream would use all of it",
                    )
                )
        return _section(
            "size",
            [
                (f"{count(total)} parameters", "formula", parts),
                (
                    f"{count(here.tokens)} tokens",
                    "formula",
                    f"{here.epochs:.2f} epochs of {count(here.unique_tokens)}{repeated}",
                ),
                *of_documents,
                (
                    f"{here.tokens_a_parameter:.3g} tokens a parameter",
                    "formula",
                    f"Chinchilla ratio; about {COMPUTE_OPTIMAL:.0f} is the usual optimum",
                ),
            ],
        )

    def _repetition_nats(self) -> str:
        """Return the cost of repeated text in nats, where there is a law."""
        here = self.position
        if self.law is None:
            return ""
        again, fresh = (self.law(here.matrix_parameters, tokens) for tokens in (here.effective_tokens, here.tokens))
        return "" if again is None or fresh is None else f", {again - fresh:+.3f} nats"

    def _flops_lines(self) -> list[str]:
        here, by_time, sheet = self.position, self.compute_by_time, self.datasheet
        rows = []
        if by_time is not None:
            between = f"{by_time.low:.3g} to {by_time.high:.3g}"
            rows.append((f"{by_time.value:.3g} FLOPs", by_time.evidence, f"{between}; time x {by_time.rests_on}"))
        used = f"MFU {self.achieved_flops / self.reached_flops:.0%} of the {self.reached_flops / 1e9:,.0f} GFLOP/s measured here"
        if sheet is not None:
            used += f", {self.achieved_flops / sheet.flops:.0%} of {sheet.words}"
        return _section(
            "FLOPs",
            [
                (f"{here.six_nd_flops:.3g} FLOPs", "formula", "6 x parameters x tokens"),
                (f"{here.exact_flops:.3g} FLOPs", "formula", "every matrix product, attention's included"),
                *rows,
                (f"{self.achieved_flops / 1e9:,.1f} GFLOP/s", self.evidence, used),
            ],
        )

    def _memory_lines(self) -> list[str]:
        own = next(entry for entry in self.memory if entry.micro_batch == self.policy.micro_batch)
        peak = self.forecast.figures["peak_memory_bytes"]
        rows = [(f"{_bytes(peak.value)} peak", peak.evidence, _interval(peak, _bytes) + _of(self.memory_bytes))]
        names = ("program", "weights", "gradients", "optimizer", "activations", "logits", "workspace")
        parts = ", ".join(f"{name} {_bytes(getattr(own, name))}" for name in names if getattr(own, name))
        rows.append((f"at micro-batch {own.micro_batch}", "formula", parts))
        rows += [
            (f"at micro-batch {entry.micro_batch}", self.evidence, _bytes(entry.peak) + self._fits(entry))
            for entry in self.memory
            if entry is not own
        ]
        if self.largest is not None:
            rows.append(
                (
                    f"micro-batch {self.largest:,}",
                    "extrapolated",
                    "the largest that fits into the memory that is free now",
                )
            )
        return _section("memory", rows)

    def _fits(self, entry: MemoryParts) -> str:
        return "" if not self.memory_bytes or entry.peak <= self.memory_bytes else ": does not fit"

    def _time_lines(self) -> list[str]:
        time = self.duration
        parts = (
            f"from the start of the process: start {duration(time.start_seconds + time.open_seconds)}, training "
            f"{duration(time.train_seconds)}, evaluation "
            f"{duration(time.evaluate_seconds)}, saving {time.save_seconds:.1f} s"
        )
        rate, total = time.tokens_per_second, time.total_seconds
        busy = load_words(self.trial.processor_share)
        rows = [
            (f"{duration(total.value)}", total.evidence, f"{_interval(total, duration)}; {parts}"),
            (
                f"{rate.value:,.0f} tokens/s",
                rate.evidence,
                f"{_interval(rate, lambda value: f'{value:,.0f}')}; {rate.rests_on}{busy and '; ' + busy}",
            ),
        ]
        for name, estimate in self.cost.items():
            rows.append(
                (
                    f"energy {estimate.value:,.3g} kJ"
                    if name == "kJ"
                    else f"cost {estimate.value:,.3g} {name}".rstrip(),
                    estimate.evidence,
                    _interval(estimate, lambda value: f"{value:,.3g}"),
                )
            )
        checked = self.validation
        room = (
            f"scored by each of {checked.evaluations} evaluations: {checked.taken_share:.1%} of the time, "
            f"{count(checked.affordable_tokens)} would take {checked.share:.0%}"
        )
        if checked.standard_error is not None and checked.final_standard_error is not None:
            room += (
                f"; standard error of the loss {checked.standard_error:.3f}, over the whole split "
                f"{checked.final_standard_error:.3f}"
            )
        scored = f"{count(checked.scored_tokens)} of {count(checked.split_tokens)} tokens"
        rows.append((scored, self.evidence, room))
        return _section("time", rows)

    def _disk_lines(self) -> list[str]:
        rests = f"checkpoints of {_bytes(self.forecast.checkpoint_bytes)}; {_bytes(self.free_disk_bytes)} are free"
        return _section("disk", [(f"{_bytes(self.forecast.disk_bytes)} at most", "formula", rests)])

    def _settings_lines(self) -> list[str]:
        """Compare the recipe's rate and batch with published laws, which are for AdamW and count all parameters except tables."""
        if self.recipe.optim.kind != "adamw":
            return []
        dense = self.position.parameters["total"] - self.position.parameters["ngrams"]
        rate, batch = rate_band(dense, self.position.tokens), batch_band(dense, self.position.tokens)
        own = self.reading.tokens(self.recipe.train.batch)
        beyond = "; " + rate.alarm if rate.alarm else ""
        return _section(
            "settings",
            [
                (
                    f"learning rate {self.recipe.optim.lr:g}",
                    rate.evidence,
                    f"published laws: {rate.low:.2g} to {rate.high:.2g}{beyond}",
                ),
                (
                    f"{count(own)} tokens a step",
                    batch.evidence,
                    f"published laws: {count(batch.low)} to {count(batch.high)}",
                ),
            ],
        )

    def _export_lines(self) -> list[str]:
        to, others = exportable(self.recipe).words()
        return _section("export", [(to, "formula", others)])

    def _loss_lines(self) -> list[str]:
        loss = self.forecast.figures.get("final_loss")
        if loss is None:
            known = "a branch begins from trained weights, which no law of loss covers"
            why = known if self.recipe.data.conversations else unknown_loss(self.ladder_seconds)
            return _section("loss", [("unknown", "", why)])
        shown = _interval(loss, lambda value: f"{value:.3f}")
        return _section("loss", [(f"{loss.value:.3f} nats a token", loss.evidence, f"{shown}; {loss.rests_on}")])


def preparation_lines(preparation: PreparationForecast | None) -> list[str]:
    """Return the lines of a plan on the data that is yet to be prepared."""
    if preparation is None:
        return []
    rows = [(f"{count(preparation.tokens)} tokens to prepare", "measured", preparation.summary())]
    return _section("data", [*rows, *(("", "", line) for line in filter(None, [preparation.doubt()]))])


def preparation_alarms(preparation: PreparationForecast | None) -> list[str]:
    """Return a line if the disk lacks the space for the data that is yet to be prepared."""
    if preparation is None or preparation.disk_bytes <= preparation.free_disk_bytes:
        return []
    return [
        f"preparing its data needs {_bytes(preparation.disk_bytes)}, {_bytes(preparation.free_disk_bytes)} are free: choose fewer "
        "data.tokens, or a larger disk with LMLAB_CACHE"
    ]


def _section(title: str, rows: Sequence[tuple[str, str, str]]) -> list[str]:
    lines = []
    for index, (figure, evidence, more) in enumerate(rows):
        name = title if index == 0 else ""
        lines.append(f"  {name:<11} {figure:<28} {evidence:<13} {more}")
    return lines


def _interval(estimate: Estimate, shown: Any) -> str:
    return f"{shown(estimate.low)} to {shown(estimate.high)}"


def _of(there: int) -> str:
    return f"; this machine has {_bytes(there)}" if there else ""


def _bytes(number: float) -> str:
    """Format bytes with three digits and a unit.

    >>> _bytes(303e6), _bytes(1.5e9), _bytes(48_300)
    ('303 MB', '1.50 GB', '48.3 kB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            value = number / size
            return (
                f"{value:.0f} {unit}"
                if value >= 100
                else f"{value:.3g} {unit}"
                if value >= 10
                else f"{value:.2f} {unit}"
            )
    return f"{number:.0f} B"
