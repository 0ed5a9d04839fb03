"""Measurement of this machine's peak FLOP/s with the native engine's code, the reference for utilisation."""

from __future__ import annotations

from lmlab.native.calls import INT, POINTER, declare, number
from lmlab.native.library import Library, load


def multiply_add_flops(threads: int) -> float | None:
    """Measure the FLOP/s of multiply-adds in registers with this number of threads (some 20 ms): an upper bound for any program.

    None if there is no library.
    """
    return _measured("lmlab_multiply_add_flops", threads)


def product_flops(threads: int) -> float | None:
    """Measure the FLOP/s of the engine's float32 matrix products in cache with this number of threads; None without a library."""
    return _measured("lmlab_product_flops", threads)


def _measured(name: str, threads: int) -> float | None:
    library = load()
    if not isinstance(library, Library):
        return None
    declare(library.functions, {name: [INT, POINTER]})
    return number(getattr(library.functions, name), threads)
