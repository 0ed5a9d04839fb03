"""Verdicts on simulated runs: chance is rarely called a difference, and a real difference rarely missed."""

import math

import numpy as np
import pytest

from lmlab.stats.paired import paired_difference
from lmlab.stats.verdict import DEFAULT_RELATIVE_NOISE, SeedNoise, seed_noise, seeds_needed, verdict

NOISE = SeedNoise(standard_deviation=0.01, seeds=8, source="measured")


def test_the_paired_interval_covers_the_true_difference_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        sizes = generator.integers(200, 2000, 150)
        hard = generator.gamma(20.0, 0.1, 150)  # a document's own bits a byte, the same for both models
        first = sizes * (hard + generator.normal(0.03, 0.05, 150))
        second = sizes * hard
        found = paired_difference(first, second, sizes, resamples=300, seed=trial)
        covered += found.low <= 0.03 <= found.high
    assert 0.90 <= covered / 300 <= 0.99


def test_the_paired_standard_error_is_that_of_the_formula_and_far_below_the_unpaired_one():
    generator = np.random.default_rng(2)
    hard, sizes = generator.gamma(20.0, 0.1, 400) * 1000, np.full(400, 1000)
    apart = generator.normal(20.0, 15.0, 400)
    found = paired_difference(hard + apart, hard, sizes)
    assert found.difference == pytest.approx(apart.mean() / 1000)
    assert found.standard_error == pytest.approx(apart.std(ddof=1) / math.sqrt(400) / 1000, rel=0.1)
    assert found.standard_error < 0.05 * hard.std() * math.sqrt(2 / 400) / 1000 * 2


def test_units_that_one_of_both_was_not_scored_on_are_left_out():
    found = paired_difference([1.0, math.nan, 3.0], [1.0, 2.0, 1.0], [1, 1, 1])
    assert (found.units, found.difference) == (2, 1.0)
    nothing = paired_difference([math.nan, 1.0], [1.0, 1.0], [1, 1])
    assert math.isnan(nothing.standard_error) and nothing.units == 1


def _trials(gain, count=1500, seeds_known=8, text=0.3, sides=1):
    """How often two recipes whose losses are `gain` seed deviations apart are called different, with a true seed deviation of 1, a
    noise that was measured from so many other seeds, and a standard error over the text of `text`."""
    generator = np.random.default_rng(3)
    called = {"better": 0, "worse": 0, "indistinguishable": 0}
    for _ in range(count):
        noise = seed_noise({"known": generator.normal(0.0, 1.0, seeds_known).tolist()})
        chance = generator.normal(0.0, math.hypot(math.sqrt(2 / sides), text))
        called[verdict(-gain + chance, text, noise, sides, sides).kind] += 1
    return {kind: times / count for kind, times in called.items()}


@pytest.mark.parametrize("seeds", [2, 3, 8, 20])
def test_equal_recipes_are_called_different_in_a_tenth_of_the_cases_at_most(seeds):
    rates = _trials(0.0, seeds_known=seeds)
    assert rates["indistinguishable"] >= 0.90
    assert abs(rates["better"] - rates["worse"]) < 0.03


def test_twice_the_smallest_visible_gain_is_seen_in_nine_of_ten_cases_from_eight_seeds():
    rates = _trials(2 * 1.96 * math.sqrt(2))
    assert rates["better"] >= 0.90 and rates["worse"] == 0.0


def test_more_seeds_on_each_side_see_what_one_run_each_does_not():
    assert _trials(2.5, sides=8)["better"] > 0.9 > 0.5 > _trials(2.5, sides=1)["better"]


def test_as_many_seeds_as_it_asks_for_see_the_difference_in_four_of_five_cases():
    needed = seeds_needed(1.0, 0.0, SeedNoise(standard_deviation=1.0, seeds=100, source="measured"))
    assert needed == 16  # 2 (1.96 + .84)^2 = 15.7
    assert 0.75 <= _trials(1.0, seeds_known=100, text=0.0, sides=needed)["better"] <= 0.88


def test_where_the_text_itself_leaves_too_much_open_no_number_of_seeds_will_do():
    assert seeds_needed(0.01, 0.01, NOISE) is None
    assert seeds_needed(0.0, 0.0, NOISE) is None
    assert seeds_needed(1.0, 0.001, NOISE) == 1


def test_the_noise_is_pooled_over_families_with_two_seeds_or_more():
    noise = seed_noise({"a": [1.0, 1.2], "b": [2.0, 2.0, 2.3], "c": [5.0], "d": [1.0, math.nan]})
    squares = 2 * 0.1**2 + 2 * 0.1**2 + 0.2**2
    assert noise.standard_deviation == pytest.approx(math.sqrt(squares / 3))
    assert (noise.seeds, noise.families, noise.freedom, noise.source) == (5, 2, 3, "measured")


def test_without_two_seeds_a_published_share_of_the_loss_stands_in_and_says_so():
    noise = seed_noise({"a": [2.0], "b": [4.0]})
    assert (noise.standard_deviation, noise.source) == (pytest.approx(3.0 * DEFAULT_RELATIVE_NOISE), "default")
    told = verdict(-0.001, math.nan, noise, 1, 1)
    assert told.kind == "indistinguishable" and "by default" in told.reason
    assert told.low == pytest.approx(
        -0.001 - 3.182446 * math.sqrt(2) * noise.standard_deviation
    )  # t of 3 degrees of freedom
    assert seed_noise({}).standard_deviation == 0.0


def test_the_interval_of_one_run_each_is_students_with_the_noises_degrees_of_freedom():
    told = verdict(0.05, 0.0, NOISE, 1, 1)
    assert told.kind == "worse" and told.high - told.difference == pytest.approx(2.3646 * math.sqrt(2) * 0.01, rel=1e-3)
    assert NOISE.smallest_visible() == pytest.approx(1.96 * math.sqrt(2) * 0.01, rel=1e-4)
    assert told.to_json()["verdict"] == "worse" and "within" not in told.reason


@pytest.mark.parametrize("text", [0.0, 0.002, 0.05, math.nan])
def test_the_smallest_visible_difference_is_where_the_verdict_changes(text):
    smallest = NOISE.smallest_judged(text)
    assert verdict(1.001 * smallest, text, NOISE, 1, 1).kind == "worse"
    assert verdict(0.999 * smallest, text, NOISE, 1, 1).kind == "indistinguishable"
