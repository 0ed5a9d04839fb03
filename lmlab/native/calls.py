"""Calls into the CPU engine's library: argument types, errors, and a lock.

Every function of the library but `lmlab_format` and `lmlab_selfcheck` returns a status and writes its results through pointers. A
status other than 0 is raised as a LabError in one line.
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
"""Values of `Status` in source/status.h."""


def declare(library: ctypes.CDLL, signatures: Mapping[str, Sequence[Any]]) -> None:
    """Set the argument types of these functions (else ctypes would truncate pointers to 32 bits) and the check of their status."""
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
    """Call a function that creates an object, and return the handle that it writes through its last pointer."""
    handle = POINTER()
    function(*arguments, ctypes.byref(handle))
    assert handle.value is not None
    return handle.value


def number(function: Any, *arguments: Any) -> float:
    """Call a function, and return the float64 that it writes through its last pointer."""
    value = ctypes.c_double()
    function(*arguments, ctypes.byref(value))
    return value.value


class CallLock:
    """A lock for calls that share working memory: `with lock: ...`

    A forked process gets a new lock: a thread that held the old one at the fork doesn't exist there.
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
