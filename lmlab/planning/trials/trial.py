"""A trial of a training: real steps of the real model and optionally everything else in a run that takes memory.

`child.py` runs it in a separate process, whose peak of memory is then the run's: the steps, an evaluation, samples, a checkpoint
saved, read back and restored, and the pages of the data set that the run will have read by its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.checkpoint.finding import find
from lmlab.data.dataset import Dataset
from lmlab.data.fresh import training_pieces, training_split
from lmlab.data.reading import scored_targets
from lmlab.evaluation.losses import evaluate_split, windows_at_once
from lmlab.evaluation.result import Evaluation
from lmlab.evaluation.sample import choose_units
from lmlab.generation.decoding import generate
from lmlab.generation.prompts import begin_of
from lmlab.generation.settings import Sampling
from lmlab.hardware.device import synchronise
from lmlab.hardware.load import ShareMeter
from lmlab.hardware.memory import held_memory_bytes, peak_memory_bytes, release_freed_memory
from lmlab.planning.memory.parts import computed_in_chunks
from lmlab.planning.trials.heap import grown
from lmlab.planning.trials.peaks import peak_flops
from lmlab.recipe import Recipe
from lmlab.training.evaluating import plan_evaluations
from lmlab.training.length import steps_of
from lmlab.training.policy import Policy, apply_policy
from lmlab.training.saving import Saver, saves_in_background
from lmlab.training.setup import set_up

WARM_UP_STEPS = 2
"""The first step compiles and touches memory for the first time; the second one still has cold caches."""
SCORED_SECONDS = 0.3
MOST_SEQUENCES_TOUCHED = 1 << 19
PAGE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The extent of a trial."""

    steps: int
    """How many timed steps are wanted."""
    seconds: float
    """Total time after which no further step is timed; at least one is."""
    scored_seconds: float = SCORED_SECONDS
    """Approximate time of the evaluations."""
    whole: bool
    """Whether everything in a run is tried, or only its steps."""
    put_back: bool = True
    """Whether the best model is loaded at the end, as in runs whose last model is worse: it briefly adds two copies of the
    weights."""
    folder: Path
    """Folder for a checkpoint; the caller removes it."""


class Trial:
    """Model, optimizer and data of a trial, which are discarded."""

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
        """Return the fields of `Measurement` that are measured in this process."""
        first_step_began()
        first, times, share = self._timed_steps(extent)
        found: dict[str, Any] = {"step_seconds": tuple(times), "first_step_seconds": first, "processor_share": share}
        found["checkpoint_bytes"] = self.training.nbytes
        found["build_seconds"] = self.build_seconds
        found["idle_memory_bytes"] = self.idle_memory_bytes
        found["earlier_peak_bytes"] = self.earlier_peak_bytes
        if not extent.whole:
            # A save in the background holds a copy of everything that is saved.
            copies = found["checkpoint_bytes"] if saves_in_background(self.recipe, found["checkpoint_bytes"]) else 0
            return found | {"peak_memory_bytes": peak_memory_bytes(self.device) + copies * (self.device.type == "cpu")}
        # A run measures its peak before its first step, with matrices of up to 256 MB each on a fast GPU.
        peak_flops(self.policy)
        touch_as_a_run(self.recipe, self.dataset, self.run_steps)
        return found | self._evaluated(extent.scored_seconds) | self._with_heap(self._saved(extent))

    def _with_heap(self, saved: dict[str, Any]) -> dict[str, Any]:
        """Return the figures with the peaks of a whole run, where PyTorch's tensors are in the C library's heap."""
        if self.device.type != "cpu" or computed_in_chunks(self.recipe, self.policy):
            return saved
        peaks = [name for name in saved if name.startswith("peak_")]
        return saved | {name: grown(saved[name], self.idle_memory_bytes, self.run_steps) for name in peaks}

    def _timed_steps(self, extent: Extent) -> tuple[float, list[float], float]:
        """Return the seconds of the first step and of those that count, and the share of CPU time that this process received."""
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
        """Score as many tokens as `seconds` allow, at most those of an evaluation of the run, and generate samples."""
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
        """Return how many tokens an evaluation computes at once."""
        context = self.recipe.model.context
        return context * windows_at_once(context, self.dataset.vocabulary_size, self.device.type)

    def _scored(self, split: str, tokens: int) -> Evaluation:
        every, length = self.dataset.units(split), len(self.dataset.tokens(split))
        return evaluate_split(self.training.scoring(self.dataset), split, units=choose_units(every, length, tokens))

    def _saved(self, extent: Extent) -> dict[str, Any]:
        """Save as in a run, with a step during it where the run would take one, and load the best model at the end."""
        state = self.training.state
        saver = Saver(extent.folder, self.recipe, self.training.model, self.training.optimizer)
        started = time.perf_counter()
        saver.save(state, {})
        waited = time.perf_counter() - started
        saver.check_save(True)
        seconds = time.perf_counter() - started
        # A second save, now with a training step during it, so that copies and activations exist at the same time. The evaluation
        # after it sees the heap as left by steps, unlike the one before.
        state.step += 1
        saver.save(state, {})
        self._take_step()
        saver.check_save(True)
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
        self.training.restore_weights(checkpoint)  # as a run does at its end to score its best model
        loaded = time.perf_counter() - started
        return {**found, "load_seconds": loaded, "peak_with_earlier_best_bytes": peak_memory_bytes(self.device)}


def touch_as_a_run(recipe: Recipe, dataset: Dataset, steps: int) -> int:
    """Read the parts of the mapped files that a run of `steps` steps reads, since their pages count as this process's memory.

    At most 524,288 sequences of the training split, and the whole validation split; returns the number of sequences.
    """
    train, valid, context = dataset.tokens("train"), dataset.tokens("valid"), recipe.model.context
    count = min(steps * recipe.train.batch, MOST_SEQUENCES_TOUCHED)
    whole = training_split(recipe, dataset)
    starts, _ = training_pieces(whole, recipe.data.order, recipe.train.seed, context, 0, count)
    stride = max(1, PAGE_BYTES // train.itemsize)
    for place in range(0, context + stride, stride):
        int(train[np.minimum(starts + place, len(train) - 1)].sum(dtype=np.int64))
    int(valid[::stride].sum(dtype=np.int64))
    return count


def _marginal_rate(one: Evaluation, several: Evaluation) -> float:
    """Return the tokens a second of the longer evaluation, without the fixed cost of both."""
    tokens, seconds = several.tokens - one.tokens, several.seconds - one.seconds
    if tokens <= 0 or seconds <= 0.2 * several.seconds:
        return several.tokens / max(several.seconds, 1e-9)
    return tokens / seconds
