"""A context-propagation model's recurrence in the native CPU engine: whether it can be there, and the kernel for it.

The kernel computes what `recurrence.py` and `recurrence_gradient.py` define; embedding, head and loss stay PyTorch's.
"""

import weakref

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmlab.native import Library, load
from lmlab.native.recurrence import MULTIPLE_OF, RecurrenceKernel
from lmlab.recipe.model import Context


def unsupported_recurrence(model: Context) -> str | None:
    """Why the kernel can't compute such a model's recurrence, or None where it can."""
    for name, width in (("hidden", model.hidden), ("vector", model.vector)):
        if width % MULTIPLE_OF:
            return f"it computes recurrences whose widths are multiples of {MULTIPLE_OF}, and model.{name} is {width}"
    return None


def kernel_for(model: nn.Module, config: Context, like: Float[Tensor, "..."]) -> RecurrenceKernel | None:
    """The kernel of this model, which computes with torch's number of threads in numbers like these; made on first use.

    None where there is no library on this machine, or where the recurrence isn't what it computes: float32 on the CPU, of widths
    that fit.
    """
    if like.dtype != torch.float32 or like.device.type != "cpu" or unsupported_recurrence(config):
        return None
    threads, known = torch.get_num_threads(), _kernels.get(model)
    if known is not None and known.threads == threads:
        return known
    library = load()
    if not isinstance(library, Library):
        return None
    _kernels[model] = RecurrenceKernel(library.functions, threads)
    return _kernels[model]


_kernels: weakref.WeakKeyDictionary[nn.Module, RecurrenceKernel] = weakref.WeakKeyDictionary()
