"""Identifying the datasheet of this machine's accelerator."""

import pytest

from lmlab.hardware.cards import CARDS
from lmlab.hardware.datasheet import DEVICES, card_of, datasheet_peak


def test_a_card_is_known_by_its_whole_name():
    names = {card.name for card in CARDS}
    assert set(DEVICES.values()) <= names
    assert card_of("NVIDIA GeForce RTX 3090").name == card_of("GeForce RTX 3090").name == "rtx3090"
    assert card_of("NVIDIA H100 80GB HBM3").name == "h100"


@pytest.mark.parametrize(
    "name", ["NVIDIA H100 PCIe", "NVIDIA H200 NVL", "NVIDIA GeForce RTX 3060 Laptop GPU", "NVIDIA GeForce RTX 4070 SUPER",
             "NVIDIA GeForce RTX 3060 Ti", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "Apple M1 GPU", ""]
)  # fmt: skip
def test_cards_of_nearly_the_same_name_have_other_peaks(name):
    assert card_of(name) is None


def test_the_peak_is_that_of_the_precision_in_use():
    # NVIDIA's datasheet of the H100 SXM5: 67, 989.4 / 2 and 1,978.9 / 2 TFLOP/s.
    card = card_of("NVIDIA H100 80GB HBM3")
    assert [datasheet_peak(card, name).flops for name in ("fp32", "tf32", "bf16")] == [67e12, 494.5e12, 989.5e12]
    assert "NVIDIA H100 datasheet" in datasheet_peak(card, "bf16").words
    assert datasheet_peak(card_of("Tesla T4"), "bf16") is None and datasheet_peak(None, "fp32") is None
