"""PyTorch's AdamW (arXiv 1711.05101), with its state made at once and one kernel a group where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def build_adamw(groups: Sequence[dict[str, Any]], betas: tuple[float, float], eps: float) -> torch.optim.AdamW:
    """AdamW over `groups` (each with params, lr and weight_decay): fused where the device has it, else foreach.

    Steps and moments exist at once (zeros), so that they can be saved and loaded before the first step.
    """
    try:
        optimizer = torch.optim.AdamW(list(groups), betas=betas, eps=eps, fused=True)
    except RuntimeError:  # the parameters' device has no fused kernel
        optimizer = torch.optim.AdamW(list(groups), betas=betas, eps=eps, fused=False, foreach=True)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            # the fused kernel counts on the parameter's device, the other one on the host, both in float32
            device = parameter.device if group["fused"] else "cpu"
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=device),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }
    return optimizer
