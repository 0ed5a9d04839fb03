"""Learning-rate schedules against published formulas and hand-computed values."""

from __future__ import annotations

import math

import pytest

from lmlab.optim.schedule import rate_share
from lmlab.recipe import WSD, Constant, Cosine, Linear


def published_cosine(step: int, warmup: int, span: int, peak: float, least: float) -> float:
    """Warm-up and cosine as nanoGPT's train.py defines them, in rates rather than shares."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if step > span:
        return least
    ratio = (step - warmup) / (span - warmup)
    return least + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (peak - least)


def test_cosine_equals_nanogpts_rates_at_every_step():
    schedule = Cosine(warmup=100, floor=0.1)
    for step in range(0, 2200):
        expected = published_cosine(step, 100, 2000, 1e-3, 1e-4)
        assert 1e-3 * rate_share(schedule, 2000, step) == pytest.approx(expected, rel=1e-12)


def test_cosine_by_hand():
    schedule = Cosine(warmup=3, floor=0.1)
    # warm-up: 1/4, 2/4, 3/4; then a half cosine over steps 3 to 7, whose middle is (1 + .1) / 2
    shares = [rate_share(schedule, 7, step) for step in range(9)]
    first_quarter = 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2
    last_quarter = 0.1 + 0.9 * (1 - math.sqrt(0.5)) / 2
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0, first_quarter, 0.55, last_quarter, 0.1, 0.1], rel=1e-12)


def test_constant_stays_at_the_peak_after_its_warm_up():
    assert [rate_share(Constant(warmup=1), 5, step) for step in (0, 1, 2, 1000)] == [0.5, 1.0, 1.0, 1.0]
    assert rate_share(Constant(), 5, 0) == 1.0


def test_linear_falls_in_a_straight_line_to_its_floor():
    shares = [rate_share(Linear(floor=0.2), 4, step) for step in range(6)]
    assert shares == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_wsd_is_stable_and_then_decays():
    shares = [rate_share(WSD(warmup=1, decay=0.4), 10, step) for step in range(12)]
    assert shares == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0])
    assert rate_share(WSD(decay=0.0), 10, 9) == 1.0
    assert rate_share(WSD(decay=1.0, floor=0.5), 10, 5) == pytest.approx(0.75)


def test_a_schedules_own_steps_come_before_the_runs():
    assert rate_share(Cosine(steps=10, floor=0.1), 1000, 10) == 0.1
    assert rate_share(Linear(steps=2000), 1000, 1000) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", [Linear, Cosine, WSD])
def test_a_warm_up_as_long_as_the_schedule_still_has_a_rate_at_every_step(kind):
    schedule = kind(warmup=5, floor=0.1)
    shares = [rate_share(schedule, 5, step) for step in range(8)]
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 0.1, 0.1, 0.1])
    assert rate_share(schedule, 3, 4) == pytest.approx(5 / 6)


@pytest.mark.parametrize("schedule", [Linear(warmup=7), Cosine(warmup=7), WSD(warmup=7), Constant(warmup=7)])
def test_shares_rise_to_the_peak_once_and_never_rise_again(schedule):
    shares = [rate_share(schedule, 100, step) for step in range(120)]
    peak = shares.index(max(shares))
    assert max(shares) == 1.0 and all(0.0 <= share <= 1.0 for share in shares)
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)


@pytest.mark.parametrize("kind", [Constant, Linear, Cosine, WSD])
def test_a_warm_up_that_begins_at_a_rate_is_a_straight_line_from_there_to_the_peak(kind):
    schedule = kind(warmup=4, warmup_from=0.2)
    assert [rate_share(schedule, 100, step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    without = kind(warmup_from=0.2)
    assert [rate_share(without, 10, step) for step in range(12)] == [rate_share(kind(), 10, step) for step in range(12)]
    assert rate_share(kind(warmup=4, warmup_from=0.0), 100, 0) == 0.0
