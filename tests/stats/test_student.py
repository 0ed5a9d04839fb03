"""Student's t against printed tables, and against the normal distribution in the limit."""

import math

import pytest

from lmlab.stats.student import normal_quantile, student_quantile, student_within


@pytest.mark.parametrize(
    ("freedom", "at_90", "at_975"),
    [(1, 3.0777, 12.7062), (2, 1.8856, 4.3027), (5, 1.4759, 2.5706), (7, 1.4149, 2.3646), (30, 1.3104, 2.0423)],
)  # fmt: skip
def test_quantiles_are_those_of_the_tables(freedom, at_90, at_975):
    assert student_quantile(0.9, freedom) == pytest.approx(at_90, abs=1e-4)
    assert student_quantile(0.975, freedom) == pytest.approx(at_975, abs=1e-4)


def test_with_endless_degrees_of_freedom_it_is_the_normal_distribution():
    assert student_quantile(0.975, math.inf) == normal_quantile(0.975) == pytest.approx(1.959964, abs=1e-6)
    assert student_quantile(0.975, 9e4) == pytest.approx(1.959964, abs=1e-4)


def test_degrees_of_freedom_need_not_be_whole_and_never_count_below_one():
    assert student_quantile(0.975, 3) > student_quantile(0.975, 3.5) > student_quantile(0.975, 4)
    assert student_quantile(0.975, 0.2) == student_quantile(0.975, 1)


def test_one_degree_of_freedom_is_cauchys_distribution():
    assert student_within(2.0, 1) == pytest.approx(2 * math.atan(2.0) / math.pi, abs=1e-9)
