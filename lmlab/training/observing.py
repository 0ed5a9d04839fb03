"""Diagnostics of the model on one batch: the loss of each sequence, and gradient norms and activation RMS by layer.

Computed by PyTorch with the current weights and without dropout; neither the weights nor their `grad` change. It costs as much as
one or two training steps, so it is for single steps, such as spikes.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmlab.model.loss import IGNORED, token_losses
from lmlab.model.trainable import TrainableModel
from lmlab.training.policy import Policy

OTHERS = "embeddings and head"
TOKENS_AT_ONCE = 256
"""Tokens of a micro-batch on a CPU, at most: PyTorch needs more memory than the native engine, so that observing the whole batch
would set the peak memory of a small training."""
PARTS_OF_A_MICRO_BATCH = 4
"""On a GPU, which a training may fill: observing needs its own gradients and the outputs of layers beside what training holds."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Losses, gradient norms and activations of the model on one batch."""

    sequence_losses: tuple[float, ...]
    """Mean nats a token of each sequence."""
    gradient_norms: dict[str, float]
    """L2 norm of the gradient of the mean loss over the batch, by layer."""
    activation_rms: dict[str, float]
    """Root mean square of each layer's output."""


def observe(model: TrainableModel, policy: Policy, inputs: np.ndarray, targets: np.ndarray) -> Observation:
    """Return the diagnostics of a batch (both int64 [batch, time]), in parts of the policy's micro-batches."""
    device, dtype = policy.torch_device, policy.autocast_dtype
    # They share the weights' memory, but accumulate gradients of their own; weights that adapters change have them too.
    leaves = {name: weights.detach().requires_grad_() for name, weights in model.named_parameters()}
    squares: dict[str, list[tuple[float, int]]] = {}
    losses: list[float] = []
    counted = max(1, int(np.count_nonzero(targets != IGNORED)))
    arithmetic = torch.autocast(device.type, dtype=dtype) if dtype is not None else contextlib.nullcontext()
    watched = _hooked(model.watched_modules(), squares)
    if device.type == "cpu":
        at_once = min(policy.micro_batch, max(1, TOKENS_AT_ONCE // inputs.shape[1]))
    else:
        at_once = max(1, policy.micro_batch // PARTS_OF_A_MICRO_BATCH)
    with _evaluating(model), watched, torch.enable_grad():
        for first in range(0, len(inputs), at_once):
            rows = slice(first, first + at_once)
            with arithmetic:
                tokens = torch.from_numpy(inputs[rows]).to(device)
                wanted = torch.from_numpy(targets[rows]).to(device)
                nats = token_losses(torch.func.functional_call(model, leaves, (tokens,)), wanted)
                for layer, output in model.layer_outputs(tokens).items():
                    _note(squares, layer, output)
            losses += (nats.detach().sum(dim=1) / (wanted != IGNORED).sum(dim=1).clamp(min=1)).tolist()
            torch.autograd.backward(nats.sum() / counted)
    return Observation(
        sequence_losses=tuple(losses),
        gradient_norms=_by_layer({name: leaf.grad for name, leaf in leaves.items()}),
        # Sums and counts, because the last micro-batch may be smaller.
        activation_rms={name: float(np.sqrt(np.divide(*np.sum(values, axis=0)))) for name, values in squares.items()},
    )


def layer_of(name: str) -> str:
    """Return the name of the layer that a parameter belongs to; blocks are counted from 1.

    >>> layer_of("blocks.0.mlp.up.weight"), layer_of("embedding.weight")
    ('block 1', 'embeddings and head')
    """
    parts = name.split(".")
    if parts[0] == "blocks":
        return f"block {int(parts[1]) + 1}"
    return "gates" if parts[0] == "gates" else OTHERS


def _by_layer(gradients: dict[str, Float[Tensor, "..."] | None]) -> dict[str, float]:
    squares: dict[str, float] = {}
    for name, gradient in gradients.items():
        layer = layer_of(name)
        own = 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient, dtype=_exact(gradient))) ** 2
        squares[layer] = squares.get(layer, 0.0) + own
    return {layer: total**0.5 for layer, total in squares.items()}


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Set the model to evaluation mode; on exit restore the mode of each module."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def _hooked(watched: Mapping[str, nn.Module], squares: dict[str, list[tuple[float, int]]]) -> Iterator[None]:
    """Add the sum of squares and the size of each watched module's output to `squares` in each forward pass."""

    def note(layer: str) -> object:
        def hook(module: nn.Module, taken: object, given: object) -> None:
            output = given[0] if isinstance(given, tuple) else given
            assert isinstance(output, Tensor)
            _note(squares, layer, output)

        return hook

    handles = [module.register_forward_hook(note(layer)) for layer, module in watched.items()]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _note(squares: dict[str, list[tuple[float, int]]], layer: str, output: Tensor) -> None:
    total = float(output.detach().to(_exact(output)).square().sum())
    squares.setdefault(layer, []).append((total, output.numel()))


def _exact(tensor: Tensor) -> torch.dtype:
    """Return the dtype of sums: float64 on a CPU; float32 elsewhere, where float64 is slow, or missing as on MPS."""
    return torch.float64 if tensor.device.type == "cpu" else torch.float32
