"""PyTorch's AdamW (arXiv 1711.05101), with state that is created in advance, and fused kernels where the device has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lmlab.optim.rule import Rule


class AdamW(Rule):
    """AdamW over groups that each have params, lr and weight_decay: fused if the device supports it, else foreach.

    Steps and moments are created as zeros, so that they can be saved and loaded before the first step. PyTorch's optimizer is
    created at once if a parameter isn't on the CPU, because the device determines where the step counts are kept; else by the
    first step, which the native engine never calls.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"betas": betas, "eps": eps})
        self._torch: torch.optim.AdamW | None = None
        parameters: list[nn.Parameter] = [parameter for group in self.param_groups for parameter in group["params"]]
        for parameter in parameters:
            self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }
        if any(parameter.device.type != "cpu" for parameter in parameters):
            self._torch = self._build()

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        if self._torch is None:
            self._torch = self._build()
        for own, theirs in zip(self.param_groups, self._torch.param_groups, strict=True):
            theirs["lr"] = own["lr"]
        self._torch.step()

    @property
    def gated(self) -> bool:
        """Whether the device has PyTorch's fused kernels, which read on the device whether to skip."""
        self._torch = self._torch or self._build()
        return all(group["fused"] for group in self._torch.param_groups)

    def step_unless(self, skip: Tensor) -> None:
        """See `Rule`."""
        self._torch = self._torch or self._build()
        optimizer: Any = self._torch
        # An attribute that torch.amp.GradScaler sets. Step counts are raised, and lowered by this 1 where the update is skipped.
        optimizer.found_inf = skip.to(torch.float32)
        try:
            self.step()
        finally:
            del optimizer.found_inf

    def _build(self) -> torch.optim.AdamW:
        """Return PyTorch's optimizer over the same groups, sharing this object's state."""
        names = ("params", "lr", "weight_decay", "betas", "eps")
        groups = [{name: group[name] for name in names} for group in self.param_groups]
        try:
            optimizer = torch.optim.AdamW(groups, fused=True)
        except RuntimeError:  # the parameters' device has no fused kernel
            optimizer = torch.optim.AdamW(groups, fused=False, foreach=True)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                # The fused kernel keeps the step count on the parameter's device, foreach on the host, both in float32.
                state["step"] = state["step"].to(parameter.device if group["fused"] else "cpu")
                optimizer.state[parameter] = state
        return optimizer
