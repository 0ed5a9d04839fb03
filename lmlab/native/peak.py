"""How fast this machine can multiply with the native engine's code: what its speed is held against."""

from __future__ import annotations

from lmlab.native.calls import INT, POINTER, declare, number
from lmlab.native.library import Library, load


def multiply_add_flops(threads: int) -> float | None:
    """FLOP/s of multiply-adds in registers, by so many threads, measured now (some 20 ms): no program can be faster.

    None where there is no library.
    """
    return _measured("lmlab_multiply_add_flops", threads)


def product_flops(threads: int) -> float | None:
    """FLOP/s of the engine's float32 matrix products in the cache, by so many threads, measured now; None without library."""
    return _measured("lmlab_product_flops", threads)


def _measured(name: str, threads: int) -> float | None:
    library = load()
    if not isinstance(library, Library):
        return None
    declare(library.functions, {name: [INT, POINTER]})
    return number(getattr(library.functions, name), threads)
