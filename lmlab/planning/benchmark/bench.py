"""Benchmark a recipe on this machine, by batch, precision, compilation, engine and threads.

Every figure is from real steps in a child process (`planning.trials.child`), so that running out of memory is only a row of the
table. All combinations are measured in rounds (A B A B), so that other work slows all of them alike; medians are reported, with
quartiles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lmlab.data.dataset import Dataset
from lmlab.data.reading import reading
from lmlab.hardware.cpu import physical_cores
from lmlab.hardware.load import others_running
from lmlab.hardware.machine import detect
from lmlab.model.cost import flops_per_token
from lmlab.model.families import family_of
from lmlab.planning.benchmark.advice import advise
from lmlab.planning.benchmark.combinations import Combination, doublings, variants
from lmlab.planning.benchmark.result import Bench, BenchRow
from lmlab.planning.memory.by_micro_batch import fit_line
from lmlab.planning.memory.largest import memory_limit_bytes
from lmlab.planning.trials.child import OUT_OF_MEMORY, Measurement, measure
from lmlab.planning.trials.largest import bisect_largest
from lmlab.planning.trials.peaks import datasheet_of, peak_flops
from lmlab.planning.trials.tokenizing import sample_texts, tokenizer_throughput
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy, apply_policy, choose_policy

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
        policy, read = choose_policy(recipe, vocabulary=dataset.vocabulary_size), reading(recipe, dataset)
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
