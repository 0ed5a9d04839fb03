"""The datasheet of this machine's accelerator, identified by its name.

Utilisation is usually quoted against the datasheet's peak, which a card seldom reaches even with large products. So it is reported
beside the share of the measured peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lmlab import LabError
from lmlab.hardware.cards import Card, card_named

MAKER = "NVIDIA "
"""Prefix that newer drivers put before a card's name."""
DEVICES: Mapping[str, str] = {
    "GeForce RTX 3060": "rtx3060",
    "GeForce RTX 3090": "rtx3090",
    "GeForce RTX 4060 Ti": "rtx4060ti",
    "GeForce RTX 4070": "rtx4070",
    "GeForce RTX 4090": "rtx4090",
    "GeForce RTX 5090": "rtx5090",
    "Tesla T4": "t4",
    "L4": "l4",
    "A10G": "a10g",
    "Tesla V100-SXM2-16GB": "v100",
    "A100-SXM4-40GB": "a100-40",
    "A100-SXM4-80GB": "a100-80",
    "H100 80GB HBM3": "h100",
    "H200": "h200",
    "B200": "b200",
}
"""The driver's full name of a card, and ours. Variants with similar names (Laptop GPU, SUPER, D, PCIe, NVL, MIG) have other
peaks. Apple's chips are sold with different numbers of GPU cores under one name, so the name doesn't determine their peak."""


@dataclass(frozen=True, kw_only=True)
class DatasheetPeak:
    """The datasheet's peak of a device in one precision."""

    card: Card
    flops: float
    """FLOP/s of dense products."""

    @property
    def words(self) -> str:
        """The peak and its source."""
        return f"the {self.flops / 1e12:,.4g} TFLOP/s of the datasheet ({self.card.sheet})"


def card_of(device_name: str) -> Card | None:
    """Return the card with this driver name; None if it isn't known.

    >>> card_of("NVIDIA H100 80GB HBM3").name, card_of("NVIDIA H100 PCIe")
    ('h100', None)
    """
    name = DEVICES.get(device_name.strip().removeprefix(MAKER))
    return None if name is None else card_named(name)


def card_here(device: torch.device) -> Card | None:
    """Return the card that `device` is; None for a CPU, Apple's chips and unknown cards."""
    return card_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


def datasheet_peak(card: Card | None, precision: str) -> DatasheetPeak | None:
    """Return the card's peak in fp32, tf32, bf16 or fp16; None without a card, or if its datasheet has none."""
    if card is None:
        return None
    try:
        return DatasheetPeak(card=card, flops=card.peak(precision))
    except LabError:
        return None
