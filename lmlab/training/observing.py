"""A look into the model at one batch: the loss of each sequence, and the norms of gradients and activations by layer.

PyTorch computes it, on the weights as they are, without dropout, and touches neither the weights nor their gradients. It costs a
step or two, so it is for the rare step that needs explaining.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmlab.model import ContextModel, GPTModel, TrainableModel
from lmlab.model.loss import IGNORED, token_losses
from lmlab.training.policy import Policy

OTHERS = "embeddings and head"
TOKENS_AT_ONCE = 256
"""On a CPU, whose engine needs less memory than PyTorch: a look at the whole batch would be the peak of a small training."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What one batch does to the model."""

    sequence_losses: tuple[float, ...]
    """Mean nats a token of each sequence."""
    gradient_norms: dict[str, float]
    """Of the mean loss over the batch, by layer."""
    activation_rms: dict[str, float]
    """Root mean square of what each layer adds up to, by layer."""


def observe(model: TrainableModel, policy: Policy, inputs: np.ndarray, targets: np.ndarray) -> Observation:
    """Look at a batch, int64 [batch, time] both, in micro-batches of the policy, on a CPU of TOKENS_AT_ONCE at most."""
    device, dtype = policy.torch_device, policy.autocast_dtype
    # They share their memory with the weights, and add up gradients of their own.
    leaves = {
        name: weights.detach().requires_grad_() for name, weights in model.named_parameters() if weights.requires_grad
    }
    squares: dict[str, list[tuple[float, int]]] = {}
    losses: list[float] = []
    counted = max(1, int(np.count_nonzero(targets != IGNORED)))
    arithmetic = torch.autocast(device.type, dtype=dtype) if dtype is not None else contextlib.nullcontext()
    watched = _hooked(model, squares) if isinstance(model, GPTModel) else contextlib.nullcontext()
    at_once = policy.micro_batch
    if device.type == "cpu":
        at_once = min(at_once, max(1, TOKENS_AT_ONCE // inputs.shape[1]))
    with _evaluating(model), watched, torch.enable_grad():
        for first in range(0, len(inputs), at_once):
            rows = slice(first, first + at_once)
            with arithmetic:
                tokens = torch.from_numpy(inputs[rows]).to(device)
                wanted = torch.from_numpy(targets[rows]).to(device)
                nats = token_losses(torch.func.functional_call(model, leaves, (tokens,)), wanted)
                if isinstance(model, ContextModel):
                    for layer, output in model.layer_outputs(tokens).items():
                        _note(squares, layer, output)
            losses += (nats.detach().sum(dim=1) / (wanted != IGNORED).sum(dim=1).clamp(min=1)).tolist()
            torch.autograd.backward(nats.sum() / counted)
    return Observation(
        sequence_losses=tuple(losses),
        gradient_norms=_by_layer({name: leaf.grad for name, leaf in leaves.items()}),
        # Sums and counts: the last part of a batch may be a smaller one.
        activation_rms={name: float(np.sqrt(np.divide(*np.sum(values, axis=0)))) for name, values in squares.items()},
    )


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to, as people count: block 1 is the first.

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
        own = 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) ** 2
        squares[layer] = squares.get(layer, 0.0) + own
    return {layer: total**0.5 for layer, total in squares.items()}


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; after that each of its modules as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def _hooked(model: GPTModel, squares: dict[str, list[tuple[float, int]]]) -> Iterator[None]:
    """Each layer's mean square output is noted a forward pass."""

    def note(layer: str) -> object:
        def hook(module: nn.Module, taken: object, given: object) -> None:
            output = given[0] if isinstance(given, tuple) else given
            assert isinstance(output, Tensor)
            _note(squares, layer, output)

        return hook

    watched = {"embedding": model.embedding, "final norm": model.norm}
    watched |= {f"block {number}": block for number, block in enumerate(model.blocks, 1)}
    handles = [module.register_forward_hook(note(layer)) for layer, module in watched.items()]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _note(squares: dict[str, list[tuple[float, int]]], layer: str, output: Tensor) -> None:
    squares.setdefault(layer, []).append((float(output.detach().double().square().sum()), output.numel()))
