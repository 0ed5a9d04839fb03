"""Datasheets of accelerators that this machine doesn't have, and the share of their peak that training usually reaches.

Input: a card, a precision and a model's width. Output: the FLOP/s that a training run is likely to achieve, as a range. Two
things bound a pass (the roofline model, Williams et al. 2009): arithmetic, at MULTIPLYING of the peak, and memory traffic for
the activations of every token, FLOPs / intensity bytes. A model twice as wide has four times the FLOPs for twice
the bytes, so intensity grows with the width; fused operations move less memory. Each step then updates the weights, which
takes `update_seconds` at any batch size. The constants were fitted to published rates of models between 2M and 163M parameters
(`lmlab.planning.cards.published_speeds`), of which 80 % lie within SPREAD.

Peaks are dense (no 2:4 sparsity) and, on GeForce cards, of float16 products accumulated in float32, which is half of what is
advertised. All are for one card, in its fastest variant if there are several.

Several cards that train together each reach SEVERAL of that rate: four A100 wrote 419,259 tokens/s where one wrote 142,156
(S. Raschka, LLMs-from-scratch, chapter 5 bonus).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import dataclass
from typing import Literal

from lmlab import LabError

MULTIPLYING = 0.85
"""Share of its peak that a card reaches with large matrix products alone."""
MULTIPLYING_SHARED = 0.65
"""The same for float32 if its units also do integer arithmetic: GeForce cards and similar from Ampere on."""
INTENSITY = 24.0
"""FLOP per byte moved, for a model INTENSITY_WIDTH wide with four-byte numbers, run operation by operation."""
INTENSITY_WIDTH = 768
HALF = 1.3
"""Factor of the FLOP per byte with two-byte numbers: sums, norms and the residual stream stay float32."""
Fusing = Literal["nothing", "attention", "all"]
"""What is computed in one kernel: nothing; attention and norms; or everything that torch.compile fuses."""
FUSING: dict[Fusing, float] = {"nothing": 1.0, "attention": 4.0, "all": 5.0}
"""Factor of the FLOP per byte."""
UPDATE_BYTES = 130.0
"""Bytes moved per parameter in a step, besides its passes: clearing gradients, AdamW in parts, casting the weights."""
SPREAD = 1.45
"""80 % of published rates lie within this factor of the formula."""
SEVERAL = 0.74
"""Share of its own rate that each of several cards reaches while they exchange gradients."""
MOST_CARDS = 1024
SEVERAL_CARDS = re.compile(r"(?P<count>\d{1,6})\s*[x*]\s*(?P<name>.+)", re.IGNORECASE)
LAUNCH_SECONDS = 5e-6
"""Time for the CPU to launch one kernel, during which a waiting card is idle."""
KERNELS_A_LAYER, KERNELS_COMPILED = 100, 40
"""Approximate kernels of a layer forward and backward, including its share of the optimizer."""
RECURRENT_KERNELS_A_LAYER, RECURRENT_KERNELS = 6, 16
"""Kernels of one time step of a recurrence, forward and backward: in each layer, and for the gates, the norm and the vector."""
BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}
AUTOMATIC = ("bf16", "fp16", "fp32")
"""Precisions that `auto` chooses from: the first that a card has, as for a card that is present."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One accelerator by its datasheet. Peaks are in FLOP/s; None if it doesn't support that precision, or the peak isn't
    published.
    """

    name: str
    sheet: str
    """The document that the figures are from."""
    fp32: float
    fp32_shared: bool = False
    """Whether half of the units behind `fp32` also do integer arithmetic, so that products stay further below the peak."""
    tf32: float | None = None
    fp16: float | None = None
    bf16: float | None = None
    memory: float
    """Bytes."""
    bandwidth: float
    """Bytes a second."""
    watts: float | None
    """Board power; None if it isn't published."""
    count: int = 1
    """How many such cards train together; all other figures are of one."""

    @property
    def label(self) -> str:
        """The name, with the count if there are several."""
        return self.name if self.count == 1 else f"{self.count} x {self.name}"

    def peak(self, precision: str) -> float:
        """Return the dense FLOP/s in this precision; raises LabError if the card doesn't support it."""
        peaks = {"fp32": self.fp32, "tf32": self.tf32, "fp16": self.fp16, "bf16": self.bf16}
        flops = peaks.get(precision)
        if flops is None:
            there = ", ".join(name for name, value in peaks.items() if value is not None)
            raise LabError(f"{self.name} has no {precision}: expected one of {there}")
        return flops

    def multiplying(self, precision: str) -> float:
        """Return the share of that peak that large matrix products reach."""
        return MULTIPLYING_SHARED if precision == "fp32" and self.fp32_shared else MULTIPLYING

    def precision_of(self, setting: str) -> str:
        """Return the precision of `train.precision` on this card: the setting itself, or the one that `auto` chooses."""
        if setting != "auto":
            return setting
        return next(name for name in AUTOMATIC if {"bf16": self.bf16, "fp16": self.fp16, "fp32": self.fp32}[name])


@dataclass(frozen=True, kw_only=True)
class Achieved:
    """The FLOP/s that a training run is likely to reach on a card."""

    low: float
    value: float
    high: float
    utilisation: float
    """`value` as a share of the datasheet's peak (MFU)."""


def achieved_flops(card: Card, width: int, precision: str = "auto", fusing: Fusing = "attention") -> Achieved:
    """Return the FLOP/s that the passes of a model of this width achieve; raises LabError if the card doesn't support the
    precision.

    1 / achieved = 1 / (multiplying x peak) + 1 / (intensity x bandwidth), with SPREAD either way, and never above the peak.
    """
    chosen = card.precision_of(precision)
    peak = card.peak(chosen)
    intensity = INTENSITY * width / INTENSITY_WIDTH * FUSING[fusing] * (HALF if BYTES[chosen] == 2 else 1.0)
    value = 1.0 / (1.0 / (card.multiplying(chosen) * peak) + 1.0 / (intensity * card.bandwidth))
    return Achieved(low=value / SPREAD, value=value, high=min(value * SPREAD, peak), utilisation=value / peak)


def update_seconds(card: Card, parameters: int) -> float:
    """Return the seconds that a step takes besides its passes, at any batch size: the optimizer's memory traffic."""
    return UPDATE_BYTES * parameters / card.bandwidth


def least_step_seconds(layers: int, compiled: bool = False) -> float:
    """Return the minimum seconds of a pass: the time to launch its kernels. Head and embeddings count as two layers."""
    return (layers + 2) * (KERNELS_COMPILED if compiled else KERNELS_A_LAYER) * LAUNCH_SECONDS


def least_recurrent_seconds(layers: int, time_steps: int) -> float:
    """Return the same for a recurrence, whose time steps run one after another."""
    return time_steps * (layers * RECURRENT_KERNELS_A_LAYER + RECURRENT_KERNELS) * LAUNCH_SECONDS


def card_named(name: str) -> Card:
    """Return the card of that name, in any case and with any of the usual separators; 8xNAME for eight of them.

    LabError with the nearest name, or for a count of 0 or above 1,024.

    >>> card_named("RTX 3090").memory
    24000000000.0
    >>> card_named("8xA100-40").label
    '8 x a100-40'
    """
    several = SEVERAL_CARDS.fullmatch(name.strip())
    if several is not None:
        count = int(several["count"])
        if not 1 <= count <= MOST_CARDS:
            raise LabError(f"--card {name[:40]}: expected 1 to {MOST_CARDS:,} cards, such as 8xA100-40")
        return dataclasses.replace(card_named(several["name"]), count=count)
    wanted = _plain(name)
    for card in CARDS:
        if _plain(card.name) == wanted:
            return card
    names = {_plain(card.name): card.name for card in CARDS}
    close = difflib.get_close_matches(wanted, names, n=1)
    hint = f"did you mean {names[close[0]]}?" if close else f"expected one of {', '.join(names.values())}"
    raise LabError(f"there is no card {name[:40]!r} here: {hint}")


def _plain(name: str) -> str:
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return plain.removeprefix("nvidia").removeprefix("apple").removeprefix("geforce")


AMPERE = "NVIDIA Ampere GA102 GPU Architecture whitepaper"
ADA = "NVIDIA Ada GPU Architecture whitepaper"

CARDS = (
    Card(
        name="rtx3060",
        sheet="GeForce RTX 3060 specifications, by the rates of the GA102 whitepaper",
        fp32=12.7e12,
        fp32_shared=True,
        tf32=12.7e12,
        fp16=25.5e12,
        bf16=25.5e12,
        memory=12e9,
        bandwidth=360e9,
        watts=170,
    ),
    Card(
        name="rtx3090",
        sheet=AMPERE,
        fp32=35.6e12,
        fp32_shared=True,
        tf32=35.6e12,
        fp16=71e12,
        bf16=71e12,
        memory=24e9,
        bandwidth=936e9,
        watts=350,
    ),
    Card(
        name="rtx4060ti",
        sheet="GeForce RTX 4060 Ti 16GB specifications, by the rates of the Ada whitepaper",
        fp32=22.1e12,
        fp32_shared=True,
        tf32=22.1e12,
        fp16=44.1e12,
        bf16=44.1e12,
        memory=16e9,
        bandwidth=288e9,
        watts=165,
    ),
    Card(
        name="rtx4070",
        sheet="GeForce RTX 4070 specifications, by the rates of the Ada whitepaper",
        fp32=29.1e12,
        fp32_shared=True,
        tf32=29.1e12,
        fp16=58.3e12,
        bf16=58.3e12,
        memory=12e9,
        bandwidth=504e9,
        watts=200,
    ),
    Card(
        name="rtx4090",
        sheet=ADA,
        fp32=82.6e12,
        fp32_shared=True,
        tf32=82.6e12,
        fp16=165.2e12,
        bf16=165.2e12,
        memory=24e9,
        bandwidth=1008e9,
        watts=450,
    ),
    Card(
        name="rtx5090",
        sheet="NVIDIA RTX Blackwell GPU Architecture whitepaper",
        fp32=104.8e12,
        fp32_shared=True,
        tf32=104.8e12,
        fp16=209.5e12,
        bf16=209.5e12,
        memory=32e9,
        bandwidth=1792e9,
        watts=575,
    ),
    Card(
        name="t4",
        sheet="NVIDIA T4 datasheet",
        fp32=8.1e12,
        fp16=65e12,
        memory=16e9,
        bandwidth=320e9,
        watts=70,
    ),
    Card(
        name="l4",
        sheet="NVIDIA L4 datasheet (half of the figures with sparsity)",
        fp32=30.3e12,
        fp32_shared=True,
        tf32=60e12,
        fp16=121e12,
        bf16=121e12,
        memory=24e9,
        bandwidth=300e9,
        watts=72,
    ),
    Card(
        name="a10g",
        sheet="NVIDIA A10G datasheet",
        fp32=35e12,
        fp32_shared=True,
        tf32=35e12,
        fp16=70e12,
        bf16=70e12,
        memory=24e9,
        bandwidth=600e9,
        watts=300,
    ),
    Card(
        name="v100",
        sheet="NVIDIA V100 datasheet (SXM2, 16 GB)",
        fp32=15.7e12,
        fp16=125e12,
        memory=16e9,
        bandwidth=900e9,
        watts=300,
    ),
    Card(
        name="a100-40",
        sheet="NVIDIA A100 datasheet (SXM4, 40 GB)",
        fp32=19.5e12,
        tf32=156e12,
        fp16=312e12,
        bf16=312e12,
        memory=40e9,
        bandwidth=1555e9,
        watts=400,
    ),
    Card(
        name="a100-80",
        sheet="NVIDIA A100 datasheet (SXM4, 80 GB)",
        fp32=19.5e12,
        tf32=156e12,
        fp16=312e12,
        bf16=312e12,
        memory=80e9,
        bandwidth=2039e9,
        watts=400,
    ),
    Card(
        name="h100",
        sheet="NVIDIA H100 datasheet (SXM5; half of the figures with sparsity)",
        fp32=67e12,
        tf32=494.5e12,
        fp16=989.5e12,
        bf16=989.5e12,
        memory=80e9,
        bandwidth=3350e9,
        watts=700,
    ),
    Card(
        name="h200",
        sheet="NVIDIA H200 datasheet (SXM5; half of the figures with sparsity)",
        fp32=67e12,
        tf32=494.5e12,
        fp16=989.5e12,
        bf16=989.5e12,
        memory=141e9,
        bandwidth=4800e9,
        watts=700,
    ),
    Card(
        name="b200",
        sheet="NVIDIA Blackwell Architecture technical brief (HGX B200, an eighth of the board)",
        fp32=80e12,
        tf32=1100e12,
        fp16=2250e12,
        bf16=2250e12,
        memory=180e9,
        bandwidth=8000e9,
        watts=1000,
    ),
    # Apple published no FLOP/s for the Pro and Max chips after the first, nor any for M3 and M4. Memory is the most that is
    # sold, and the processor shares it.
    Card(name="m1", sheet="Apple, 10 November 2020", fp32=2.6e12, memory=16e9, bandwidth=68.3e9, watts=None),
    Card(name="m1-pro", sheet="Apple, 18 October 2021", fp32=5.2e12, memory=32e9, bandwidth=200e9, watts=None),
    Card(name="m1-max", sheet="Apple, 18 October 2021", fp32=10.4e12, memory=64e9, bandwidth=400e9, watts=None),
    Card(name="m2", sheet="Apple, 6 June 2022", fp32=3.6e12, memory=24e9, bandwidth=100e9, watts=None),
)
