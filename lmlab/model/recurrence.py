"""The forward pass of a context-propagation model's recurrence.

With z_t the embedding's part of the first layer (bias included), c_0 = 0, and layers l = 2..L:

    h_1 = drop(relu(z_t + V c_t));  h_l = drop(relu(W_l h_(l-1) + b_l))
    [d, f, i] = G o_t + g, with f and i followed by a sigmoid, and o_t = h_L
    c_(t+1) = clamp(LayerNorm(u_t), -10, 10)  with  u_t = f * c_t + i * d

With residuals each layer adds a_l to a residual stream, and reads it divided by its root mean square (RMSNorm n without weights):

    a_1 = drop(relu(z_t + V c_t));  a_l = drop(relu(W_l n(a_1 + .. + a_(l-1)) + b_l));  o_t = n(a_1 + .. + a_L)

Only operations that depend on c are in the loop over t; the embedding before it and the head after it are products over all
tokens. The three gates are one product. The backward pass is in `recurrence_gradient.py`.

No dropout mask is saved: h > 0 (or a > 0) is true exactly where relu's input was positive and dropout kept the number. Tensors are
time-major. Context vector, gates and norm are at least float32; the layers have z's dtype.

The loop is PyTorch's here, or the native engine's kernel (`lmlab/native/source/recurrence_forward.h`) where one is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lmlab.model.dropout import dropout_factors
from lmlab.model.norms import EPSILON, rms_norm
from lmlab.native.recurrence import RecurrenceKernel, Workspace

LARGEST = 10.0
"""The context vector is clamped to [-LARGEST, LARGEST]."""

Sequence = Float[Tensor, "time batch hidden"]
Vectors = Float[Tensor, "updates batch vector"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Settings of a time step."""

    dropout: float
    """Dropout probability."""
    residual: bool
    """Whether the layers have a residual stream."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of the recurrence: matrices have z's dtype, the norm's two vectors are at least float32."""

    reading: Float[Tensor, "hidden vector"]
    """V: the first layer's matrix for the context vector."""
    gates: Float[Tensor, "gates hidden"]
    """G: rows of candidate, forget gate and input gate."""
    gate_bias: Float[Tensor, " gates"]
    scale: Float[Tensor, " vector"]
    shift: Float[Tensor, " vector"]
    layers: tuple[Float[Tensor, "hidden hidden"], ...]
    """W_2..W_L."""
    biases: tuple[Float[Tensor, " hidden"], ...]


@dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """Outputs of a forward pass, and the tensors saved for backward."""

    top: Sequence
    """o: the input of gates and head."""
    lower: Float[Tensor, "layers _ batch hidden"]
    """h of all layers but the last, or with residuals a of all layers; only of the last step if nothing is saved for backward."""
    vectors: Float[Tensor, "_ batch vector"]
    """c_0 and the context vector after each update."""
    gates: Float[Tensor, "updates batch gates"]
    mixed: Vectors
    """u."""
    means: Float[Tensor, "updates batch 1"]
    deviations: Float[Tensor, "updates batch 1"]
    """1 / sqrt(variance + epsilon)."""
    workspace: Workspace | None = None
    """The kernel's memory that holds all tensors but `top`; None if PyTorch computed them."""


@torch.no_grad()
def run(
    z: Sequence,
    vector: Float[Tensor, "batch vector"],
    weights: Weights,
    cell: Cell,
    updates: int,
    keep: bool,
    kernel: RecurrenceKernel | None = None,
) -> ForwardPass:
    """Compute the recurrence over a sequence, starting with the context vector `vector`.

    `updates` is the number of updates of the vector: that of steps, or one less, without the update after the last step. With
    `keep`, tensors are saved for backward. `kernel` computes the pass instead of PyTorch; it needs float32 on the CPU. Dropout is
    drawn from torch's global generator.
    """
    steps, batch, width = z.shape
    count, stored = vector.shape[1], updates if keep else min(1, updates)
    shapes = {
        "lower": (len(weights.layers) + cell.residual, steps if keep else 1, batch, width),
        "vectors": (updates + 1, batch, count),
        "gates": (stored, batch, 3 * count),
        "mixed": (stored, batch, count),
        "means": (stored, batch, 1),
        "deviations": (stored, batch, 1),
    }
    workspace = None if kernel is None else kernel.workspace(shapes)
    like = {"lower": z}
    tensors = (
        workspace.tensors if workspace else {name: like.get(name, vector).new_empty(shapes[name]) for name in shapes}
    )
    passed = ForwardPass(top=torch.empty_like(z), **tensors, workspace=workspace)
    passed.vectors[0] = vector
    if kernel is None:
        _loop(z, weights, cell, keep, passed)
    else:
        seed = int(torch.empty((), dtype=torch.int64).random_()) if cell.dropout else 0
        kernel.forward(z.contiguous(), vars(weights), vars(passed), cell.residual, cell.dropout, seed, keep)
    return passed


def _loop(z: Sequence, weights: Weights, cell: Cell, keep: bool, passed: ForwardPass) -> None:
    """Fill `passed`, whose first vector is already set."""
    top, lower, vectors, gates, mixed = passed.top, passed.lower, passed.vectors, passed.gates, passed.mixed
    steps, batch, width = z.shape
    updates, count, later = len(vectors) - 1, vectors.shape[2], len(weights.layers)
    reading, opening = weights.reading.t(), weights.gates.t()
    layers = [(matrix.t(), bias) for matrix, bias in zip(weights.layers, weights.biases, strict=True)]
    with torch.autocast(z.device.type, enabled=False):
        for step in range(steps):
            now = vectors[step]
            factors = dropout_factors((later + 1, batch, width), cell.dropout, z).unbind() if cell.dropout else None
            outputs = [*lower[:, step if keep else 0].unbind(), top[step]]
            torch.addmm(z[step], now.to(z.dtype), reading, out=outputs[0])
            _finish(outputs[0], factors, 0)
            stream = outputs[0].to(vectors.dtype, copy=True) if cell.residual else None
            for layer, (matrix, bias) in enumerate(layers, 1):
                read = outputs[layer - 1] if stream is None else rms_norm(stream).to(z.dtype)
                torch.addmm(bias, read, matrix, out=outputs[layer])
                _finish(outputs[layer], factors, layer)
                if stream is not None:
                    stream += outputs[layer]
            if stream is not None:
                top[step] = rms_norm(stream)
            if step == updates:
                break
            place = step if keep else 0
            gates[place] = torch.addmm(weights.gate_bias, outputs[-1], opening)
            gates[place, :, count:].sigmoid_()
            candidate, forget, admit = gates[place].chunk(3, dim=1)
            torch.mul(forget, now, out=mixed[place]).addcmul_(admit, candidate)
            normed, passed.means[place], passed.deviations[place] = torch.native_layer_norm(
                mixed[place], (count,), weights.scale, weights.shift, EPSILON
            )
            torch.clamp(normed, -LARGEST, LARGEST, out=vectors[step + 1])


def _finish(output: Float[Tensor, "batch hidden"], factors: tuple[Tensor, ...] | None, layer: int) -> None:
    """Apply relu and dropout in place."""
    output.clamp_min_(0)
    if factors is not None:
        output.mul_(factors[layer])
