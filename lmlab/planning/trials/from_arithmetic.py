"""The cost of a training by arithmetic alone, where its steps are too long to be timed."""

from __future__ import annotations

from lmlab.hardware.memory import held_memory_bytes
from lmlab.model.cost import activation_bytes, parameters
from lmlab.planning.memory.parts import computed_in_chunks, gradient_sets
from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.from_layers import USUAL_UTILISATION, expected_step_seconds
from lmlab.recipe import Recipe
from lmlab.training.evaluating import TRAINING_STEP_IN_FORWARDS
from lmlab.training.memory import FLOAT_BYTES, checkpoint_bytes, logit_bytes
from lmlab.training.policy import Policy
from lmlab.training.saving import saves_in_background

DISK_BYTES_A_SECOND = 300e6
"""Throughput of writing a checkpoint and reading it back."""


def counted_trial(recipe: Recipe, policy: Policy, vocabulary: int, peak_flops: float) -> Measurement:
    """Return the figures of a trial of `recipe` by arithmetic: time at the usual share of `peak_flops`, bytes as counted."""
    train, device = recipe.train, policy.torch_device
    step = expected_step_seconds(recipe, vocabulary, train.batch, peak_flops)
    checkpoint = checkpoint_bytes(recipe, vocabulary)
    weights = FLOAT_BYTES * parameters(recipe.model, vocabulary)["total"]
    kept, passes, element = 0, policy.micro_batch, policy.element_bytes
    if not computed_in_chunks(recipe, policy):
        kept = activation_bytes(recipe.model, vocabulary, passes, element, device.type)
        kept += logit_bytes(recipe, vocabulary, passes, device.type)
    # Of several processes each holds a part of what it doesn't compute anew.
    parts = policy.ranks if policy.sharded else 1
    copies = checkpoint if device.type == "cpu" and saves_in_background(recipe, checkpoint) else 0
    idle = held_memory_bytes(device)
    saving = checkpoint / DISK_BYTES_A_SECOND
    return Measurement(
        micro_batch=policy.micro_batch,
        batch=train.batch,
        step_seconds=(step,),
        first_step_seconds=step,
        forward_tokens_per_second=TRAINING_STEP_IN_FORWARDS * train.batch * recipe.model.context / step,
        save_seconds=saving,
        save_wait_seconds=0.0 if copies else saving,
        checkpoint_bytes=checkpoint,
        idle_memory_bytes=idle,
        peak_memory_bytes=idle + (checkpoint + weights * gradient_sets(recipe, policy)) // parts + kept + copies,
        counted=True,
    )


def counted_words() -> str:
    """Return the basis of such a time, in words."""
    return f"arithmetic at {USUAL_UTILISATION:.0%} of the measured peak; no step was timed, since one takes too long"
