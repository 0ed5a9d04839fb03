"""PyTorch's AdamW (arXiv 1711.05101), with its state made at once and one kernel a group where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lmlab.optim.rule import Rule


class AdamW(Rule):
    """AdamW over groups that each have params, lr and weight_decay: fused where the device has it, else foreach.

    Steps and moments exist at once (zeros), so that they can be saved and loaded before the first step. PyTorch's object
    itself is made for parameters elsewhere than on the CPU, to see what it can do there, and else by the first step: the
    native engine takes none.
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
        """One update of every parameter that has a gradient, by PyTorch."""
        if self._torch is None:
            self._torch = self._build()
        for own, theirs in zip(self.param_groups, self._torch.param_groups, strict=True):
            theirs["lr"] = own["lr"]
        self._torch.step()

    def _build(self) -> torch.optim.AdamW:
        """PyTorch's optimizer over the same groups and the same state."""
        names = ("params", "lr", "weight_decay", "betas", "eps")
        groups = [{name: group[name] for name in names} for group in self.param_groups]
        try:
            optimizer = torch.optim.AdamW(groups, fused=True)
        except RuntimeError:  # the parameters' device has no fused kernel
            optimizer = torch.optim.AdamW(groups, fused=False, foreach=True)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                # The fused kernel counts on the parameter's device, the other one on the host, both in float32.
                state["step"] = state["step"].to(parameter.device if group["fused"] else "cpu")
                optimizer.state[parameter] = state
        return optimizer
