"""Models that don't fit on each device twice: weights, gradients and optimizer state sharded over the ranks (FSDP2).

PyTorch's `fully_shard` replaces each parameter by a DTensor of which every rank holds a part; a layer's weights are gathered when
it computes, and its gradients are summed where their parts belong. AdamW and the gradient's norm work on the parts.
"""

import contextlib
import warnings

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from lmlab.model.trainable import TrainableModel
from lmlab.training.exchange import Exchange
from lmlab.training.parallel import before_leaving, collective, ranks

FORWARDS = ("loss_sum", "scores", "advance")
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


class Sharded(Exchange):
    """Each rank has a part of the weights and FSDP the mean of the ranks' gradients."""

    lockstep = True

    def __init__(self, model: TrainableModel, device: torch.device, half: torch.dtype | None) -> None:
        """Shard `model`, which has the same weights on all ranks; `half` is the dtype in which they are gathered."""
        super().__init__(device)
        self.gradient_factor = self.ranks
        collective(lambda: shard(model, device, half))
        self._models = [model]
        before_leaving(self._models.clear)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """See `Exchange`."""
        return self._models[0].loss_sum(inputs, targets)

    def accumulating(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """See `Exchange`."""
        self._models[0].set_requires_gradient_sync(last)  # type: ignore[operator]
        return contextlib.nullcontext()

    def own_norm(self) -> Float[Tensor, ""] | None:
        """See `Exchange`."""
        return None
