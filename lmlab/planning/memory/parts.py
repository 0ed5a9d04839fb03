"""The memory of a training, by part, for each micro-batch.

Weights, gradients, optimizer and logits are counted. Activations follow the model's own formula where PyTorch computes, and are
measured where the native engine computes whole steps, which processes a batch in chunks and saves little of it for backward.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lmlab.model.adapter_cost import trained_parameters
from lmlab.model.cost import activation_bytes, parameters
from lmlab.model.families import family_of
from lmlab.recipe import Recipe
from lmlab.training.memory import FLOAT_BYTES, logit_bytes
from lmlab.training.policy import Policy


@dataclass(frozen=True, kw_only=True)
class MemoryParts:
    """Bytes at one micro-batch, which add up to `peak`."""

    micro_batch: int
    program: int
    """Python, PyTorch and lmlab, before there is a model."""
    weights: int
    gradients: int
    """In `gradient_sets` copies."""
    optimizer: int
    """With low-rank adapters also these, and the frozen matrices beside the merged ones."""
    activations: int
    """Activations saved for backward, without the logits."""
    logits: int
    """Log-probabilities and their gradients."""
    workspace: int
    """The rest of the measured peak: buffers, the allocator's reserve, evaluation and saving."""
    peak: int

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return asdict(self)


def computed_in_chunks(recipe: Recipe, policy: Policy) -> bool:
    """Return whether no activations of a whole batch are saved: the native engine computes the step, and not only a recurrence."""
    return policy.engine == "native" and family_of(recipe.model).engine_computes_step


def gradient_sets(recipe: Recipe, policy: Policy) -> int:
    """Return how many copies of the gradients exist: one per thread of the native engine, and PyTorch's where it computes a
    part."""
    if policy.engine != "native":
        return 1
    return policy.threads if family_of(recipe.model).engine_computes_step else policy.threads + 1


def memory_parts(
    recipe: Recipe, policy: Policy, vocabulary: int, micro_batch: int, checkpoint: int, program: int, peak: int
) -> MemoryParts:
    """Return the parts of a measured or expected `peak` at this micro-batch.

    `checkpoint` is the size of weights and optimizer, `program` what the process holds before there is a model.
    """
    count = parameters(recipe.model, vocabulary)["total"]
    in_chunks = computed_in_chunks(recipe, policy)
    element = policy.element_bytes
    tokens = micro_batch * recipe.model.context
    device = policy.torch_device.type
    # float32 log-probabilities, saved by the loss unless it computes them in chunks, as the native engine does too.
    chunked = in_chunks or family_of(recipe.model).loss_chunk(vocabulary, tokens, device) is not None
    saved_logits = 0 if chunked else tokens * vocabulary * FLOAT_BYTES
    more_logits = 0 if in_chunks else logit_bytes(recipe, vocabulary, micro_batch, device)
    kept = 0 if in_chunks else activation_bytes(recipe.model, vocabulary, micro_batch, element, device)
    known = {
        "program": program,
        "weights": count * FLOAT_BYTES,
        "gradients": trained_parameters(recipe, vocabulary) * FLOAT_BYTES * gradient_sets(recipe, policy),
        "optimizer": max(0, checkpoint - count * FLOAT_BYTES),
        "activations": max(0, kept - saved_logits),
        "logits": saved_logits + more_logits,
    }
    return MemoryParts(micro_batch=micro_batch, **known, workspace=max(0, peak - sum(known.values())), peak=peak)
