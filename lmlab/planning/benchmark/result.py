"""The result of a benchmark."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from lmlab.hardware.datasheet import DatasheetPeak
from lmlab.planning.benchmark.advice import Advice
from lmlab.planning.benchmark.combinations import Combination
from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.tokenizing import Throughput
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Evidence

FORMAT = 1


@dataclass(kw_only=True)
class BenchRow:
    """The measurements of one combination."""

    combination: Combination
    rounds: list[tuple[float, ...]] = field(default_factory=list)
    """Seconds of each timed step, by round."""
    peak_memory_bytes: int = 0
    failed: str | None = None
    peak_flops: float | None = None
    """FLOP/s of the fastest matrix products here in this precision, or in fp32 where those are faster."""
    datasheet: DatasheetPeak | None = None
    """The peak in the device's datasheet, where known."""

    @property
    def steps(self) -> list[float]:
        """Seconds of all timed steps."""
        return [seconds for found in self.rounds for seconds in found]

    @property
    def step_seconds(self) -> float:
        """Their median; 0 without a step."""
        return statistics.median(self.steps) if self.rounds else 0.0

    def quartiles(self) -> tuple[float, float]:
        """Return the lower and upper quartile of the seconds per step."""
        if len(self.steps) < 2:
            return self.step_seconds, self.step_seconds
        low, _, high = statistics.quantiles(self.steps, n=4, method="inclusive")
        return low, high

    def round_seconds_a_sequence(self) -> list[float]:
        """Return the median seconds per sequence of each round, by which two combinations are compared."""
        return [statistics.median(found) / self.combination.batch for found in self.rounds]


@dataclass(kw_only=True)
class Bench:
    """The result of a benchmark, possibly incomplete."""

    recipe: Recipe
    data_id: str
    device: str
    recipe_tokens: int
    """How many tokens the recipe trains on."""
    sequence_tokens: float
    """Tokens of an average sequence: its context, or for windows of documents the part that isn't padding."""
    flops_per_token: float
    base: Combination
    """The combination that `lmlab train` would use without a benchmark."""
    rows: list[BenchRow] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    whole: Measurement | None = None
    """A trial of a whole run at the recipe's own batch: scores and checkpoints."""
    largest: int | None = None
    """The largest batch that fits into memory, computed as `base` is; None where unknown."""
    largest_evidence: Evidence = "extrapolated"
    tokenizer: list[Throughput] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)
    load: float = 0.0
    """Running processes per core when it began: from about 1 on they slow what is measured."""
    interrupted: bool = False

    def figures(self, row: BenchRow) -> dict[str, Any]:
        """Return a row for tables and --json; rates are in tokens a second, `recipe_seconds` is the training alone."""
        combination, policy = row.combination, row.combination.policy
        tokens = combination.batch * self.sequence_tokens
        known: dict[str, Any] = {
            "batch": combination.batch,
            "precision": policy.precision,
            "compile": policy.compile,
            "engine": policy.engine,
            "threads": policy.threads,
            "failed": row.failed,
        }
        if not row.rounds:
            return known
        low, high = row.quartiles()
        rate = tokens / row.step_seconds
        return known | {
            "tokens_per_second": rate,
            "tokens_per_second_quartiles": [tokens / high, tokens / low],
            "step_milliseconds": 1e3 * row.step_seconds,
            "step_milliseconds_quartiles": [1e3 * low, 1e3 * high],
            "timed_steps": len(row.steps),
            "mfu": rate * self.flops_per_token / row.peak_flops if row.peak_flops else None,
            "mfu_datasheet": rate * self.flops_per_token / row.datasheet.flops if row.datasheet else None,
            "peak_memory_bytes": row.peak_memory_bytes,
            "recipe_seconds": self.recipe_tokens / rate,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json and files."""
        whole = self.whole
        return {
            "format": FORMAT,
            "recipe": self.recipe.name,
            "data_id": self.data_id,
            "device": self.device,
            "context": self.recipe.model.context,
            "sequence_tokens": self.sequence_tokens,
            "recipe_tokens": self.recipe_tokens,
            "rows": [self.figures(row) for row in self.rows],
            "left_out": self.left_out,
            "recommended": [one.to_json() for one in self.advice],
            "validation_tokens_per_second": whole.forward_tokens_per_second if whole else None,
            "checkpoint": None
            if whole is None
            else {
                "bytes": whole.checkpoint_bytes,
                "save_seconds": whole.save_seconds,
                "save_wait_seconds": whole.save_wait_seconds,
                "load_seconds": whole.load_seconds,
            },
            "run_peak_memory_bytes": whole.peak_memory_bytes if whole else None,
            "largest_batch": self.largest,
            "largest_batch_evidence": None if self.largest is None else self.largest_evidence,
            "tokenizer": [one.to_json() for one in self.tokenizer],
            "load": self.load,
            "interrupted": self.interrupted,
        }
