"""A GPT computed by lmlab's compiled kernels on the CPU: gradients of a batch, and scores of a text.

The engine reads a model's tensors in PyTorch's memory, so both see every update, and writes gradients into its own tensors. It
doesn't depend on modules: it gets a shape, and tensors by name. Sources are in `source/`.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from lmlab import LabError
from lmlab.native.calls import INT, POINTER, CallLock, declare, number, opened

MOST_LAYERS, MOST_NGRAMS = 128, 4
ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "relu2", "swiglu")
SECTIONS = ("packing", "embedding", "norms", "rotary", "matrices", "attention", "head", "adding up")

LAYER_PARAMETERS = (
    "attention_norm.weight",
    "attention_norm.bias",
    "attention.qkv.weight",
    "attention.qkv.bias",
    "attention.projection.weight",
    "attention.projection.bias",
    "mlp_norm.weight",
    "mlp_norm.bias",
    "mlp.up.weight",
    "mlp.up.bias",
    "mlp.down.weight",
    "mlp.down.bias",
    "attention.first_share",
    "stream_shares",
)
PARAMETERS = (
    "embedding.weight",
    "positions.weight",
    *(f"ngram_tables.{index}.weight" for index in range(MOST_NGRAMS)),
    "norm.weight",
    "norm.bias",
    "head.weight",
    "head.bias",
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The description of a model for the engine, besides its tensors."""

    layers: int
    heads: int
    key_heads: int
    head_width: int
    width: int
    hidden: int
    up: int
    vocabulary: int
    context: int
    rotary: bool
    rms: bool
    activation: str
    qk_norm: bool
    ngram_lengths: tuple[int, ...]
    ngram_rows: int
    softcap: float
    dropout: float
    boundary: int
    """The token that begins a document, across which attention doesn't reach; -1: none."""


class _Shape(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int32)
            for name in (
                "layers heads key_heads head_width width hidden up vocabulary context "
                "rotary rms activation qk_norm ngrams"
            ).split()
        ),
        ("ngram_lengths", ctypes.c_int32 * MOST_NGRAMS),
        ("ngram_rows", ctypes.c_int32 * MOST_NGRAMS),
        ("softcap", ctypes.c_float),
        ("dropout", ctypes.c_float),
        # At the end, where libraries of runs from before it don't look.
        ("boundary", ctypes.c_int32),
    ]


SIGNATURES: dict[str, list[Any]] = {
    "lmlab_open": [POINTER, POINTER, POINTER, POINTER, INT, POINTER],
    "lmlab_close": [POINTER],
    "lmlab_gradients": [*[POINTER] * 4, INT, INT, ctypes.c_float, ctypes.c_uint64, INT, INT, POINTER],
    "lmlab_scores": [POINTER, POINTER, POINTER, INT, INT, INT, POINTER, POINTER],
    "lmlab_sections": [POINTER, POINTER],
}
Pointers = ctypes.c_void_p * (len(PARAMETERS) + MOST_LAYERS * len(LAYER_PARAMETERS))


class Engine:
    """One model in the engine, with its threads. The tensors' addresses must not change during its life.

    Calls, also those of its decoders and updates, are serialised by a lock.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        shape: Shape,
        tensors: Mapping[str, Tensor],
        rotation: tuple[Float[Tensor, "context pairs"], Float[Tensor, "context pairs"]] | None,
        threads: int,
    ) -> None:
        """`tensors` are the model's parameters by name, `rotation` the cosines and sines of rotary positions.

        LabError if a tensor isn't contiguous float32 on the CPU or its name is unknown to the engine, or if the threads can't be
        started.
        """
        self.library = library
        self.lock = CallLock()
        self.shape = shape
        self.threads = threads
        self.tensors = {name: tensor.detach() for name, tensor in tensors.items()}
        declare(library, SIGNATURES)
        angles = [table.to(torch.float32).contiguous() for table in rotation] if rotation is not None else []
        self.handle: int | None = opened(
            library.lmlab_open,
            ctypes.byref(_structure(shape)),
            _pointers(self.tensors, shape.layers),
            *([table.data_ptr() for table in angles] or (None, None)),
            threads,
        )
        self._gradients: dict[str, Tensor] | None = None
        self._gradient_pointers: ctypes.Array[ctypes.c_void_p] | None = None
        self.spare_decoder: object | None = None
        """A released decoder of this engine, for reuse: see `lmlab.native.decoder`."""
        self.updates = 0
        """Number of updates by the engine, which PyTorch's version counters don't include."""
        self._packed: int | None = None
        """Version of the tensors by PyTorch's counters when the engine packed them; it repacks after its own updates itself."""

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self.library.lmlab_close(self.handle)
            self.handle = None

    @property
    def gradients(self) -> dict[str, Float[Tensor, "..."]]:
        """The gradient of each parameter by name, overwritten by `learn`. Created as zeros on first use."""
        if self._gradients is None:
            self._gradients = {name: torch.zeros_like(tensor) for name, tensor in self.tensors.items()}
            self._gradient_pointers = _pointers(self._gradients, self.shape.layers)
        return self._gradients

    def learn(
        self,
        tokens: Int[NDArray[np.int64], "batch time"],
        targets: Int[NDArray[np.int64], "batch time"],
        scale: float,
        seed: int = 0,
        accumulate: bool = False,
    ) -> float:
        """Set `gradients` to those of scale x the sum of nats over the targets that aren't negative; return the sum.

        `seed` determines the dropout masks. `accumulate` adds to the gradients of the last call, whose weights must have been the
        same.
        """
        tokens, targets = self._checked(tokens), self._checked(targets, "targets")
        with self.lock:
            self.gradients  # noqa: B018 - made on first use
            version = self._version_in_torch()
            loss = number(
                self.library.lmlab_gradients,
                self.handle,
                self._gradient_pointers,
                tokens.ctypes.data,
                targets.ctypes.data,
                *tokens.shape,
                scale,
                seed % 2**64,
                int(accumulate),
                int(version != self._packed),
            )
            self._packed = version
        return loss

    def scores(
        self, tokens: Int[NDArray[np.int64], "batch time"], targets: Int[NDArray[np.int64], "batch time"]
    ) -> tuple[Float[NDArray[np.float32], "batch time"], Bool[NDArray[np.bool_], "batch time"]]:
        """Return the nats of each target (0 where it is negative), and whether it had the largest logit; without dropout."""
        tokens, targets = self._checked(tokens), self._checked(targets, "targets")
        nats = np.empty(tokens.shape, dtype=np.float32)
        hits = np.empty(tokens.shape, dtype=np.bool_)
        with self.lock:
            version = self._version_in_torch()
            self.library.lmlab_scores(
                self.handle,
                tokens.ctypes.data,
                targets.ctypes.data,
                *tokens.shape,
                int(version != self._packed),
                nats.ctypes.data,
                hits.ctypes.data,
            )
            self._packed = version
        return nats, hits

    @property
    def version(self) -> int:
        """A counter that increases with every change of the tensors, by PyTorch in place or by the engine's update."""
        return self.updates + self._version_in_torch()

    def _version_in_torch(self) -> int:
        return sum(tensor._version for tensor in self.tensors.values())

    def sections(self) -> dict[str, float]:
        """Return the seconds that `learn` and `scores` spent in each section since the last call, averaged over threads."""
        seconds = (ctypes.c_double * len(SECTIONS))()
        with self.lock:
            self.library.lmlab_sections(self.handle, seconds)
        return dict(zip(SECTIONS, seconds, strict=True))

    def _checked(self, numbers: NDArray[np.int64], what: str = "tokens") -> NDArray[np.int64]:
        """Return contiguous int64. LabError if a number exceeds the vocabulary, because the engine doesn't check indices."""
        numbers = np.ascontiguousarray(numbers, dtype=np.int64)
        if numbers.shape[1] > self.shape.context:
            raise LabError(
                f"{numbers.shape[1]} tokens are more than the model's context of {self.shape.context}: give it at most as many"
            )
        lowest = 0 if what == "tokens" else -(2**31)
        if numbers.size and (int(numbers.max()) >= self.shape.vocabulary or int(numbers.min()) < lowest):
            raise LabError(
                f"{what} hold {int(numbers.min())} to {int(numbers.max())}: expected 0 to {self.shape.vocabulary - 1}"
            )
        return numbers


def _structure(shape: Shape) -> _Shape:
    tables = len(shape.ngram_lengths)
    return _Shape(
        **{
            name: int(getattr(shape, name))
            for name in "layers heads key_heads head_width width hidden up vocabulary context rotary rms qk_norm".split()
        },
        activation=ACTIVATIONS.index(shape.activation),
        ngrams=tables,
        ngram_lengths=shape.ngram_lengths,
        ngram_rows=(shape.ngram_rows,) * tables,
        softcap=shape.softcap,
        dropout=shape.dropout,
        boundary=shape.boundary,
    )


def _pointers(tensors: Mapping[str, Tensor], layers: int) -> ctypes.Array[ctypes.c_void_p]:
    names = [*PARAMETERS, *(f"blocks.{layer}.{name}" for layer in range(layers) for name in LAYER_PARAMETERS)]
    if unknown := sorted(set(tensors) - set(names)):
        raise LabError(f"the CPU engine doesn't know the parameter {unknown[0]}: use train.engine torch")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu" or not tensor.is_contiguous():
            raise LabError(
                f"{name} is {tensor.dtype} on {tensor.device}: the CPU engine expects contiguous float32 on the CPU"
            )
    pointers = Pointers()
    for place, name in enumerate(names):
        pointers[place] = tensors[name].data_ptr() if name in tensors else None
    return pointers
