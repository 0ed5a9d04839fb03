"""The peaks for model FLOPs utilisation (MFU): the fastest matrix products measured here, and the datasheet's peak."""

from __future__ import annotations

import torch

from lmlab.hardware.datasheet import DatasheetPeak, card_here, datasheet_peak
from lmlab.hardware.peak import measured_peak_flops
from lmlab.native.peak import multiply_add_flops, product_flops
from lmlab.planning.trials.store import measured
from lmlab.training.policy import Policy

PRODUCT_MEASUREMENTS = 5
"""Measurements of the engine's products, some 50 ms each; the fastest counts, since the first may run at a low clock."""


def peak_flops(policy: Policy) -> float:
    """Return the FLOP/s of PyTorch's products, or of the native engine's where it computes the run and they are faster.

    It's measured once on a machine and stored.
    """
    return measured("peak", policy, {}, ["flops"], lambda: {"flops": _measure(policy)})["flops"]


def datasheet_of(policy: Policy) -> DatasheetPeak | None:
    """Return the peak in the datasheet of the policy's device; None where unknown."""
    return datasheet_peak(card_here(policy.torch_device), policy.precision)


def fastest_flops(policy: Policy) -> float:
    """Return a limit of any step's FLOP/s: on a CPU that of multiply-adds in registers, where they can be measured; else the
    peak."""
    peak = peak_flops(policy)
    return max(peak, multiply_add_flops(policy.threads) or 0.0) if policy.device == "cpu" else peak


def _measure(policy: Policy) -> float:
    peak = measured_peak_flops(policy.torch_device, policy.autocast_dtype or torch.float32)
    if policy.engine != "native":
        return peak
    return max(peak, *(product_flops(policy.threads) or 0.0 for _ in range(PRODUCT_MEASUREMENTS)))
