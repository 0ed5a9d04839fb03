"""The native CPU engine: C++ code that is compiled once on the machine that runs it, cached, and loaded with ctypes.

    loaded = load()     # the newest Library, or Missing with the reason in one line
    loaded = load(identity="0123456789abcdef")     # the build that a run began with, if the cache still has it

Without a compiler, PyTorch computes everything instead. Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.native.build import find_or_build
    from lmlab.native.library import Library, Missing, load
    from lmlab.native.peak import multiply_add_flops, product_flops

__all__ = ["Library", "Missing", "find_or_build", "load", "multiply_add_flops", "product_flops"]

__getattr__ = lazily(
    __name__,
    {
        "Library": "library",
        "Missing": "library",
        "find_or_build": "build",
        "load": "library",
        "multiply_add_flops": "peak",
        "product_flops": "peak",
    },
)
