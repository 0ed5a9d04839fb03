"""The CPU engine's update of a training step: the norm of the whole gradient, then clipping, Adam and Muon in one call.

Whoever asks for the norm decides by it whether the update is made at all, and how far it is clipped.

It works on numbers where they lie and is told pointers and sizes; which parameter has which rule is decided above.
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
    """One parameter under AdamW, or one n-gram table under the lazy Adam; the fields are those of adamw.h.

    Pointers to contiguous float32: `numbers`, their `gradient`, how many updates were made (`step`, one number), the
    running means of the gradient (`mean`) and of its square (`square`). `table_width` is the length of a table's rows,
    of which only those are updated that the engine's last gradient has numbers in; 0: every number is. `lr` is the peak.
    """

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("numbers", "gradient", "step", "mean", "square")),
        ("count", ctypes.c_int64),
        ("table_width", ctypes.c_int32),
        *((name, ctypes.c_double) for name in ("lr", "decay", "beta1", "beta2", "eps")),
    ]


class MuonEntry(ctypes.Structure):
    """One matrix under Muon; the fields are those of muon.h.

    Pointers to contiguous float32, row after row: `numbers`, their `gradient` and `momentum`, of which `share` stays in
    a step. `iterations` is Newton-Schulz's, `lr` the peak.
    """

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("numbers", "gradient", "momentum")),
        *((name, ctypes.c_int32) for name in ("rows", "columns", "iterations")),
        *((name, ctypes.c_double) for name in ("lr", "decay", "share")),
    ]


class Update:
    """The update of one model's parameters by the engine's threads, its working memory made once.

    Whatever the entries point to must keep its memory, and the engine must live, as long as this is used.
    """

    def __init__(
        self, library: ctypes.CDLL, engine: int, lock: CallLock, adam: Sequence[AdamEntry], muon: Sequence[MuonEntry]
    ) -> None:
        """`engine` is an open engine's handle, `lock` its lock. LabError where a table isn't one of the engine's model."""
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
        """The norm of the whole gradient as it is now. Equal calls give equal bits for any number of threads."""
        with self._lock:
            return number(self._library.lmlab_gradient_norm, self._handle)

    def take(self, clip: float, share: float) -> None:
        """Update everything at `share` of its peak rate, by the gradient whose norm was taken last, clipped at `clip` (0: not)."""
        with self._lock:
            self._library.lmlab_take_update(self._handle, clip, share)
