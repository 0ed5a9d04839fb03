"""The recurrence of a context-propagation model, and its gradients written out.

With z_t the embedding's part of the first layer (bias included), c_0 = 0, and layers l = 2..L:

    h_1 = drop(relu(z_t + V c_t));  h_l = drop(relu(W_l h_(l-1) + b_l))
    [d, f, i] = G h_L + g, of which f and i go through a sigmoid
    c_(t+1) = clamp(LayerNorm(u_t), -10, 10)  with  u_t = f * c_t + i * d

Only what depends on c is computed in the loop over t; the embedding before it and the head behind it are products over all
tokens. Autograd would keep some forty nodes a token and add a whole matrix to every weight's gradient at each t. Here the loop
back in time makes the gradients of the layers' inputs alone, into one tensor a layer, and each weight's gradient is then one
product over batch x time. The three gates are one product.

Dropout scales what it keeps, so h > 0 says both that relu passed a number and that it was kept: no mask is stored.
Tensors are time-major. Vector, gates and norm are at least float32; the layers are of z's type.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmlab.model.dropout import dropout_factors, kept_scale
from lmlab.model.norms import EPSILON

LARGEST = 10.0
"""The context vector's numbers are held between this and its negative."""

Sequence = Float[Tensor, "time batch hidden"]
Vectors = Float[Tensor, "updates batch vector"]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the recurrence multiplies with: matrices of z's type, the norm's two vectors at least float32."""

    reading: Float[Tensor, "hidden vector"]
    """V: how the first layer reads the context vector."""
    gates: Float[Tensor, "gates hidden"]
    """G: rows of candidate, forget and input."""
    gate_bias: Float[Tensor, " gates"]
    scale: Float[Tensor, " vector"]
    shift: Float[Tensor, " vector"]
    layers: tuple[Float[Tensor, "hidden hidden"], ...]
    """W_2..W_L."""
    biases: tuple[Float[Tensor, " hidden"], ...]


@dataclass(frozen=True, kw_only=True)
class Passed:
    """A pass over a sequence: outputs, and what the way back needs of it."""

    hidden: list[Float[Tensor, "_ batch hidden"]]
    """Each layer's output; of all but the last layer only the newest step where nothing is kept."""
    vectors: Float[Tensor, "_ batch vector"]
    """c_0 and the vector after each update."""
    gates: Float[Tensor, "updates batch gates"]
    mixed: Vectors
    """u."""
    means: Float[Tensor, "updates batch 1"]
    deviations: Float[Tensor, "updates batch 1"]
    """1 / sqrt(variance + epsilon)."""


def recur(z: Sequence, weights: Weights, share: float) -> Sequence:
    """The last layer's output at each step from a vector of zeros, numbers dropped with probability `share`.

    The way that training goes: differentiable once in z and the weights.
    """
    return Recurrence.apply(z, share, *_flat(weights))


@torch.no_grad()
def run(
    z: Sequence, vector: Float[Tensor, "batch vector"], weights: Weights, share: float, updates: int, keep: bool
) -> Passed:
    """Read a sequence from `vector` on, which all `updates` = steps change, or all but the last.

    `keep`: also what the way back needs.
    """
    steps, batch, width = z.shape
    count = vector.shape[1]
    stored = updates if keep else min(1, updates)
    hidden = [z.new_empty(steps if keep else 1, batch, width) for _ in weights.layers] + [torch.empty_like(z)]
    vectors = vector.new_empty(updates + 1, batch, count)
    vectors[0] = vector
    gates, mixed = vector.new_empty(stored, batch, 3 * count), vector.new_empty(stored, batch, count)
    means, deviations = (vector.new_empty(stored, batch, 1) for _ in range(2))
    reading, opening = weights.reading.t(), weights.gates.t()
    with torch.autocast(z.device.type, enabled=False):
        for step in range(steps):
            now = vectors[step]
            factors = dropout_factors((len(hidden), batch, width), share, z) if share else None
            outputs = [layer[step % len(layer)] for layer in hidden]
            torch.addmm(z[step], now.to(z.dtype), reading, out=outputs[0])
            _finish(outputs[0], factors, 0)
            for layer, (matrix, bias) in enumerate(zip(weights.layers, weights.biases, strict=True), 1):
                torch.addmm(bias, outputs[layer - 1], matrix.t(), out=outputs[layer])
                _finish(outputs[layer], factors, layer)
            if step == updates:
                break
            place = step % stored
            gates[place] = torch.addmm(weights.gate_bias, outputs[-1], opening)
            gates[place, :, count:].sigmoid_()
            candidate, forget, admit = gates[place].chunk(3, dim=1)
            torch.mul(forget, now, out=mixed[place]).addcmul_(admit, candidate)
            normed, means[place], deviations[place] = torch.native_layer_norm(
                mixed[place], (count,), weights.scale, weights.shift, EPSILON
            )
            torch.clamp(normed, -LARGEST, LARGEST, out=vectors[step + 1])
    return Passed(hidden=hidden, vectors=vectors, gates=gates, mixed=mixed, means=means, deviations=deviations)


def _finish(output: Float[Tensor, "batch hidden"], factors: Tensor | None, layer: int) -> None:
    """relu and dropout, in place."""
    output.clamp_min_(0)
    if factors is not None:
        output.mul_(factors[layer])


class Recurrence(torch.autograd.Function):
    """`recur`: z, share, V, G, g, the norm's scale and shift, W_2..W_L, b_2..b_L -> the last layer's output."""

    @staticmethod
    def forward(context: Any, z: Tensor, share: float, *tensors: Tensor) -> Tensor:
        """All steps, forward in time. Nobody reads the vector after the last step, so there are time - 1 updates."""
        layers = (len(tensors) - SHARED) // 2
        weights = _weights(tensors, layers)
        exact = torch.promote_types(z.dtype, torch.float32)
        vector = torch.zeros(z.shape[1], weights.reading.shape[1], dtype=exact, device=z.device)
        passed = run(z, vector, weights, share, len(z) - 1, keep=True)
        context.share, context.layers = share, layers
        kept = (passed.vectors, passed.gates, passed.mixed, passed.means, passed.deviations, *passed.hidden)
        context.save_for_backward(*tensors[: SHARED + layers], *kept)
        return passed.hidden[-1]

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """All steps, back in time; then a product for each matrix."""
        saved, count = context.saved_tensors, SHARED + context.layers
        weights = _weights(saved[:count], context.layers)
        vectors, gates, mixed, means, deviations, *hidden = saved[count:]
        passed = Passed(hidden=hidden, vectors=vectors, gates=gates, mixed=mixed, means=means, deviations=deviations)
        with torch.autocast(gradient.device.type, enabled=False):
            slopes = _back(gradient, weights, passed, kept_scale(context.share, gradient))
            found = _of_weights(slopes, weights, passed)
        return (slopes.sums[0], None, *_flat(found))


@dataclass(frozen=True, kw_only=True)
class _Slopes:
    """Gradients that the way back in time makes, before those of the weights."""

    sums: list[Sequence]
    """Of what each layer's relu was given."""
    opened: Float[Tensor, "updates batch 3 vector"]
    """Of what the gates' sigmoids were given, and of the candidate."""
    normed: Vectors
    """Of the norm's output."""


def _back(gradient: Sequence, weights: Weights, passed: Passed, kept: float) -> _Slopes:
    """From the gradient of the last layer's output, the last step first; `kept` is what dropout multiplied with."""
    updates, count = len(passed.mixed), passed.vectors.shape[2]
    hidden, matrices = passed.hidden, weights.layers
    candidate, forget, admit = passed.gates.chunk(3, dim=2)
    # How u changes with each gate's sum, before any gradient is known: for all steps at once.
    slopes = torch.stack((admit, passed.vectors[:-1] * forget * (1 - forget), candidate * admit * (1 - admit)), dim=2)
    unclamped = passed.vectors[1:].abs() < LARGEST
    found = _Slopes(
        sums=[torch.empty_like(output) for output in hidden],
        opened=gradient.new_empty(updates, *slopes.shape[1:]),
        normed=torch.empty_like(passed.mixed),
    )
    sums, opened, normed = found.sums, found.opened, found.normed
    following = torch.empty(0)  # of the vector that the next step reads
    for step in range(len(gradient) - 1, -1, -1):
        if step == updates:
            slope = gradient[step] * kept
        else:
            torch.mul(following, unclamped[step], out=normed[step])
            total = torch.ops.aten.native_layer_norm_backward(
                normed[step],
                passed.mixed[step],
                [count],
                passed.means[step],
                passed.deviations[step],
                weights.scale,
                weights.shift,
                [True, False, False],
            )[0]
            torch.mul(total.unsqueeze(1), slopes[step], out=opened[step])
            slope = torch.addmm(gradient[step], opened[step].flatten(1), weights.gates, beta=kept, alpha=kept)
        for layer in range(len(hidden) - 1, -1, -1):
            _pass(slope, hidden[layer][step], sums[layer][step])
            if layer:
                slope.addmm_(sums[layer][step], matrices[layer - 1], beta=0, alpha=kept)
        if step:
            following = (sums[0][step] @ weights.reading).to(passed.vectors.dtype)
            if step < updates:
                following.addcmul_(total, forget[step])
    return found


def _of_weights(slopes: _Slopes, weights: Weights, passed: Passed) -> Weights:
    """Each weight's gradient: a product or a sum over all steps and sequences."""
    sums, hidden, opened = slopes.sums, passed.hidden, slopes.opened.flatten(2)
    scale, shift = torch.ops.aten.native_layer_norm_backward(
        slopes.normed,
        passed.mixed,
        [passed.vectors.shape[2]],
        passed.means,
        passed.deviations,
        weights.scale,
        weights.shift,
        [False, True, True],
    )[1:]
    return Weights(
        reading=_outer(sums[0], passed.vectors.to(opened.dtype)),
        gates=_outer(opened, hidden[-1][: len(opened)]),
        gate_bias=opened.sum((0, 1)),
        scale=scale,
        shift=shift,
        layers=tuple(_outer(own, inputs) for own, inputs in zip(sums[1:], hidden[:-1], strict=True)),
        biases=tuple(own.sum((0, 1)) for own in sums[1:]),
    )


def _pass(slope: Tensor, output: Tensor, into: Tensor) -> None:
    """The gradient of a layer's output, where that isn't zero."""
    torch.ops.aten.threshold_backward.grad_input(slope, output, 0, grad_input=into)


def _outer(
    gradients: Float[Tensor, "steps batch rows"], inputs: Float[Tensor, "steps batch columns"]
) -> Float[Tensor, "rows columns"]:
    """A matrix's gradient: one product over all steps and sequences."""
    return gradients.flatten(0, 1).t() @ inputs.flatten(0, 1)


SHARED = 5
"""Tensors of `Weights` before those of the layers."""


def _flat(weights: Weights) -> tuple[Tensor, ...]:
    shared = (weights.reading, weights.gates, weights.gate_bias, weights.scale, weights.shift)
    return (*shared, *weights.layers, *weights.biases)


def _weights(tensors: Iterable[Tensor], layers: int) -> Weights:
    reading, gates, gate_bias, scale, shift, *rest = tensors
    return Weights(
        reading=reading,
        gates=gates,
        gate_bias=gate_bias,
        scale=scale,
        shift=shift,
        layers=tuple(rest[:layers]),
        biases=tuple(rest[layers:]),
    )
