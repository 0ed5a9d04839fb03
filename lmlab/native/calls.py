"""Calls into the CPU engine's library: their types, what a failure becomes, and one call at a time.

Every function of the library but `lmlab_format` and `lmlab_selfcheck` returns how it ended; results come through pointers. A status
other than 0 is raised as a LabError in one line.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from lmlab import LabError

POINTER = ctypes.c_void_p
INT = ctypes.c_int
NO_MEMORY, NO_THREADS = 1, 2
"""Of `Status` in source/status.h."""


def declare(library: ctypes.CDLL, signatures: Mapping[str, Sequence[Any]]) -> None:
    """Set the argument types of these functions (without them ctypes would cut pointers to 32 bits), and check what they return."""
    library.lmlab_error.restype = ctypes.c_char_p

    def check(status: int, function: Any, arguments: tuple[Any, ...]) -> None:
        if status == NO_MEMORY:
            raise LabError(
                "the CPU engine has not enough memory for this: close other programs, lower train.micro_batch or the number of "
                "texts, or use --train.engine torch"
            )
        if status == NO_THREADS:
            raise LabError(
                "the CPU engine can't start its threads, the system refuses them: give it fewer (--train.threads), or more "
                "address space and processes (ulimit -v, ulimit -u)"
            )
        if status:
            raise LabError(f"the CPU engine failed: {library.lmlab_error().decode(errors='replace')}")

    for name, arguments in signatures.items():
        function = getattr(library, name)
        function.argtypes, function.restype, function.errcheck = list(arguments), INT, check


def opened(function: Any, *arguments: Any) -> int:
    """The handle that a function opens, which it gives through its last pointer."""
    handle = POINTER()
    function(*arguments, ctypes.byref(handle))
    assert handle.value is not None
    return handle.value


def number(function: Any, *arguments: Any) -> float:
    """The number in float64 that a function gives through its last pointer."""
    value = ctypes.c_double()
    function(*arguments, ctypes.byref(value))
    return value.value


class CallLock:
    """Lets one thread at a time into calls that share working memory. `with lock: ...`

    In a process that was forked while another thread was inside, that thread doesn't exist: there the lock begins anew.
    """

    def __init__(self) -> None:
        self._lock, self._process = threading.Lock(), os.getpid()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._lock, self._process = threading.Lock(), os.getpid()
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
