"""The gradients of a recurrence, written out: what autograd would make of `recurrence.py`, in a fraction of the time.

    gradient of the last layer's output -> [some steps back in time -> their part of each weight's gradient], again and again

Autograd would keep some forty nodes a token, and add a whole matrix to every weight's gradient at each step. Here the loop back in
time makes the gradients of what each layer's relu was given, and a weight's gradient is a product over as many steps and sequences
as fill the processor. What it is made from has room for those steps only, so that it stays in a CPU's cache, and a large batch
takes little more memory back than forth. The native engine's kernel does the same, for each thread's rows by themselves
(`lmlab/native/source/recurrence_backward.h`).
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
"""About so many rows, steps x sequences, are in one product for a weight's gradient."""
ROWS_AT_ONCE_ON_A_GPU = 1 << 16
SHARED = 5
"""Tensors of `Weights` before those of the layers."""


def recur(z: Sequence, weights: Weights, cell: Cell, kernel: RecurrenceKernel | None = None) -> Sequence:
    """What gates and head read at each step, from a vector of zeros.

    The way that training goes: differentiable once in z and the weights. `kernel` computes both ways in PyTorch's place.
    """
    return Recurrence.apply(z, cell, kernel, *_flat(weights))


class Recurrence(torch.autograd.Function):
    """`recur`: z, cell, kernel, V, G, g, the norm's scale and shift, W_2..W_L, b_2..b_L -> what gates and head read."""

    @staticmethod
    def forward(context: Any, z: Tensor, cell: Cell, kernel: RecurrenceKernel | None, *tensors: Tensor) -> Tensor:
        """All steps. Nobody reads the vector after the last one, so there are as many updates less one."""
        layers = (len(tensors) - SHARED) // 2
        weights = _weights(tensors, layers)
        exact = torch.promote_types(z.dtype, torch.float32)
        vector = torch.zeros(z.shape[1], weights.reading.shape[1], dtype=exact, device=z.device)
        passed = run(z, vector, weights, cell, len(z) - 1, keep=True, kernel=kernel)
        context.cell, context.layers, context.kernel = cell, layers, kernel
        kept = {name: value for name, value in vars(passed).items() if name != "top"}
        if kernel is not None:
            # The kernel's memory is nobody else's, so that autograd has nothing to watch over.
            context.kept, kept = kept, {}
        context.names = [name for name, value in kept.items() if value is not None]
        context.save_for_backward(*tensors[: SHARED + layers], passed.top, *(kept[name] for name in context.names))
        return passed.top

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """All gradients."""
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
    """The gradients of a pass, from that of what gates and head read."""

    def __init__(self, gradient: Sequence, weights: Weights, passed: ForwardPass, cell: Cell) -> None:
        self.gradient, self.weights, self.passed, self.cell = gradient, weights, passed, cell
        self.kept = kept_scale(cell.dropout, gradient)
        """What dropout multiplied with."""
        steps, batch, _ = gradient.shape
        rows = ROWS_AT_ONCE.get(gradient.device.type, ROWS_AT_ONCE_ON_A_GPU)
        size = self.size = min(steps, max(1, rows // batch))
        count = passed.vectors.shape[2]
        self.first = torch.empty_like(passed.top)
        """Gradient of what the first layer's relu was given, which is that of z."""
        self.later = gradient.new_empty(len(weights.layers), size, *gradient.shape[1:])
        """The other layers'. These have room for `size` steps:"""
        self.read = torch.empty_like(self.later) if cell.residual else None
        """With residuals what those layers read."""
        self.opened = gradient.new_empty(size, batch, 3, count)
        """Of the candidate, and of what the gates' sigmoids were given."""
        self.normed = passed.mixed.new_empty(size, batch, count)
        """Of the norm's output."""
        self.following = passed.mixed.new_zeros(batch, count)
        """Of the vector that the next step reads; the one after the last step is read by nobody."""
        self.sums = _like(weights, passed.mixed.dtype, torch.zeros)
        """Of the weights, so far; at least float32."""

    def run(self) -> tuple[Sequence, Weights]:
        """The gradients of z and of the weights."""
        steps = len(self.gradient)
        for start in range((steps - 1) // self.size * self.size, -1, -self.size):
            stop = min(start + self.size, steps)
            self._steps(start, stop)
            self._products(start, stop)
        return self.first, self.sums

    def _steps(self, start: int, stop: int) -> None:
        """Back in time from the step before `stop` to `start`."""
        passed, weights = self.passed, self.weights
        updates, count = len(passed.mixed), passed.vectors.shape[2]
        some = slice(start, min(stop, updates))
        candidate, forget, admit = passed.gates[some].chunk(3, dim=2)
        # How u changes with each gate's sum, before any gradient is known: for all of these steps at once.
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
        """Fill `own`, the gradients of what each relu was given at that step, from the gradient of the last layer's output."""
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
        """The same with residuals, from the gradient of the normed stream; and fill `read`, what the later layers were given."""
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
        """What these steps add to the weights' gradients."""
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
    """Add a matrix's gradient over some steps and all sequences."""
    left, right = gradients.flatten(0, 1).t(), inputs.flatten(0, 1)
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)


def _like(weights: Weights, dtype: torch.dtype, make: Callable[..., Tensor]) -> Weights:
    """Room for the gradients of weights."""

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
