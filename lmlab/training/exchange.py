"""What the ranks of a training exchange in a step: gradients, and one vector of the loss and of requests to stop, save or pause.

Gradients are summed by `data_parallel.Replicated` or `sharded.Sharded`, which are imported where several ranks train: PyTorch's
FSDP alone takes .7 s and 46 MB to import.
"""

import contextlib
import time
from abc import ABC, abstractmethod

import numpy as np
import torch
import torch.distributed as distributed
from jaxtyping import Float
from torch import Tensor

from lmlab.training.parallel import all_sum, collective, rank, ranks
from lmlab.training.signals import PAUSE_SECONDS, StopRequests


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
