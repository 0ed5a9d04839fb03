"""Models that don't fit on each device twice: weights, gradients and optimizer state sharded over the ranks (FSDP2).

PyTorch's `fully_shard` replaces each parameter by a DTensor of which every rank holds a part; a layer's weights are gathered when
it computes, and its gradients are summed where their parts belong. AdamW and the gradient's norm work on the parts.
"""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from lmlab.model.trainable import TrainableModel
from lmlab.training.parallel import collective, rank, ranks

FORWARDS = ("loss_sum", "advance")
"""Methods of a model that compute with its weights, besides `forward`."""


def shard(model: TrainableModel, device: torch.device, half: torch.dtype | None) -> None:
    """Replace the model's parameters by parts on `device`, block by block; `half` is the dtype in which weights are gathered.

    Every rank must have the same values before.
    """
    # Blocks return their attention's values, a view; nothing changes these in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
    mesh = init_device_mesh(device.type, (ranks(),))
    precision = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=None if half is None else torch.float32)
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=precision)
    fully_shard(model, mesh=mesh, mp_policy=precision)
    model.sharded = True
    for name in FORWARDS:
        register_fsdp_forward_method(model, name)


def whole(tensor: Tensor) -> Tensor:
    """Return the tensor, or all parts of it together, on every rank; all ranks must call it."""
    if not isinstance(tensor, DTensor):
        return tensor
    found: Tensor = collective(tensor.full_tensor)
    return found


def fill(live: Mapping[str, Tensor], full: Mapping[str, Tensor] | None) -> None:
    """Copy rank 0's whole tensors of these names into the ranks' parts; `full` is read on rank 0 only. All ranks must call it."""
    with torch.no_grad():
        for name in sorted(live):
            tensor = live[name]
            given = full[name] if rank() == 0 and full is not None else torch.empty(tensor.shape, dtype=tensor.dtype)
            if isinstance(tensor, DTensor):
                given = given.to(tensor.device)
                tensor.copy_(collective(distribute_tensor, given, tensor.device_mesh, tensor.placements))
            else:
                given = given.to(tensor.device).contiguous()
                collective(torch.distributed.broadcast, given, 0)
                tensor.copy_(given)
