"""The explicit backward pass of a recurrence: the gradients of `recurrence.py`, in a fraction of autograd's time.

    gradient of the last layer's output -> [a chunk of steps back in time -> its part of each weight's gradient], repeated

Autograd would record some forty nodes per token, and add a whole matrix to every weight's gradient at each step. Here the loop
back in time computes the gradients of each relu's input, and a weight's gradient is a product over a chunk of as many steps and
sequences as use the processor well. Buffers hold one chunk only, so that they stay in a CPU's cache, and for a large batch the
backward pass needs little more memory than the forward pass. The native engine's kernel does the same, for each thread's rows
separately (`lmlab/native/source/recurrence_backward.h`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmlab.model.dropout import kept_scale
from lmlab.model.norms import EPSILON
from lmlab.model.recurrence import LARGEST, Cell, ForwardPass, Sequence, Weights, run
from lmlab.native.recurrence import RecurrenceKernel

ROWS_AT_ONCE = {"cpu": 512}
"""Approximate number of rows (steps x sequences) in one product for a weight's gradient."""
ROWS_AT_ONCE_ON_A_GPU = 1 << 16
SHARED = 5
"""Number of tensors of `Weights` before those of the layers."""


def recur(z: Sequence, weights: Weights, cell: Cell, kernel: RecurrenceKernel | None = None) -> Sequence:
    """Return the input of gates and head at each step, starting with a context vector of zeros; used in training.

    Differentiable once, in z and the weights. `kernel` computes forward and backward pass instead of PyTorch.
    """
    found: Sequence = Recurrence.apply(z, cell, kernel, *_flat(weights))  # type: ignore[no-untyped-call]
    return found


class Recurrence(torch.autograd.Function):
    """The autograd function of `recur`: z, cell, kernel, V, G, g, norm's scale and shift, W_2..W_L, b_2..b_L -> o."""

    @staticmethod
    def forward(context: Any, z: Tensor, cell: Cell, kernel: RecurrenceKernel | None, *tensors: Tensor) -> Tensor:
        """Return o of all steps. There is one update less than steps, because the vector after the last step isn't used."""
        layers = (len(tensors) - SHARED) // 2
        weights = _weights(tensors, layers)
        exact = torch.promote_types(z.dtype, torch.float32)
        vector = torch.zeros(z.shape[1], weights.reading.shape[1], dtype=exact, device=z.device)
        passed = run(z, vector, weights, cell, len(z) - 1, keep=True, kernel=kernel)
        context.cell, context.layers, context.kernel = cell, layers, kernel
        kept = {name: value for name, value in vars(passed).items() if name != "top"}
        if kernel is not None:
            # The kernel's memory is private, so autograd needn't check it for in-place changes.
            context.kept, kept = kept, {}
        context.names = [name for name, value in kept.items() if value is not None]
        context.save_for_backward(*tensors[: SHARED + layers], passed.top, *(kept[name] for name in context.names))
        return passed.top

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of z and of the weights."""
        saved, count = context.saved_tensors, SHARED + context.layers
        weights = _weights(saved[:count], context.layers)
        top, *rest = saved[count:]
        kept = dict(zip(context.names, rest, strict=True)) if context.kernel is None else context.kept
        passed = ForwardPass(top=top, **kept)
        if context.kernel is not None:
            z, found = torch.empty_like(top), _like(weights, top.dtype, torch.empty)
            cell = context.cell
            context.kernel.backward(
                gradient.contiguous(), vars(weights), vars(passed), cell.residual, cell.dropout, z, vars(found)
            )
            return (z, None, None, *_flat(found))
        with torch.autocast(gradient.device.type, enabled=False):
            z, found = BackwardPass(gradient, weights, passed, context.cell).run()
        return (z, None, None, *_flat(found))


class BackwardPass:
    """Computes the gradients of a forward pass, given that of the input of gates and head."""

    def __init__(self, gradient: Sequence, weights: Weights, passed: ForwardPass, cell: Cell) -> None:
        self.gradient, self.weights, self.passed, self.cell = gradient, weights, passed, cell
        self.kept = kept_scale(cell.dropout, gradient)
        """Dropout's factor of the numbers that it kept."""
        steps, batch, _ = gradient.shape
        rows = ROWS_AT_ONCE.get(gradient.device.type, ROWS_AT_ONCE_ON_A_GPU)
        size = self.size = min(steps, max(1, rows // batch))
        count = passed.vectors.shape[2]
        self.first = torch.empty_like(passed.top)
        """Gradient of the first layer's relu input, which is that of z, of all steps."""
        self.later = gradient.new_empty(len(weights.layers), size, *gradient.shape[1:])
        """Gradient of the other layers' relu inputs; this buffer and the next three hold a chunk of `size` steps."""
        self.read = torch.empty_like(self.later) if cell.residual else None
        """With residuals, the inputs of those layers; else None."""
        self.opened = gradient.new_empty(size, batch, 3, count)
        """Gradient of the candidate and of the inputs of the gates' sigmoids."""
        self.normed = passed.mixed.new_empty(size, batch, count)
        """Gradient of the norm's output."""
        self.following = passed.mixed.new_zeros(batch, count)
        """Gradient of the vector that the next step reads; zero after the last step."""
        self.sums = _like(weights, passed.mixed.dtype, torch.zeros)
        """Gradients of the weights, summed over the steps so far; at least float32."""

    def run(self) -> tuple[Sequence, Weights]:
        """Return the gradients of z and of the weights."""
        steps = len(self.gradient)
        for start in range((steps - 1) // self.size * self.size, -1, -self.size):
            stop = min(start + self.size, steps)
            self._steps(start, stop)
            self._products(start, stop)
        return self.first, self.sums

    def _steps(self, start: int, stop: int) -> None:
        """Go back in time from the step before `stop` to `start`."""
        passed, weights = self.passed, self.weights
        updates, count = len(passed.mixed), passed.vectors.shape[2]
        some = slice(start, min(stop, updates))
        candidate, forget, admit = passed.gates[some].chunk(3, dim=2)
        # Derivatives of u by each gate's input, which don't depend on gradients: for all steps of the chunk at once.
        before, after = passed.vectors[some], passed.vectors[start + 1 : some.stop + 1]
        slopes = torch.stack((admit, before * forget * (1 - forget), candidate * admit * (1 - admit)), dim=2)
        unclamped = after.abs() < LARGEST
        for step in range(stop - 1, start - 1, -1):
            place = step - start
            if step == updates:
                slope = self.gradient[step].clone()
            else:
                torch.mul(self.following, unclamped[place], out=self.normed[place])
                mixed = torch.ops.aten.native_layer_norm_backward(
                    self.normed[place],
                    passed.mixed[step],
                    [count],
                    passed.means[step],
                    passed.deviations[step],
                    weights.scale,
                    weights.shift,
                    [True, False, False],
                )[0]
                torch.mul(mixed.unsqueeze(1), slopes[place], out=self.opened[place])
                opened = self.opened[place].flatten(1)
                slope = torch.addmm(self.gradient[step], opened, weights.gates)
            own = [self.first[step], *self.later[:, place].unbind()]
            if self.read is None:
                self._through_layers(step, slope, own)
            else:
                self._through_stream(step, slope, own, self.read[:, place])
            if step:
                self.following = (own[0] @ weights.reading).to(passed.vectors.dtype)
                if step < updates:
                    self.following.addcmul_(mixed, forget[place])

    def _through_layers(
        self, step: int, slope: Float[Tensor, "batch hidden"], own: list[Float[Tensor, "batch hidden"]]
    ) -> None:
        """Fill `own`, the gradients of each relu's input at that step, from the gradient of the last layer's output."""
        outputs = [*self.passed.lower[:, step].unbind(), self.passed.top[step]]
        slope.mul_(self.kept)
        for layer in range(len(own) - 1, -1, -1):
            torch.ops.aten.threshold_backward.grad_input(slope, outputs[layer], 0, grad_input=own[layer])
            if layer:
                slope.addmm_(own[layer], self.weights.layers[layer - 1], beta=0, alpha=self.kept)

    def _through_stream(
        self,
        step: int,
        slope: Float[Tensor, "batch hidden"],
        own: list[Float[Tensor, "batch hidden"]],
        read: Float[Tensor, "layers batch hidden"],
    ) -> None:
        """The same with residuals, from the gradient of the normalised stream; also fill `read`, the inputs of the later layers."""
        outputs = self.passed.lower[:, step]
        streams = outputs.to(self.passed.vectors.dtype).cumsum(0)
        inverses = streams.square().mean(-1, keepdim=True).add_(EPSILON).rsqrt_()
        normed = streams.mul_(inverses)
        read.copy_(normed[:-1])
        total = torch.zeros_like(normed[0])
        given = slope.to(total.dtype)
        for layer in range(len(own) - 1, -1, -1):
            # y = x r with r = 1 / sqrt(mean(x^2) + epsilon): see `RootMeanSquare` in norms.py.
            share = (given * normed[layer]).mean(-1, keepdim=True)
            total += torch.addcmul(given, normed[layer], share, value=-1).mul_(inverses[layer])
            scaled = (total * self.kept).to(slope.dtype)
            torch.ops.aten.threshold_backward.grad_input(scaled, outputs[layer], 0, grad_input=own[layer])
            if layer:
                given = (own[layer] @ self.weights.layers[layer - 1]).to(total.dtype)

    def _products(self, start: int, stop: int) -> None:
        """Add these steps' part of the weights' gradients to `sums`."""
        passed, sums, count = self.passed, self.sums, self.passed.vectors.shape[2]
        some = slice(start, min(stop, len(passed.mixed)))
        updates = some.stop - start
        _add_product(sums.reading, self.first[start:stop], passed.vectors[start:stop].to(self.first.dtype))
        for layer, own in enumerate(self.later[:, : stop - start].unbind()):
            read = passed.lower[layer, start:stop] if self.read is None else self.read[layer, : stop - start]
            _add_product(sums.layers[layer], own, read)
            sums.biases[layer].add_(own.sum((0, 1), dtype=sums.scale.dtype))
        opened = self.opened[:updates].flatten(2)
        _add_product(sums.gates, opened, passed.top[some])
        sums.gate_bias.add_(opened.sum((0, 1), dtype=sums.scale.dtype))
        _, scale, shift = torch.ops.aten.native_layer_norm_backward(
            self.normed[:updates],
            passed.mixed[some],
            [count],
            passed.means[some],
            passed.deviations[some],
            self.weights.scale,
            self.weights.shift,
            [False, True, True],
        )
        sums.scale.add_(scale)
        sums.shift.add_(shift)


def _add_product(
    total: Float[Tensor, "rows columns"],
    gradients: Float[Tensor, "steps batch rows"],
    inputs: Float[Tensor, "steps batch columns"],
) -> None:
    """Add a matrix's gradient over some steps and all sequences to `total`."""
    left, right = gradients.flatten(0, 1).t(), inputs.flatten(0, 1)
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)


def _like(weights: Weights, dtype: torch.dtype, make: Callable[..., Tensor]) -> Weights:
    """Return tensors for the gradients of `weights`, created by `make`."""

    def new(*shape: int) -> Tensor:
        return make(shape, dtype=dtype, device=weights.scale.device)

    return Weights(
        reading=new(*weights.reading.shape),
        gates=new(*weights.gates.shape),
        gate_bias=new(len(weights.gates)),
        scale=new(*weights.scale.shape),
        shift=new(*weights.shift.shape),
        layers=tuple(new(*matrix.shape) for matrix in weights.layers),
        biases=tuple(new(len(matrix)) for matrix in weights.layers),
    )


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
