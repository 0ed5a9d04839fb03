"""torch.compile of a training's loss: one graph, or an error that the caller can answer by not compiling."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmlab import LabError
from lmlab.hardware.memory import first_line

COMPILERS = ("torch._dynamo", "torch._inductor", "torch._functorch", "torch.fx", "triton")
"""Modules whose exceptions are failures of a compiler, and not of the computation."""
FAILED = "torch.compile failed"


class CompilationFailed(LabError):
    """Raised if PyTorch's compiler fails with the loss or its gradients."""


def compiled(function: Callable[[Tensor, Tensor], Tensor], *shapes: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Return `function` compiled as one graph for fixed shapes. `shapes` are all that its code depends on.

    PyTorch keeps at most eight compiled versions of a function in a process and runs further ones uncompiled. So they are discarded
    where the last training's `shapes` differed; an equal training, such as the run after its trial, reuses them.
    """
    _discard_others(repr(shapes))
    return torch.compile(function, dynamic=False, fullgraph=True)


def failure_of(error: Exception) -> CompilationFailed | None:
    """Return the error in one line if an exception is a compiler's, else None."""
    if not type(error).__module__.startswith(COMPILERS):
        return None
    return CompilationFailed(f"{FAILED} ({first_line(error)}): use --train.compile off")


@functools.lru_cache(maxsize=1)
def _discard_others(shapes: str) -> None:
    """Discard all compiled code, unless the last call was with equal `shapes`."""
    torch._dynamo.reset()
