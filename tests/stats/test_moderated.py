"""Variances shrunk to a common value, differences paired by seed, and multiple tests: against simulations and slow definitions."""

import itertools
import math

import numpy as np
import pytest

from lmlab.stats.factorial import difference, interaction
from lmlab.stats.moderated import StudentMixture, common_variance
from lmlab.stats.multiple import holm
from lmlab.stats.paired_seeds import judge_paired, noise_among, paired_contrast, run_variance
from lmlab.stats.student import student_quantile
from lmlab.stats.verdict import ErrorPart, half_width, p_value

NO_TEXT = ErrorPart(standard_error=math.nan)


def mixture(*parts):
    weights, scales, freedoms = (np.array(column) for column in zip(*parts, strict=True))
    return StudentMixture(weights=weights, scales=scales, freedoms=freedoms)


def test_a_mixture_of_one_is_students_t_and_its_quantile_inverts_its_probability():
    one = mixture((1.0, 2.0, 3.0))
    assert one.quantile(0.975) == pytest.approx(2 * student_quantile(0.975, 3), rel=1e-6)
    assert one.freedom == pytest.approx(3.0, rel=1e-4) and one.standard_error == 2.0
    two = mixture((0.5, 1.0, 2.0), (0.5, 3.0, 50.0))
    assert two.within(two.quantile(0.9)) == pytest.approx(0.8, abs=1e-6)
    generator = np.random.default_rng(0)
    drawn = np.concatenate([generator.standard_t(2.0, 200_000), 3 * generator.standard_t(50.0, 200_000)])
    assert two.quantile(0.975) == pytest.approx(np.quantile(np.abs(drawn), 0.95), rel=0.02)


def test_equal_variances_are_pooled_and_very_different_ones_are_left_apart():
    generator = np.random.default_rng(1)
    equal = common_variance(list(generator.chisquare(3, 60) / 3), [3.0] * 60)
    drawn = equal.moderated(0.2, 3.0)
    assert drawn.standard_error == pytest.approx(1.0, abs=0.15) and drawn.freedom > 20
    apart = common_variance(list(np.exp(generator.normal(0, 3, 60)) * generator.chisquare(20, 60) / 20), [20.0] * 60)
    assert apart.moderated(0.2, 20.0).standard_error == pytest.approx(math.sqrt(0.2), rel=0.15)
    assert common_variance([0.0, 0.0], [2.0, 2.0]) is None and common_variance([], []) is None
    assert common_variance([1.0, 0.0], [0.0, 2.0]) is None, "nothing was measured of the first"


def against_first(count):
    return [difference((cell,), (0,)) for cell in range(1, count)]


@pytest.mark.parametrize(("seeds", "shared"), [(2, 0.5), (3, 0.5), (3, 5.0)])
def test_intervals_of_paired_differences_hold_the_truth_as_often_as_they_say(seeds, shared):
    generator = np.random.default_rng(seeds)
    held = []
    for _ in range(60):
        of_seed = generator.normal(0.0, shared, seeds)
        spreads = np.exp(generator.normal(0.0, 0.4, 9))
        losses = {
            (cell,): dict(enumerate(10.0 + cell + of_seed + generator.normal(0.0, spread, seeds)))
            for cell, spread in enumerate(spreads)
        }
        common = run_variance(losses, against_first(9))
        for cell, contrast in enumerate(against_first(9), start=1):
            found = paired_contrast(contrast, losses, common)
            held.append(abs(found.value - cell) <= half_width([found.part]))
    assert 0.90 <= np.mean(held) <= 0.99


def test_what_a_seed_moves_everywhere_falls_out_of_a_difference():
    losses = {(0,): {1: 2.0, 2: 2.5, 3: 1.5}, (1,): {1: 1.9, 2: 2.41, 3: 1.39}}
    found = paired_contrast(difference((1,), (0,)), losses, run_variance(losses, against_first(2)))
    assert found.value == pytest.approx(-0.1) and found.seeds == 3
    told = judge_paired(found, NO_TEXT)
    assert told.kind == "better" and told.high < -0.05
    assert noise_among(losses).seeds.standard_deviation > 0.4, "the seeds themselves lie far apart"


def test_where_differences_are_unequally_sure_each_keeps_its_own_error():
    generator = np.random.default_rng(2)
    losses = {(cell,): dict(enumerate(generator.normal(2.0, 0.02, 6))) for cell in range(12)}
    for cell in range(1, 6):
        losses[(cell,)] = {seed: loss - 0.004 + generator.normal(0.0, 0.001) for seed, loss in losses[(0,)].items()}
    common = run_variance(losses, against_first(12))
    found = [paired_contrast(contrast, losses, common) for contrast in against_first(12)]
    halves = [half_width([one.part]) for one in found]
    assert max(halves[:5]) < 0.25 * min(halves[5:])
    assert [judge_paired(one, NO_TEXT).kind for one in found[:5]] == ["better"] * 5


def test_the_common_variance_of_a_run_is_that_of_the_differences():
    generator = np.random.default_rng(3)
    pairs = generator.normal(0.0, 1.0, (400, 2, 2)) + 7.0 * generator.normal(size=(1, 1, 2))
    losses = {(pair, side): dict(enumerate(pairs[pair, side])) for pair in range(400) for side in range(2)}
    contrasts = [difference((pair, 1), (pair, 0)) for pair in range(400)]
    assert run_variance(losses, contrasts).standard_deviation == pytest.approx(1.0, rel=0.1)


def test_other_seeds_on_the_two_sides_and_single_seeds_are_not_paired():
    common = run_variance({(0,): {1: 2.0, 2: 2.1}, (1,): {1: 2.2, 2: 2.1}}, against_first(2))
    for one, other in (({1: 2.0, 2: 2.1}, {1: 2.0, 3: 2.1}), ({1: 2.0}, {1: 2.1}), ({1: 2.0, 2: 2.1}, {1: 2.0})):
        assert paired_contrast(difference((0,), (1,)), {(0,): one, (1,): other}, common) is None
    assert run_variance({(0,): {1: 2.0}, (1,): {1: 3.0}}, against_first(2)) is None
    shifted = {(0,): {1: 2.0, 2: 2.1, 3: 2.3}, (1,): {1: 3.0, 2: 3.1, 3: 3.3}}
    assert run_variance(shifted, against_first(2)) is None, "rounding is no noise"


def test_more_seeds_leave_less_open_and_the_count_that_is_asked_for_is_enough():
    generator = np.random.default_rng(3)
    losses = {(cell,): dict(enumerate(generator.normal(0.0, 1.0, 3))) for cell in range(8)}
    found = paired_contrast(difference((1,), (0,)), losses, run_variance(losses, against_first(8)))
    halves = [half_width([found.part_of(seeds)]) for seeds in (3, 6, 12, 24)]
    assert halves == sorted(halves, reverse=True) and halves[0] > 2.5 * halves[-1]
    needed = judge_paired(found, NO_TEXT).seeds_needed
    spread = found.part_of(needed).standard_error
    assert abs(found.value) >= half_width([found.part_of(needed)]) + 0.84 * spread


@pytest.mark.parametrize(
    "parts",
    [
        [ErrorPart(standard_error=0.5)],
        [ErrorPart(standard_error=0.5, freedom=3)],
        [ErrorPart(standard_error=0.2), ErrorPart(standard_error=0.5, freedom=2.5)],
        [NO_TEXT, ErrorPart(standard_error=1.0, mixture=mixture((0.3, 0.4, 2.0), (0.7, 0.2, 9.0)))],
        [ErrorPart(standard_error=0.3), ErrorPart(standard_error=1.0, mixture=mixture((1.0, 0.4, 2.0)))],
    ],
)
def test_the_p_value_is_the_level_at_which_the_interval_ends_at_the_difference(parts):
    for level in (0.5, 0.9, 0.95, 0.999):
        assert p_value(-half_width(parts, level), parts) == pytest.approx(1 - level, rel=1e-4)
    assert p_value(0.0, parts) == 1.0


def test_holms_adjustment_is_that_of_all_bonferroni_tests_of_sets():
    generator = np.random.default_rng(4)
    for count in (1, 2, 5):
        values = list(generator.uniform(0, 0.2, count))
        # Closed testing: a hypothesis is rejected where every set that holds it is.
        slow = [
            max(
                min(1.0, len(chosen) * min(values[one] for one in chosen))
                for size in range(1, count + 1)
                for chosen in itertools.combinations(range(count), size)
                if place in chosen
            )
            for place in range(count)
        ]
        assert holm(values) == pytest.approx(slow)


def test_weights_of_cells_that_computed_the_same_are_added_up():
    contrast = interaction((2, 2), (0, 1), (1, 1))
    same = {(1, 1): (0, 1), (0, 0): (0, 0)}
    assert contrast.merged(same).weights == {(1, 0): -1.0, (0, 0): 1.0}
    assert difference((1,), (0,)).merged({(1,): (0,)}).weights == {}
