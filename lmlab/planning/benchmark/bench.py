"""Benchmark a recipe on this machine, by batch, precision, compilation, engine and threads.

Every figure is from real steps in a child process (`child.py`), so that running out of memory is only a row of the table. All
combinations are measured in rounds (A B A B), so that other work slows all of them alike; medians are reported, with quartiles.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmlab.data.dataset import Dataset
from lmlab.data.reading import reading
from lmlab.hardware.cpu import physical_cores
from lmlab.hardware.datasheet import DatasheetPeak
from lmlab.hardware.load import others_running
from lmlab.hardware.machine import detect
from lmlab.model.cost import flops_per_token
from lmlab.model.families import family_of
from lmlab.planning.benchmark.advice import Advice, advise
from lmlab.planning.benchmark.combinations import Combination, doublings, variants
from lmlab.planning.memory.by_micro_batch import fit_line
from lmlab.planning.memory.largest import bisect_largest, memory_limit_bytes
from lmlab.planning.trials.child import OUT_OF_MEMORY, Measurement, measure
from lmlab.planning.trials.peaks import datasheet_of, peak_flops
from lmlab.planning.trials.tokenizing import Throughput, sample_texts, tokenizer_throughput
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Evidence
from lmlab.training.policy import Policy, apply_policy, choose_policy

FORMAT = 1
MOST_BATCH = 1 << 14
GROWS_BY = 1.03
"""If doubling the sequences gains less throughput than this factor, the next doubling isn't measured."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured."""

    thorough: bool
    rounds: int
    steps: int
    """Timed steps of each combination in each round."""
    seconds: float
    """Time after which no further step of a combination is taken in a round."""
    longest_step_seconds: float
    """Step time after which no larger batch is measured."""
    tokenizer_seconds: float
    deadline_seconds: float
    """Time after which a child process is killed."""


QUICK = Effort(
    thorough=False,
    rounds=2,
    steps=6,
    seconds=1.0,
    longest_step_seconds=1.5,
    tokenizer_seconds=0.5,
    deadline_seconds=120,
)
THOROUGH = Effort(
    thorough=True,
    rounds=5,
    steps=12,
    seconds=5.0,
    longest_step_seconds=20.0,
    tokenizer_seconds=2.0,
    deadline_seconds=600,
)


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


Say = Callable[[str], object]


class Bencher:
    """Measures one recipe, and keeps the results so far."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        steps: int,
        effort: Effort,
        batches: Sequence[int] = (),
        say: Say = lambda line: None,
        run: Callable[..., Measurement] = measure,
    ) -> None:
        """`steps` is the training's length; `batches` (default: doublings) are those to measure; `say` is called with progress
        lines."""
        policy, read = choose_policy(recipe), reading(recipe, dataset)
        apply_policy(policy)
        self.dataset, self.effort = dataset, effort
        self.batches = tuple(batches)
        self._say = say
        self._run = run
        self.found = Bench(
            recipe=recipe,
            data_id=dataset.id,
            device=_device_name(policy),
            recipe_tokens=read.tokens(steps * recipe.train.batch),
            sequence_tokens=read.sequence_tokens,
            flops_per_token=flops_per_token(recipe.model, dataset.vocabulary_size).training,
            base=Combination(batch=self._base_batch(policy), policy=policy),
            load=others_running() / physical_cores(),
        )

    def go(self) -> Bench:
        """Run the whole benchmark. KeyboardInterrupt ends it early, with the results so far."""
        found = self.found
        try:
            self._first_round()
            self._more_rounds()
            self._peaks()
            self._say("tokenizer")
            texts = sample_texts(self.dataset)
            counts = doublings(detect(accelerators=False).logical_cores, 1)
            found.tokenizer = tokenizer_throughput(self.dataset.tokenizer, texts, counts, self.effort.tokenizer_seconds)
        except KeyboardInterrupt:
            found.interrupted = True
        found.advice = advise(found.base, [row for row in found.rows if row.rounds], found.recipe.train.batch)
        return found

    def _base_batch(self, policy: Policy) -> int:
        return policy.micro_batch if not self.batches or policy.micro_batch in self.batches else self.batches[0]

    def _first_round(self) -> None:
        """Measure every combination once, up to the limits of memory and time."""
        base = self.found.base
        policies, self.found.left_out = variants(
            base.policy, detect(), self.effort.thorough, family_of(self.found.recipe.model).uncompilable
        )
        for number, policy in enumerate(policies):
            combination = Combination(batch=base.batch, policy=policy)
            sweep = number == 0 or self.effort.thorough
            if sweep and not self.batches:
                self._grow(combination)
            else:
                for batch in self.batches if sweep else (base.batch,):
                    self._measure_row(combination.of_batch(batch))
        self._measure_whole(base)

    def _grow(self, combination: Combination) -> None:
        """Measure doublings until the limits of memory, time or gain, and the base's own batch, with which the others are
        compared."""
        rows: list[BenchRow] = []
        own, limit = self.found.base.batch, memory_limit_bytes(combination.policy)
        for batch in doublings(MOST_BATCH, own):
            if batch != own and (why := self._slow(rows)):
                if batch < own:
                    continue
                self.found.left_out.append(f"{combination.how}, batches from {batch:,}: {why}")
                break
            if why := self._enough(rows, batch, limit):
                self.found.left_out.append(f"{combination.how}, batches from {batch:,}: {why}")
                break
            rows.append(self._measure_row(combination.of_batch(batch)))
        if combination.policy == self.found.base.policy:
            self._predict_largest(rows, limit)
        failed = rows[-1].combination.batch if rows and rows[-1].failed == OUT_OF_MEMORY else 0
        if failed > 1 and combination.policy.device != "cpu":
            self._find_largest(combination, rows[-2].combination.batch if len(rows) > 1 else 0, failed)

    def _slow(self, rows: list[BenchRow]) -> str | None:
        """Return why a larger batch would take too long; None where it wouldn't."""
        if not rows or rows[-1].step_seconds <= self.effort.longest_step_seconds:
            return None
        last = rows[-1]
        return f"a step of {last.combination.batch:,} takes {last.step_seconds:.1f} s already (--batch measures any)"

    def _enough(self, rows: list[BenchRow], batch: int, limit: int) -> str | None:
        """Return why no larger batch is measured after these; None where one is."""
        if not rows:
            return None
        last = rows[-1]
        if last.failed:
            return f"{last.combination.batch:,} failed ({last.failed})"
        memory = [(float(row.combination.batch), float(row.peak_memory_bytes)) for row in rows]
        if last.combination.policy.device == "cpu" and len(memory) > 1 and fit_line(memory).at(batch) > limit > 0:
            return f"about {fit_line(memory).at(batch) / 1e9:,.1f} GB would be needed, {limit / 1e9:,.1f} GB are free"
        grown = [row.combination.batch / row.step_seconds for row in rows]
        enough = batch > 2 * self.found.base.batch and len(grown) > 2
        if enough and not self.effort.thorough and grown[-1] < GROWS_BY * max(grown[:-1]):
            return "more sequences bring no more throughput (--batch or --thorough measure them)"
        return None

    def _find_largest(self, combination: Combination, fits: int, fails: int) -> None:
        """Find the largest batch between one that ran and one that didn't, and add a row for it."""
        tried: dict[int, BenchRow] = {}

        def try_one(batch: int) -> bool:
            if batch <= fits:
                return True
            tried[batch] = self._measured(combination.of_batch(batch))
            return tried[batch].failed is None

        largest = bisect_largest(try_one, fails - 1, fits)
        if largest in tried:
            self.found.rows.append(tried[largest])
        if combination.policy == self.found.base.policy:
            self.found.largest, self.found.largest_evidence = largest, "measured"

    def _predict_largest(self, rows: list[BenchRow], limit: int) -> None:
        """Predict the largest batch from the line through the measured peaks."""
        memory = [(float(row.combination.batch), float(row.peak_memory_bytes)) for row in rows if not row.failed]
        if len(memory) > 1 and limit > 0:
            line = fit_line(memory)
            self.found.largest = bisect_largest(lambda batch: line.estimate(batch).high <= limit, MOST_BATCH)

    def _more_rounds(self) -> None:
        rows = [row for row in self.found.rows if not row.failed]
        for number in range(1, self.effort.rounds):
            for row in rows:
                again = self._measured(row.combination, note=f", round {number + 1} of {self.effort.rounds}")
                row.rounds += again.rounds
                row.peak_memory_bytes = max(row.peak_memory_bytes, again.peak_memory_bytes)

    def _measure_row(self, combination: Combination) -> BenchRow:
        """Measure a combination and add its row."""
        row = self._measured(combination)
        self.found.rows.append(row)
        return row

    def _measured(self, combination: Combination, note: str = "") -> BenchRow:
        self._say(f"batch {combination.batch:,}, {combination.how}{note}")
        result = self._try(combination, whole=False)
        row = BenchRow(combination=combination, peak_memory_bytes=result.peak_memory_bytes, failed=result.failed)
        if result.step_seconds:
            row.rounds.append(result.step_seconds)
        return row

    def _measure_whole(self, combination: Combination) -> None:
        """Measure evaluation, checkpoints and the memory of a whole run."""
        self._say(f"a whole run, batch {combination.batch:,}, {combination.how}")
        result = self._try(combination, whole=True)
        if not result.failed:
            self.found.whole = result

    def _try(self, combination: Combination, whole: bool) -> Measurement:
        effort = self.effort
        return self._run(
            self.found.recipe,
            combination.policy,
            self.dataset.folder,
            batch=combination.batch,
            steps=effort.steps,
            seconds=effort.seconds,
            whole=whole,
            deadline_seconds=effort.deadline_seconds,
        )

    def _peaks(self) -> None:
        """Measure the peaks that MFU refers to; the policy in force remains the base's."""
        known: dict[tuple[Any, ...], float] = {}
        for row in self.found.rows:
            policy = row.combination.policy
            key = (policy.precision, policy.threads, policy.engine)
            if key not in known and row.rounds:
                apply_policy(policy)
                known[key] = peak_flops(policy)
        apply_policy(self.found.base.policy)
        for row in self.found.rows:
            # Products in a precision that the processor emulates are no reference.
            comparable = [flops for key, flops in known.items() if key[0] in (row.combination.precision, "fp32")]
            row.peak_flops = max(comparable, default=None)
            row.datasheet = datasheet_of(row.combination.policy)


def _device_name(policy: Policy) -> str:
    """Return the name of the device."""
    machine = detect()
    if policy.device == "cpu":
        return f"{machine.cpu} ({machine.physical_cores} cores)"
    index = policy.torch_device.index or 0
    names = [gpu.name for gpu in machine.accelerators if gpu.kind == policy.torch_device.type and gpu.index == index]
    return names[0] if names else policy.device


def effort_of(thorough: bool, rounds: int | None = None) -> Effort:
    """Return QUICK or THOROUGH, with another number of rounds where one is given."""
    effort = THOROUGH if thorough else QUICK
    return effort if rounds is None else dataclasses.replace(effort, rounds=rounds)
