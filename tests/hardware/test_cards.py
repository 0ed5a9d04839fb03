"""Datasheets of accelerators that this machine doesn't have."""

from __future__ import annotations

import pytest

from lmlab import LabError
from lmlab.hardware.cards import CARDS, achieved_flops, card_named, least_recurrent_seconds, update_seconds


def test_every_card_is_plausible_and_named_once():
    assert len({card.name for card in CARDS}) == len(CARDS)
    for card in CARDS:
        assert card.sheet
        assert 1e12 < card.fp32 < 2e14
        assert 1e10 < card.bandwidth < 1e13
        # A matrix unit is no slower than the plain one, and no more than 32 times as fast.
        for peak in (card.tf32, card.fp16, card.bf16):
            assert peak is None or card.fp32 <= peak <= 32 * card.fp32
        achieved = achieved_flops(card, 512)
        assert 0 < achieved.low < achieved.value < achieved.high <= card.peak(card.precision_of("auto"))


def test_wider_models_and_compiled_steps_achieve_more():
    card = card_named("h100")
    assert achieved_flops(card, 1536).value > achieved_flops(card, 768).value
    eager, fused, compiled = (achieved_flops(card, 768, fusing=what).value for what in ("nothing", "attention", "all"))
    assert compiled > fused > eager


def test_fp32_is_not_tf32():
    for name in ("rtx3090", "rtx4090", "a100-40", "h100"):
        card = card_named(name)
        assert achieved_flops(card, 768, "fp32").value < 0.9 * achieved_flops(card, 768, "tf32").value


def test_an_update_reads_and_writes_each_number_a_few_times():
    # 163M float32 parameters at 936 GB/s: clearing, AdamW and casting take about 25 ms, whatever the batch.
    assert 0.015 < update_seconds(card_named("rtx3090"), 163_009_536) < 0.035


def test_a_recurrence_launches_its_time_steps_one_by_one():
    assert least_recurrent_seconds(6, 64) == pytest.approx(64 * (6 * 6 + 16) * 5e-6)


@pytest.mark.parametrize("name", ["RTX 3090", "nvidia-rtx-3090", "GeForce RTX 3090", "rtx3090"])
def test_names_are_read_as_people_write_them(name):
    assert card_named(name).name == "rtx3090"


def test_an_unknown_card_is_refused_with_the_nearest():
    with pytest.raises(LabError, match=r"no card 'rtx3091' here: did you mean rtx3090\?"):
        card_named("rtx3091")
    with pytest.raises(LabError, match="expected one of rtx3060"):
        card_named("wheelbarrow")


def test_a_precision_that_a_card_lacks_is_refused():
    with pytest.raises(LabError, match="t4 has no bf16: expected one of fp32, fp16"):
        achieved_flops(card_named("t4"), 768, "bf16")
    assert card_named("t4").precision_of("auto") == "fp16"
    assert card_named("m1-max").precision_of("auto") == "fp32"
