"""When an update is launched before loss and gradient norm are read, and how they are read later.

A GPU is idle while the host reads two numbers, decides, and launches the update. Where the decision is only whether both are
finite, a flag on the device makes it: the host launches the update at once, then the next step, and reads the numbers of the step
before while the device computes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lmlab.optim.build import TrainingOptimizer
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy

DEVICES = ("cuda",)
"""Types of devices whose updates are deferred. A CPU has computed a step when its call returns; on MPS PyTorch's fused AdamW
ignored `found_inf` in versions that lmlab supports (pytorch/pytorch#186360)."""


def defers(recipe: Recipe, policy: Policy, optimizer: TrainingOptimizer) -> bool:
    """Return whether a training's updates are launched before loss and gradient norm are read.

    Skipping a spike, a rewind and adaptive clipping need the running statistics, a loss scale the last step's overflow, and
    several processes agree on a lost one before any change: these wait for the numbers.
    """
    decided_by_finiteness = recipe.train.on_spike == "note" and not recipe.optim.adaptive_clip and not policy.scaler
    computed_here = policy.engine == "torch" and policy.ranks == 1 and policy.torch_device.type in DEVICES
    return decided_by_finiteness and computed_here and optimizer.gated


def read_later(numbers: Float[Tensor, " numbers"]) -> Callable[[], list[float]]:
    """Copy `numbers` to the host without waiting; return a function that waits for the copy alone and returns them."""
    if numbers.device.type != "cuda":
        return numbers.tolist
    # Only a copy to pinned memory is asynchronous.
    there = torch.empty_like(numbers, device="cpu", pin_memory=True)
    there.copy_(numbers, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(numbers.device))

    def read() -> list[float]:
        copied.synchronize()
        return there.tolist()

    return read
