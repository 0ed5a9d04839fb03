"""Copies of a checkpoint's tensors in the CPU's memory, which a thread writes while training goes on.

From a GPU they are made in pinned memory, by the device itself between two steps: later kernels of the same stream wait for them,
so that the tensors are copied as they are now, and the host doesn't wait at all. The thread does, before it reads the copies.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor

Parts = Mapping[str, Mapping[str, Tensor]]


class Copies:
    """Memory for copies of tensors whose names and shapes are the same at each call."""

    def __init__(self) -> None:
        self._pinned: dict[tuple[str, str], Tensor] = {}

    def take(self, parts: Parts) -> tuple[Parts, Callable[[], None]]:
        """Return copies of the tensors, and a function that waits until they are complete, to be called by any thread.

        The pinned ones are overwritten by the next call.
        """
        devices = {tensor.device for tensors in parts.values() for tensor in tensors.values() if tensor.is_cuda}
        found = {
            part: {name: self._copy((part, name), tensor) for name, tensor in tensors.items()}
            for part, tensors in parts.items()
        }
        events = [torch.cuda.current_stream(device).record_event() for device in devices]

        def wait() -> None:
            for event in events:
                event.synchronize()

        return found, wait

    def _copy(self, key: tuple[str, str], tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        if not tensor.is_cuda:
            return tensor.detach().to("cpu", copy=True)
        pinned = self._pinned.get(key)
        if pinned is None or pinned.shape != tensor.shape or pinned.dtype != tensor.dtype:
            pinned = self._pinned[key] = torch.empty_like(tensor, device="cpu", pin_memory=True)
        return pinned.copy_(tensor.detach(), non_blocking=True)
