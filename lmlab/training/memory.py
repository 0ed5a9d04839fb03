"""The memory of a training step on a GPU by formula, and the micro-batch that fits.

Formulas and not measurements: a policy is chosen before there is a model, and a plan for a card that isn't here must choose the
same micro-batch as a run on that card. If the formula is too low, the trial before the run halves the micro-batch.
"""

from __future__ import annotations

import torch

from lmlab import LabError
from lmlab.hardware.datasheet import card_here
from lmlab.hardware.memory import total_memory_bytes
from lmlab.model.adapter_cost import adapter_parameters, frozen_copies, trained_parameters
from lmlab.model.cost import activation_bytes, block_matrices, parameters
from lmlab.model.families import family_of
from lmlab.recipe import Muon, Recipe
from lmlab.recipe.divisors import largest_divisor

FLOAT_BYTES = 4
USABLE = 0.9
"""Share of a memory: the rest is for the system, the display and the allocators' losses."""


def checkpoint_bytes(recipe: Recipe, vocabulary: int) -> int:
    """Return the bytes of weights and the optimizer's running means, float32.

    AdamW has two for each weight, Muon one for each of the blocks' matrices. Adapters and their two means come with a frozen copy
    of the matrices that they change.
    """
    total = parameters(recipe.model, vocabulary)["total"]
    if recipe.train.lora_rank:
        return (total + frozen_copies(recipe) + 3 * adapter_parameters(recipe)) * FLOAT_BYTES
    numbers = 3 * total
    if isinstance(recipe.optim, Muon):
        numbers -= block_matrices(recipe.model, vocabulary)
    return numbers * FLOAT_BYTES


def logit_bytes(recipe: Recipe, vocabulary: int, sequences: int, device_type: str) -> int:
    """Return the bytes that logits need besides the log-probabilities that are saved for backward.

    Their gradients exist at the beginning of the backward pass: those of the log-probabilities and of the logits, both float32, as
    the loss is under autocast too. Where the loss computes them in chunks, nothing is saved, and it is three times a chunk.
    """
    tokens = sequences * recipe.model.context
    chunk = family_of(recipe.model).loss_chunk(vocabulary, tokens, device_type)
    return 2 * FLOAT_BYTES * tokens * vocabulary if chunk is None else 3 * FLOAT_BYTES * chunk * vocabulary


def step_bytes(recipe: Recipe, vocabulary: int, sequences: int, element_bytes: int, device_type: str) -> int:
    """Return the bytes of a step of PyTorch with micro-batches of `sequences`: weights, gradients, optimizer, activations, logits.

    `element_bytes` is the size of the operands of matrix products: 4, or 2 under autocast.
    """
    gradients = trained_parameters(recipe, vocabulary) * FLOAT_BYTES
    saved = activation_bytes(recipe.model, vocabulary, sequences, element_bytes, device_type)
    logits = logit_bytes(recipe, vocabulary, sequences, device_type)
    return checkpoint_bytes(recipe, vocabulary) + gradients + saved + logits


def micro_batch(
    recipe: Recipe, vocabulary: int, device_type: str, memory_bytes: float, element_bytes: int
) -> tuple[int, str]:
    """Return the sequences of a micro-batch, a divisor of the batch, and why: the whole batch on a CPU, what fits on a GPU.

    `vocabulary` is the number of logits of a token, `memory_bytes` the GPU's memory.
    """
    batch, requested = recipe.train.batch, recipe.train.micro_batch
    if requested is not None:
        return requested, "requested"
    size, limit = batch, ""
    if device_type == "cuda":
        limit = f"the most that fits in {memory_bytes / 1e9:.0f} GB by formula"
        while size > 1 and step_bytes(recipe, vocabulary, size, element_bytes, device_type) > USABLE * memory_bytes:
            size = largest_divisor(batch, size - 1)
    elif device_type != "cpu":
        # Memory that the system shares with other programs: enough to keep the GPU busy, and no more.
        tokens = family_of(recipe.model).shared_gpu_pass_tokens
        limit = f"at most {tokens:,} tokens a micro-batch"
        size = largest_divisor(batch, max(1, tokens // recipe.model.context))
    return size, "the whole batch" if size == batch else limit


def device_memory_bytes(device: torch.device) -> int:
    """Return the memory of a GPU, or the main memory; 0 where unknown.

    For a GPU with a known datasheet it is at most the datasheet's, so that a plan for that card has the same figure.
    """
    if device.type != "cuda":
        return total_memory_bytes()
    total = int(torch.cuda.get_device_properties(device).total_memory)
    card = card_here(device)
    return total if card is None else min(total, int(card.memory))


def choose_sharding(recipe: Recipe, device: torch.device, vocabulary: int, element_bytes: int, ranks: int) -> bool:
    """Return whether so many processes share weights and optimizer state. LabError if they must and it's impossible."""
    setting = recipe.train.shard
    if ranks == 1 or setting == "off":
        return False
    fits = device.type != "cuda" or (
        step_bytes(recipe, vocabulary, 1, element_bytes, "cuda") <= USABLE * device_memory_bytes(device)
    )
    if setting == "auto" and fits:
        return False
    lacking = "n-gram tables aren't sharded" if getattr(recipe.model, "ngrams", ()) else ""
    if family_of(recipe.model).recurrent:
        lacking = "a recurrence uses its weights step by step"
    lacking = lacking or ("only AdamW updates parts of a matrix" if recipe.optim.kind != "adamw" else "")
    if lacking:
        raise LabError(
            f"train.shard can't be {setting} here: {lacking}; use --train.shard off, or another setting there"
        )
    return True
