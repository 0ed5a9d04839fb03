"""The trial of a training that is about to start here: a stored one, or steps in a child process, or in this one."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from typing import Any

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.hardware.memory import (
    OutOfMemory,
    held_memory_bytes,
    is_out_of_memory,
    peak_memory_bytes,
    release_device_memory,
    release_freed_memory,
)
from lmlab.planning.trials.child import OUT_OF_MEMORY, Measurement, measure, trial_folder
from lmlab.planning.trials.from_arithmetic import counted_trial
from lmlab.planning.trials.from_layers import expected_step_seconds
from lmlab.planning.trials.peaks import peak_flops
from lmlab.planning.trials.stored_trials import keep_trial, kept_trial
from lmlab.planning.trials.trial import Extent, Trial
from lmlab.recipe import Recipe
from lmlab.recipe.extensions import known_only_here
from lmlab.training.compiling import FAILED, CompilationFailed
from lmlab.training.policy import Policy

TIMED_STEPS = 8


PROBE_SECONDS = 2.0
"""Total time after which no further step is timed."""


LONG_STEP_SECONDS = 0.5
"""A step that is expected to take longer isn't timed eight times before a run."""


LONGEST_WHOLE_SECONDS = 2.0
"""Step time above which only two steps are tried."""


NOTICE = "trying some steps, an evaluation and a checkpoint for the forecast (once) ..."


def try_here(
    recipe: Recipe,
    policy: Policy,
    dataset: Dataset,
    say: Callable[[str], object] | None = None,
    idle_bytes: int | None = None,
) -> Measurement:
    """Return the stored trial of this training; without one, run a trial, a small one where a step is long, and store it.

    On a CPU it runs in a child process: memory that it leaves in the heap would add to the run's peak. `say` is called with a line
    before a trial, which takes seconds. `idle_bytes` is what this process held before it computed anything (None: what it holds
    now).
    """
    trial = kept_trial(recipe, policy, dataset)
    if trial is None and policy.sharded:
        if say is not None:
            say("no step is tried, since the model may not fit into one process: the forecast rests on arithmetic")
        return counted_trial(recipe, policy, dataset.vocabulary_size, peak_flops(policy))
    if trial is None:
        if say is not None:
            say(NOTICE)
        share, alone = _share(recipe, policy)
        if policy.ranks > 1 and say is not None:
            say(f"one process's share of a batch is timed; exchanging gradients between {policy.ranks} isn't included")
        expected = expected_step_seconds(share, dataset.vocabulary_size, share.train.batch, peak_flops(alone))
        # Without an evaluation and a checkpoint the peak of memory would be up to a third too low.
        whole = expected < LONGEST_WHOLE_SECONDS
        steps = TIMED_STEPS if expected < LONG_STEP_SECONDS else 1
        apart = policy.device == "cpu" and not policy.compile and not known_only_here(recipe)
        trial = (_tried_apart if apart else _tried_inside)(share, alone, dataset, steps, whole)
        trial = dataclasses.replace(trial, micro_batch=policy.micro_batch, batch=recipe.train.batch)
        keep_trial(trial, recipe, policy, dataset)
        if not apart:
            # Its compiled steps are reused by the run, whose first one takes no longer than the others.
            return dataclasses.replace(trial, first_step_seconds=0.0)
    release_freed_memory()
    return in_this_process(trial, policy, idle_bytes)


def _share(recipe: Recipe, policy: Policy) -> tuple[Recipe, Policy]:
    """Return the recipe and policy of one process's share of a batch, computed alone."""
    if policy.ranks == 1:
        return recipe, policy
    batch = -(-recipe.train.batch // policy.ranks)
    train = dataclasses.replace(recipe.train, batch=batch, micro_batch=None)
    alone = dataclasses.replace(policy, ranks=1, micro_batch=min(policy.micro_batch, batch))
    return dataclasses.replace(recipe, train=train), alone


def _tried_apart(recipe: Recipe, policy: Policy, dataset: Dataset, steps: int, whole: bool) -> Measurement:
    """Run a trial in a child process; LabError where the training can't run here."""
    options: dict[str, Any] = {"steps": steps, "seconds": PROBE_SECONDS, "whole": whole, "put_back": False}
    found = measure(recipe, policy, dataset.folder, **options)
    if found.was_too_long:
        return counted_trial(recipe, policy, dataset.vocabulary_size, peak_flops(policy))
    if found.failed is not None:
        raise refusal(found.failed)
    return found


def _tried_inside(recipe: Recipe, policy: Policy, dataset: Dataset, steps: int, whole: bool) -> Measurement:
    """Run a trial in this process, whose compiled steps and memory on a GPU the run reuses. OutOfMemory where it runs out."""
    found = None
    with trial_folder() as work:
        extent = Extent(
            steps=steps,
            seconds=PROBE_SECONDS,
            whole=whole,
            put_back=False,  # most runs don't, and memory that a trial holds here adds to the run's own peak
            folder=work.path,
        )
        try:
            found = Trial(recipe, policy, dataset).go(extent, _nothing)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
    # Its model and buffers are in reference cycles, or in the traceback of an error that is gone here; the run needs their memory.
    gc.collect()
    release_freed_memory()
    # On a GPU too, so that the run's peak is its own.
    release_device_memory(policy.torch_device)
    if found is None:
        raise refusal(OUT_OF_MEMORY)
    return Measurement(micro_batch=policy.micro_batch, batch=recipe.train.batch, **found)


def refusal(failed: str) -> LabError:
    """Return the error for a failed trial."""
    if failed.startswith(FAILED):
        return CompilationFailed(failed)
    return (OutOfMemory if failed == OUT_OF_MEMORY else LabError)(
        f"this training can't be run here: {failed}; try a smaller train.micro_batch, model.width or model.context"
    )


def in_this_process(trial: Measurement, policy: Policy, idle_bytes: int | None = None) -> Measurement:
    """Convert a trial of another process to the peak of memory of a run in this one.

    The training's own part is the trial's; it is added to what this process holds: `idle_bytes` (None: what it holds now).
    """
    device = policy.torch_device
    idle = held_memory_bytes(device) if idle_bytes is None else idle_bytes
    earlier = peak_memory_bytes(device)
    if not idle or not trial.idle_memory_bytes:  # the system doesn't report it
        return trial

    def here(peak: int) -> int:
        return max(earlier, idle + peak - trial.idle_memory_bytes) if peak else 0

    return dataclasses.replace(
        trial,
        idle_memory_bytes=idle,
        earlier_peak_bytes=earlier,
        peak_memory_bytes=here(trial.peak_memory_bytes),
        peak_with_earlier_best_bytes=here(trial.peak_with_earlier_best_bytes),
    )


def _nothing() -> None:
    """Do nothing when the trial's first step begins."""
