"""Tensors of which each of several processes may have a part (PyTorch's DTensor)."""

from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor

from lmlab.training.parallel import broadcast, collective, rank


def whole(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Return the tensor, or all parts of it together, on every rank; all ranks must call it."""
    gather = getattr(tensor, "full_tensor", None)  # a DTensor's: its module isn't imported for a single process
    found: Tensor = tensor if gather is None else collective(gather)
    return found


def fill(live: Mapping[str, Tensor], full: Mapping[str, Tensor] | None) -> None:
    """Copy rank 0's whole tensors of these names into the ranks' parts; `full` is read on rank 0 only. All ranks must call it."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    with torch.no_grad():
        for name in sorted(live):
            tensor = live[name]
            given = full[name] if rank() == 0 and full is not None else torch.empty(tensor.shape, dtype=tensor.dtype)
            given = given.to(tensor.device).contiguous()
            if isinstance(tensor, DTensor):
                given = collective(distribute_tensor, given, tensor.device_mesh, tensor.placements)
            else:
                broadcast([given])
            tensor.copy_(given)
