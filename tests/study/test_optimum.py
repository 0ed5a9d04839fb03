"""The optimum of a few noisy losses, against parabolas that are known."""

import numpy as np
import pytest

from lmlab.scaling.estimate import LEVEL
from lmlab.study.tune.halving import ShortRun
from lmlab.study.tune.optimum import find_optimum

RATES = (-2, -1, 0, 1)


def losses_of(place: float, curvature: float, noise: float = 0.0, seed: int = 0, seeds: int = 2) -> dict:
    generator = np.random.default_rng(seed)
    levels = 2.0 + 0.05 * generator.normal(size=seeds)
    return {
        ShortRun(100, number, rate): levels[number] + curvature * (rate - place) ** 2 + noise * generator.normal()
        for number in range(seeds)
        for rate in RATES
    }


def test_an_exact_parabola_gives_its_own_minimum_whatever_the_levels_of_the_seeds():
    found = find_optimum(losses_of(-0.37, 0.04), 100)
    assert found is not None
    assert found.place.value == pytest.approx(-0.37) and found.curvature == pytest.approx(0.04)
    assert (found.place.low, found.place.high) == pytest.approx((-0.37, -0.37), abs=1e-6)
    assert (found.half.value, found.double.value) == pytest.approx((0.04, 0.04))


def test_the_interval_holds_the_optimum_about_as_often_as_it_says():
    held = [
        found.place.holds(-0.3)
        for seed in range(300)
        if (found := find_optimum(losses_of(-0.3, 0.04, noise=0.008, seed=seed), 100)) is not None
    ]
    assert len(held) > 295
    assert LEVEL - 0.08 < np.mean(held) < LEVEL + 0.12


def test_a_rate_that_fails_by_chance_hardly_moves_the_optimum():
    losses = losses_of(-0.4, 0.04)
    losses[ShortRun(100, 0, 1)] += 0.5
    found = find_optimum(losses, 100)
    assert found is not None and found.place.value == pytest.approx(-0.4, abs=0.25)
    assert found.double.value > found.half.value


def test_no_optimum_is_found_at_an_end_nor_in_too_few_rates():
    assert find_optimum({ShortRun(100, 0, rate): 2.0 - 0.1 * rate for rate in RATES}, 100) is None
    assert find_optimum(losses_of(0.0, 0.1), 50) is None
    two = {run: loss for run, loss in losses_of(0.0, 0.1).items() if run.rate > -1}
    assert find_optimum(two, 100) is None


def test_three_rates_of_one_seed_say_nothing_of_their_error():
    three = {run: loss for run, loss in losses_of(-0.2, 0.1, seeds=1).items() if run.rate > -2}
    found = find_optimum(three, 100)
    assert found is not None and found.place.value == pytest.approx(-0.2)
    assert found.place.alarm == (
        "only 3 rates were trained to the end, so the interval can't be checked; use --trials 5 --seeds 2"
    )
    assert (found.place.low, found.place.high) == pytest.approx((-0.8, 0.8), abs=0.21)
