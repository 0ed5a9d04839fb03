"""The datasheet of the accelerator that is here, where its name says which one it is.

Utilisation is quoted against the datasheet's peak elsewhere, and a card seldom reaches it even with large products. So it stands
beside the share of the peak that was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lmlab import LabError
from lmlab.hardware.cards import Card, card_named

MAKER = "NVIDIA "
"""What newer drivers put before a card's name."""
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
"""The driver's name of a card, whole, and ours. Others of nearly the same name (Laptop GPU, SUPER, D, PCIe, NVL, MIG) have other
peaks. Apple's chips are sold with different numbers of GPU cores under one name, so that their peak isn't known from it."""


@dataclass(frozen=True, kw_only=True)
class DatasheetPeak:
    """What the datasheet says of the device that computes, in the precision in use."""

    card: Card
    flops: float
    """FLOP/s of dense products."""

    @property
    def words(self) -> str:
        """The peak and its source."""
        return f"the {self.flops / 1e12:,.4g} TFLOP/s of the datasheet ({self.card.sheet})"


def card_of(device_name: str) -> Card | None:
    """The card that the driver calls so; None for one that isn't known.

    >>> card_of("NVIDIA H100 80GB HBM3").name, card_of("NVIDIA H100 PCIe")
    ('h100', None)
    """
    name = DEVICES.get(device_name.strip().removeprefix(MAKER))
    return None if name is None else card_named(name)


def card_here(device: torch.device) -> Card | None:
    """The card that `device` is; None for a processor, Apple's chips and cards that aren't known."""
    return card_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


def datasheet_peak(card: Card | None, precision: str) -> DatasheetPeak | None:
    """Its peak in fp32, tf32, bf16 or fp16; None without a card, or where its datasheet has none."""
    if card is None:
        return None
    try:
        return DatasheetPeak(card=card, flops=card.peak(precision))
    except LabError:
        return None
