"""Forward and backward pass of a context-propagation model's recurrence by compiled kernels on the CPU.

The kernels read and write contiguous float32 tensors, whose meaning is documented in `source/recurrence.h`. Embedding, head and
loss are computed elsewhere.
"""

import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lmlab.native.calls import INT, POINTER, CallLock, declare, opened

MULTIPLE_OF = 16
"""Hidden and vector width must be multiples of this, the number of floats in the widest registers."""
MATRICES = ("reading", "gates", "gate_bias", "scale", "shift")
LISTS = ("layers", "biases")
SIGNATURES: dict[str, list[Any]] = {
    "lmlab_recurrence_open": [INT, POINTER],
    "lmlab_recurrence_close": [POINTER],
    "lmlab_recurrence_forward": [POINTER] * 5,
    "lmlab_recurrence_backward": [POINTER] * 7,
}
PASSED = ("top", "lower", "vectors", "gates", "mixed", "means", "deviations")


class _Shape(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in "layers hidden vector steps batch updates residual keep".split()),
        ("dropout", ctypes.c_float),
        ("seed", ctypes.c_uint64),
    ]


class _Weights(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in MATRICES),
        ("reading_stride", ctypes.c_int64),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in LISTS),
    ]


class _Passed(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in PASSED]


class Workspace:
    """A kernel's memory for the tensors that a pass saves for backward; returned to the kernel when this object is deleted.

    Reuse saves time: new memory for each pass would take a quarter of the pass, since the system clears it page by page.
    """

    def __init__(self, spare: list[Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """`spare` holds the kernel's free memory, if any, and receives this memory at the end. The tensors are uninitialised."""
        sizes = [math.prod(shape) for shape in shapes.values()]
        fits = bool(spare) and len(spare[0]) == sum(sizes)
        self._spare = spare
        self._memory = spare.pop() if fits else torch.empty(sum(sizes))
        parts = zip(shapes.items(), self._memory.split(sizes), strict=True)
        self.tensors: dict[str, Tensor] = {name: part.view(shape) for (name, shape), part in parts}
        """The tensors, by the names in `shapes`."""

    def __del__(self) -> None:
        self._spare[:] = [self._memory]


class RecurrenceKernel:
    """The threads that compute one model's recurrence, and their working memory. Calls are serialised by a lock."""

    def __init__(self, library: ctypes.CDLL, threads: int) -> None:
        self.threads = threads
        self._spare: list[Tensor] = []
        self._library = library
        self._lock = CallLock()
        declare(library, SIGNATURES)
        self._handle: int | None = opened(library.lmlab_recurrence_open, threads)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.lmlab_recurrence_close(self._handle)
            self._handle = None

    def workspace(self, shapes: Mapping[str, tuple[int, ...]]) -> Workspace:
        """Return memory for float32 tensors of these shapes, which is aligned only if their sizes are multiples of 16 numbers."""
        return Workspace(self._spare, shapes)

    def forward(
        self,
        z: Float[Tensor, "time batch hidden"],
        weights: Mapping[str, Any],
        passed: Mapping[str, Tensor],
        residual: bool,
        share: float,
        seed: int,
        keep: bool,
    ) -> None:
        """Compute the forward pass into `passed`, whose first vector is already set; its `vectors` determine the number of updates.

        `share` is the dropout probability, `seed` determines the masks. With `keep`, `passed` holds every step's tensors for
        backward. `weights` and `passed` have the names of `lmlab.model.recurrence`.
        """
        with self._lock:
            self._library.lmlab_recurrence_forward(
                self._handle,
                ctypes.byref(_shape(z, weights, passed, residual, share, seed, keep)),
                ctypes.byref(_weights(weights)),
                _address(z),
                ctypes.byref(_passed(passed)),
            )

    def backward(
        self,
        gradient: Float[Tensor, "time batch hidden"],
        weights: Mapping[str, Any],
        passed: Mapping[str, Tensor],
        residual: bool,
        share: float,
        z_gradient: Float[Tensor, "time batch hidden"],
        totals: Mapping[str, Any],
    ) -> None:
        """Compute `z_gradient` and `totals`, the gradients of z and of the weights, from the gradient of `top`.

        `passed` must be from a `forward` with `keep` and the same weights and share. For the same number of threads, equal calls
        give equal bits.
        """
        with self._lock:
            self._library.lmlab_recurrence_backward(
                self._handle,
                ctypes.byref(_shape(gradient, weights, passed, residual, share, 0, True)),
                ctypes.byref(_weights(weights)),
                ctypes.byref(_passed(passed)),
                _address(gradient),
                _address(z_gradient),
                ctypes.byref(_weights(totals)),
            )


def _shape(
    z: Float[Tensor, "time batch hidden"],
    weights: Mapping[str, Any],
    passed: Mapping[str, Tensor],
    residual: bool,
    share: float,
    seed: int,
    keep: bool,
) -> _Shape:
    steps, batch, hidden = z.shape
    return _Shape(
        layers=len(weights["layers"]) + 1,
        hidden=hidden,
        vector=passed["vectors"].shape[2],
        steps=steps,
        batch=batch,
        updates=len(passed["vectors"]) - 1,
        residual=residual,
        keep=keep,
        dropout=share,
        seed=seed % 2**64,
    )


def _weights(tensors: Mapping[str, Any]) -> _Weights:
    reading = tensors["reading"]
    return _Weights(
        reading=reading.data_ptr(),
        reading_stride=reading.stride(0),
        **{name: _address(tensors[name]) for name in MATRICES if name != "reading"},
        **{name: _addresses(tensors[name]) for name in LISTS},
    )


def _passed(tensors: Mapping[str, Tensor]) -> _Passed:
    return _Passed(**{name: _address(tensors[name]) for name in PASSED})


def _addresses(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(_address(tensor) for tensor in tensors))


def _address(tensor: Tensor) -> int:
    assert tensor.is_contiguous(), "the kernel needs contiguous tensors"
    return tensor.data_ptr()
