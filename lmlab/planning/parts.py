"""Where a training's memory goes, by part, for each micro-batch.

Weights, gradients, optimizer and logits are counted; what the forward pass keeps is the model's own formula where PyTorch
computes, and what was measured where the native engine computes whole steps, working through a batch in chunks of which it
keeps little.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lmlab.model import activation_bytes, parameters
from lmlab.model.cost import block_matrices
from lmlab.model.native import computes_whole_step
from lmlab.recipe import Muon, Recipe
from lmlab.training.policy import Policy

FLOAT_BYTES = 4
HALF_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class MemoryParts:
    """Bytes at one micro-batch. Together they are `peak`."""

    micro_batch: int
    program: int
    """Python, PyTorch and lmlab, before there is a model."""
    weights: int
    gradients: int
    """As many sets as `gradient_sets` says."""
    optimizer: int
    activations: int
    """What the forward pass keeps for the backward pass, without the logits."""
    logits: int
    workspace: int
    """The rest of what was measured: buffers, what the allocator holds, what evaluation and saving take."""
    peak: int

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def checkpoint_bytes(recipe: Recipe, vocabulary: int) -> int:
    """Weights and the optimizer's running means, float32.

    AdamW has two for each weight, Muon one for each of the blocks' matrices.
    """
    numbers = 3 * parameters(recipe.model, vocabulary)["total"]
    if isinstance(recipe.optim, Muon):
        numbers -= block_matrices(recipe.model, vocabulary)
    return numbers * FLOAT_BYTES


def computed_in_chunks(recipe: Recipe, policy: Policy) -> bool:
    """Whether nothing of a batch is kept as a whole: the native engine computes the step, and not a recurrence alone."""
    return policy.engine == "native" and computes_whole_step(recipe.model)


def gradient_sets(recipe: Recipe, policy: Policy) -> int:
    """How many times the gradients are held: by each thread of the native engine, and by PyTorch where it has a part."""
    if policy.engine != "native":
        return 1
    return policy.threads if computes_whole_step(recipe.model) else policy.threads + 1


def memory_parts(
    recipe: Recipe, policy: Policy, vocabulary: int, micro_batch: int, checkpoint: int, program: int, peak: int
) -> MemoryParts:
    """The parts of a measured or expected `peak` at this micro-batch.

    `checkpoint` are the bytes of weights and optimizer, `program` those that the process holds before there is a model.
    """
    count = parameters(recipe.model, vocabulary)["total"]
    in_chunks = computed_in_chunks(recipe, policy)
    element = HALF_BYTES if policy.autocast_dtype is not None else FLOAT_BYTES
    tokens = micro_batch * recipe.model.context
    # float32 log-probabilities, which the loss keeps; the native engine holds those of a chunk only.
    logits = 0 if in_chunks else tokens * vocabulary * FLOAT_BYTES
    kept = (
        0 if in_chunks else activation_bytes(recipe.model, vocabulary, micro_batch, element, policy.torch_device.type)
    )
    known = {
        "program": program,
        "weights": count * FLOAT_BYTES,
        "gradients": count * FLOAT_BYTES * gradient_sets(recipe, policy),
        "optimizer": max(0, checkpoint - count * FLOAT_BYTES),
        "activations": max(0, kept - logits),
        "logits": logits,
    }
    return MemoryParts(micro_batch=micro_batch, **known, workspace=max(0, peak - sum(known.values())), peak=peak)
