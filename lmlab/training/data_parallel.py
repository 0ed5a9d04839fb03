"""What the ranks of a training exchange in a step: gradients, by DistributedDataParallel or FSDP, and one vector of loss and
requests.

No module-level annotations are strings here: PyTorch reads those of a communication hook.
"""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as distributed
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lmlab.model.trainable import TrainableModel
from lmlab.training.parallel import all_sum, before_leaving, collective, rank, ranks
from lmlab.training.sharded import shard
from lmlab.training.signals import PAUSE_SECONDS, StopRequests

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


class Exchange(ABC):
    """The exchange between the ranks of one training. The process group must exist."""

    lockstep = False
    """Whether the ranks must compute each forward pass together, because each holds a part of the weights."""
    gradient_factor = 1
    """The factor of each rank's loss with which the ranks' gradients add up to that of the batch."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.ranks = rank(), ranks()
        self.requests: StopRequests | None = None
        """The requests of this rank."""
        self._device = device
        self._flags: Tensor | tuple[float, float, float] = (0.0, 0.0, 0.0)
        self._save = False

    @abstractmethod
    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss; its backward pass sums the gradients over the ranks, unless in `accumulating`."""

    @abstractmethod
    def accumulating(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Context of a micro-batch's forward and backward pass: without communication, unless it is the last of the step."""

    @abstractmethod
    def own_norm(self) -> Float[Tensor, ""] | None:
        """Return the norm of this rank's own gradient, before the last sum over the ranks; None if it isn't known."""

    def exchanged(self, loss_sum: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Return the sum of the ranks' losses, and exchange their requests."""
        vector = torch.tensor([0.0, *self._own_requests()], dtype=torch.float64, device=self._device)
        vector[0] = loss_sum
        all_sum(vector)
        self._flags = vector[1:]
        self._save = self._save or self._flag(1)
        return vector[0]

    def agree(self) -> None:
        """Exchange the requests alone."""
        self.exchanged(torch.zeros((), device=self._device))

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank."""
        return bool(all_sum(torch.tensor(float(flag), device=self._device)))

    def gathered(self, part: Tensor) -> Tensor:
        """Return the ranks' parts, which have one shape, one after the other along the first axis."""
        parts = [torch.empty_like(part) for _ in range(self.ranks)]
        collective(distributed.all_gather, parts, part)
        return torch.cat(parts)

    def sums(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Return the sums over the ranks of arrays of numbers, in float64."""
        whole = torch.from_numpy(np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in arrays]))
        whole = all_sum(whole.to(self._device)).cpu()
        found, first = [], 0
        for array in arrays:
            found.append(whole[first : first + array.size].numpy().reshape(array.shape).astype(array.dtype))
            first += array.size
        return found

    @property
    def stop(self) -> bool:
        """Whether a rank has requested to stop."""
        return self._flag(0)

    def save_requested(self) -> bool:
        """Return whether a rank has requested a checkpoint since the last call; all ranks must call it."""
        asked, self._save = self._save, False
        return asked

    @property
    def pause(self) -> bool:
        """Whether a rank has requested a pause in the last exchange."""
        return self._flag(2)

    def _flag(self, place: int) -> bool:
        return bool(self._flags[place])

    def _own_requests(self) -> tuple[float, float, float]:
        if self.requests is None:
            return 0.0, 0.0, 0.0
        self.requests.poll()
        # A stop that was agreed on stays one.
        stop = self.stop or self.requests.reason is not None
        return float(stop), float(self.requests.save_requested()), float(self.requests.pausing)


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


class Sharded(Exchange):
    """Each rank has a part of the weights (`lmlab.training.sharded`), and FSDP the mean of the ranks' gradients."""

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


class AgreedStop:
    """Stop requests on which all ranks agree: those of any rank in the last exchange."""

    def __init__(self, own: StopRequests, exchange: Exchange) -> None:
        self._own = own
        self._exchange = exchange
        exchange.requests = own

    @property
    def reason(self) -> str | None:
        """Why to stop; None while no stop is requested."""
        return self._own.reason or ("a request to another rank" if self._exchange.stop else None)

    @property
    def since(self) -> float | None:
        """When this rank was requested to stop."""
        return self._own.since

    def stopping(self) -> bool:
        """Return whether to stop. All ranks wait here while one requests a pause."""
        while self._exchange.pause and not self._exchange.stop:
            time.sleep(PAUSE_SECONDS)
            self._exchange.agree()
        return self._exchange.stop

    def stopping_now(self) -> bool:
        """Exchange the requests and return whether to stop; all ranks must call it."""
        self._exchange.agree()
        return self._exchange.stop

    def save_requested(self) -> bool:
        """Return whether a checkpoint was requested since the last call."""
        return self._exchange.save_requested()
