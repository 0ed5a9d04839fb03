"""Ranks that have all weights each: PyTorch's DistributedDataParallel sums their gradients.

No annotations here are strings: PyTorch reads those of a communication hook.
"""

import contextlib
from collections.abc import Callable

import torch
import torch.distributed as distributed
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lmlab.training.exchange import Exchange
from lmlab.training.parallel import before_leaving, collective

LossFunction = Callable[[Tensor, Tensor], Tensor]


class LossModule(nn.Module):
    """A model's loss as a module's forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, model: nn.Module, function: LossFunction) -> None:
        super().__init__()
        self.model = model
        self._function = function

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of nats."""
        return self._function(inputs, targets)


class Replicated(Exchange):
    """Every rank has all weights: DistributedDataParallel sums gradients while the backward pass goes on."""

    def __init__(self, model: nn.Module, function: LossFunction, device: torch.device) -> None:
        """`function` computes the loss of `model`; every rank has rank 0's weights afterwards."""
        super().__init__(device)
        self._square = torch.zeros((), device=device)
        module: DistributedDataParallel = collective(
            lambda: DistributedDataParallel(LossModule(model, function), gradient_as_bucket_view=True)
        )
        module.register_comm_hook(None, self._summed)
        self._modules = [module]
        before_leaving(self._modules.clear)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """See `Exchange`."""
        found: Tensor = self._modules[0](inputs, targets)
        return found

    def accumulating(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """See `Exchange`."""
        if not last:
            return self._modules[0].no_sync()
        self._square = torch.zeros((), device=self._device)
        return contextlib.nullcontext()

    def own_norm(self) -> Float[Tensor, ""] | None:
        """See `Exchange`."""
        return self._square.sqrt()

    def _summed(
        self,
        state: object,
        bucket: distributed.GradBucket,  # type: ignore[name-defined]
    ) -> torch.futures.Future[torch.Tensor]:
        """Sum a bucket of gradients over the ranks: each has its share of the whole batch's mean loss already."""
        buffer = bucket.buffer()
        exact = torch.promote_types(buffer.dtype, torch.float32)
        self._square += torch.linalg.vector_norm(buffer, dtype=exact) ** 2
        future: torch.futures.Future[list[Tensor]] = distributed.all_reduce(buffer, async_op=True).get_future()
        return future.then(lambda done: done.value()[0])
