"""A context-propagation model's recurrence in the native CPU engine: whether it is supported, and its kernel.

The kernel computes what `recurrence.py` and `recurrence_gradient.py` define; PyTorch computes embedding, head and loss.
"""

import weakref

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmlab.model.known import Known, anything, one_of, share, size, unknown_setting, yes_or_no
from lmlab.native.library import Library, load
from lmlab.native.recurrence import MULTIPLE_OF, RecurrenceKernel
from lmlab.recipe.model import Context

KNOWN: Known = {
    "kind": one_of("context"),
    "layers": size,
    "width": size,
    "hidden": size,
    "vector": size,
    "context": size,
    "init": anything,
    "dropout": share,
    "residual": yes_or_no,
}
"""Settings that the kernel supports. PyTorch computes models with any other field or value."""


def unsupported_recurrence(model: Context) -> str | None:
    """Return why the kernel doesn't support this model's recurrence; None if it does."""
    if (unknown := unknown_setting(model, KNOWN)) is not None:
        return unknown
    for name, width in (("hidden", model.hidden), ("vector", model.vector)):
        if width % MULTIPLE_OF:
            return f"it computes recurrences whose widths are multiples of {MULTIPLE_OF}, and model.{name} is {width}"
    return None


def kernel_for(
    model: nn.Module, config: Context, like: Float[Tensor, "..."], identity: str = ""
) -> RecurrenceKernel | None:
    """Return the kernel of this model, with torch's number of threads, for tensors like `like`; created on first use.

    `identity` is the library's build; empty: the newest. None if there is no such library on this machine, or the recurrence isn't
    supported: it must be float32 on the CPU, with supported widths and settings.
    """
    if like.dtype != torch.float32 or like.device.type != "cpu" or unsupported_recurrence(config):
        return None
    threads, known = torch.get_num_threads(), _kernels.get(model)
    if known is not None and known[1].threads == threads and known[0] == identity:
        return known[1]
    library = load(identity=identity)
    if not isinstance(library, Library):
        return None
    kernel = RecurrenceKernel(library.functions, threads)
    _kernels[model] = identity, kernel
    return kernel


_kernels: weakref.WeakKeyDictionary[nn.Module, tuple[str, RecurrenceKernel]] = weakref.WeakKeyDictionary()
"""Model -> the requested build, and the kernel."""
