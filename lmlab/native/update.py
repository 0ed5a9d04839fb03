"""The CPU engine's update of a training step: the global gradient norm, then clipping, Adam and Muon in one call.

The caller decides by the norm whether the update is made, and to which norm the gradient is clipped.

It gets pointers and sizes and works in place; which parameter has which rule is decided in `lmlab.optim`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from lmlab.native.calls import POINTER, CallLock, declare, number, opened

NUMBER = ctypes.c_double
SIGNATURES: dict[str, list[Any]] = {
    "lmlab_open_update": [POINTER, POINTER, ctypes.c_int32, POINTER, ctypes.c_int32, POINTER],
    "lmlab_gradient_norm": [POINTER, POINTER],
    "lmlab_take_update": [POINTER, NUMBER, NUMBER],
    "lmlab_close_update": [POINTER],
}


class AdamEntry(ctypes.Structure):
    """One parameter under AdamW, or one n-gram table under row-wise Adam; the fields are those of adamw.h.

    Pointers to contiguous float32: `numbers`, their `gradient`, the step count (`step`, one number), the running means of the
    gradient (`mean`) and of its square (`square`). `table_width` is the length of a table's rows, of which only those with entries
    in the engine's last gradient are updated; 0: not a table, all numbers are updated. `lr` is the peak learning rate.
    """

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("numbers", "gradient", "step", "mean", "square")),
        ("count", ctypes.c_int64),
        ("table_width", ctypes.c_int32),
        *((name, ctypes.c_double) for name in ("lr", "decay", "beta1", "beta2", "eps")),
    ]


class MuonEntry(ctypes.Structure):
    """One matrix under Muon; the fields are those of muon.h.

    Pointers to contiguous row-major float32: `numbers`, their `gradient` and `momentum`, which decays by `share` in a step.
    `iterations` is the number of Newton-Schulz iterations, `lr` the peak learning rate.
    """

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("numbers", "gradient", "momentum")),
        *((name, ctypes.c_int32) for name in ("rows", "columns", "iterations")),
        *((name, ctypes.c_double) for name in ("lr", "decay", "share")),
    ]


class Update:
    """Updates one model's parameters with the engine's threads; its working memory is allocated once.

    The memory that the entries point to, and the engine, must outlive this object.
    """

    def __init__(
        self, library: ctypes.CDLL, engine: int, lock: CallLock, adam: Sequence[AdamEntry], muon: Sequence[MuonEntry]
    ) -> None:
        """`engine` is an open engine's handle, `lock` its lock. LabError if a table isn't one of the engine's model."""
        self._library = library
        self._lock = lock
        declare(library, SIGNATURES)
        adams, muons = (AdamEntry * len(adam))(*adam), (MuonEntry * len(muon))(*muon)
        self._handle: int | None = opened(library.lmlab_open_update, engine, adams, len(adam), muons, len(muon))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.lmlab_close_update(self._handle)
            self._handle = None

    def norm(self) -> float:
        """Return the global norm of the current gradient, with the same bits for any number of threads."""
        with self._lock:
            return number(self._library.lmlab_gradient_norm, self._handle)

    def take(self, clip: float, share: float) -> None:
        """Update all parameters at `share` of their peak rates, with the gradient of the last `norm` clipped to `clip` (0: not)."""
        with self._lock:
            self._library.lmlab_take_update(self._handle, clip, share)
