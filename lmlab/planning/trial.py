"""A training in small: real steps of the real model and, where asked for, everything else of a run that takes memory.

What `child.py` runs in a process of its own, whose peak of memory is then the run's: the steps, an evaluation, samples, a
checkpoint saved, read back and restored, and the pages of the data set that the run will have read by its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.checkpoint import find
from lmlab.data import Dataset
from lmlab.data.fresh import training_spans, training_split
from lmlab.data.reading import scored_targets
from lmlab.evaluation import Evaluation, evaluate_split
from lmlab.evaluation.losses import windows_at_once
from lmlab.evaluation.sample import choose_units
from lmlab.generation import Sampling, generate
from lmlab.generation.prompts import begin_of
from lmlab.hardware import held_memory_bytes, peak_memory_bytes, release_freed_memory, synchronise
from lmlab.hardware.load import ShareMeter
from lmlab.planning.peak import peak_flops
from lmlab.recipe import Recipe
from lmlab.training.evaluating import plan_evaluations
from lmlab.training.length import steps_of
from lmlab.training.policy import Policy, apply_policy
from lmlab.training.saving import Saver, saves_beside
from lmlab.training.setup import set_up

WARM_UP_STEPS = 2
"""The first step compiles and touches memory for the first time; the second one still finds cold caches."""
SCORED_SECONDS = 0.3
MOST_SEQUENCES_TOUCHED = 1 << 19
PAGE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How long a trial goes on."""

    steps: int
    """Timed steps that are wanted."""
    seconds: float
    """No more of them once they took so long together; at least one is timed."""
    scored_seconds: float = SCORED_SECONDS
    """About how long evaluations may take."""
    whole: bool
    """Whether all of a run is tried, or only its steps."""
    put_back: bool = True
    """Whether the best model is loaded again at the end, as runs do whose last one is worse: for a moment with two more copies."""
    folder: Path
    """Where a checkpoint may be saved; the caller removes it."""


class Trial:
    """Model, optimizer and data of a run that is only tried. Nothing of it stays."""

    def __init__(self, recipe: Recipe, policy: Policy, dataset: Dataset) -> None:
        """`dataset` is the recipe's. The policy is in force from here on."""
        apply_policy(policy)
        self.recipe = recipe
        self.policy = policy
        self.dataset = dataset
        self.device = policy.torch_device
        train = training_split(recipe, dataset)
        self.run_steps = steps_of(recipe, train)
        release_freed_memory()
        self.idle_memory_bytes = held_memory_bytes(self.device)
        self.earlier_peak_bytes = peak_memory_bytes(self.device)
        started = time.perf_counter()
        self.training = set_up(recipe, policy, train, dataset.vocabulary_size, self.run_steps)
        self.build_seconds = time.perf_counter() - started

    def go(self, extent: Extent, first_step_began: Callable[[], None]) -> dict[str, Any]:
        """The figures of `Measurement` that are measured in here."""
        first_step_began()
        first, times, share = self._timed_steps(extent)
        found: dict[str, Any] = {"step_seconds": tuple(times), "first_step_seconds": first, "processor_share": share}
        found["checkpoint_bytes"] = self.training.nbytes
        found["build_seconds"] = self.build_seconds
        found["idle_memory_bytes"] = self.idle_memory_bytes
        found["earlier_peak_bytes"] = self.earlier_peak_bytes
        if not extent.whole:
            # A save that is written beside the training holds a copy of all that is saved.
            copies = found["checkpoint_bytes"] if saves_beside(self.recipe, found["checkpoint_bytes"]) else 0
            return found | {"peak_memory_bytes": peak_memory_bytes(self.device) + copies * (self.device.type == "cpu")}
        # A run measures it before its first step: matrices of up to 256 MB each, on a fast GPU.
        peak_flops(self.policy)
        touch_as_a_run(self.recipe, self.dataset, self.run_steps)
        return found | self._evaluated(extent.scored_seconds) | self._saved(extent)

    def _timed_steps(self, extent: Extent) -> tuple[float, list[float], float]:
        """Seconds of the first step and of those that count, and the share of the processor that this process had."""
        first = self._take_step()
        times: list[float] = []
        meter = ShareMeter(self.policy.threads)
        began = time.perf_counter()
        while len(times) < extent.steps + WARM_UP_STEPS - 1:
            times.append(self._take_step())
            if time.perf_counter() - began >= extent.seconds:
                break
        return first, times[min(WARM_UP_STEPS - 1, len(times) - 1) :], meter.share()

    def _take_step(self) -> float:
        synchronise(self.device)
        started = time.perf_counter()
        self.training.take()
        synchronise(self.device)
        return time.perf_counter() - started

    def _evaluated(self, seconds: float) -> dict[str, Any]:
        """Scores of as much as `seconds` allow, and of no more than an evaluation of the run would score; samples."""
        valid, train = (scored_targets(self.recipe, self.dataset, split) for split in ("valid", "train"))
        plan = plan_evaluations(self.recipe, self.run_steps, valid, train)
        least = self._least_tokens()
        first = self._scored("train", min(least, plan.train_tokens))
        one = self._scored("valid", least)
        more = int(one.tokens * max(2.0, seconds / max(one.seconds, 1e-9)))
        several = self._scored("valid", min(more, valid))
        several.interval()
        started = time.perf_counter()
        if self.recipe.evaluate.prompts:
            sampling = Sampling(tokens=self.recipe.evaluate.sample_tokens, seed=self.recipe.train.seed)
            begin = begin_of(self.recipe.data, self.dataset.tokenizer)
            generate(self.training.model, self.dataset.tokenizer, self.recipe.evaluate.prompts, sampling, begin=begin)
        del first
        return {
            "forward_tokens_per_second": _marginal_rate(one, several),
            "sample_seconds": time.perf_counter() - started if self.recipe.evaluate.prompts else 0.0,
        }

    def _least_tokens(self) -> int:
        """Those that an evaluation computes at once."""
        context = self.recipe.model.context
        return context * windows_at_once(context, self.dataset.vocabulary_size, self.device.type)

    def _scored(self, split: str, tokens: int) -> Evaluation:
        every, length = self.dataset.units(split), len(self.dataset.tokens(split))
        return evaluate_split(self.training.scoring(self.dataset), split, units=choose_units(every, length, tokens))

    def _saved(self, extent: Extent) -> dict[str, Any]:
        """A save as in a run, a step beside it where the run would take one, and the best model put back at the end."""
        state = self.training.state
        saver = Saver(extent.folder, self.recipe, self.training.model, self.training.optimizer)
        started = time.perf_counter()
        saver.save(state, {})
        waited = time.perf_counter() - started
        saver.settle(True)
        seconds = time.perf_counter() - started
        # Once more, now with a step of the training beside it: copies and activations are there at one time. An evaluation after
        # steps finds the heap as they left it, which the one before them did not.
        state.step += 1
        saver.save(state, {})
        self._take_step()
        saver.settle(True)
        self._scored("valid", self._least_tokens())
        found = {
            "save_seconds": seconds,
            "save_wait_seconds": waited,
            "peak_memory_bytes": peak_memory_bytes(self.device),
        }
        if not extent.put_back:
            return found
        started = time.perf_counter()
        checkpoint, _ = find(extent.folder, "latest")
        self.training.restore_weights(checkpoint)  # what a run does at its end to score its best model
        loaded = time.perf_counter() - started
        return {**found, "load_seconds": loaded, "peak_with_earlier_best_bytes": peak_memory_bytes(self.device)}


def touch_as_a_run(recipe: Recipe, dataset: Dataset, steps: int) -> int:
    """Read what a run of `steps` steps reads of the mapped files, since their pages count as this process's memory.

    At most 524,288 sequences of the training split, and the whole validation split; returns how many sequences there were.
    """
    train, valid, context = dataset.tokens("train"), dataset.tokens("valid"), recipe.model.context
    count = min(steps * recipe.train.batch, MOST_SEQUENCES_TOUCHED)
    whole = training_split(recipe, dataset)
    starts, _ = training_spans(whole, recipe.data.order, recipe.train.seed, context, 0, count)
    stride = max(1, PAGE_BYTES // train.itemsize)
    for place in range(0, context + stride, stride):
        int(train[np.minimum(starts + place, len(train) - 1)].sum(dtype=np.int64))
    int(valid[::stride].sum(dtype=np.int64))
    return count


def _marginal_rate(one: Evaluation, several: Evaluation) -> float:
    """Tokens a second of the longer evaluation, without what both of them spend once."""
    tokens, seconds = several.tokens - one.tokens, several.seconds - one.seconds
    if tokens <= 0 or seconds <= 0.2 * several.seconds:
        return several.tokens / max(several.seconds, 1e-9)
    return tokens / seconds
