"""Fitting recovers a known law from noisy points, its intervals cover outcomes, and extrapolation raises an alarm."""

import math
import re

import numpy as np
import pytest

from lmlab import LabError
from lmlab.scaling.fit import LossPoint, Priors, fit_law
from lmlab.scaling.law import LossLaw
from lmlab.scaling.region import beyond, convex_hull

TRUE = LossLaw(entropy=1.7, a=60.0, b=250.0, alpha=0.33, beta=0.38)
LADDER = [(5e4, 2e5), (5e4, 8e5), (2e5, 2e5), (2e5, 8e5), (8e5, 2e5), (1e5, 4e5)]


def points_of(law, places, noise, seed, unique_tokens=None):
    """A point at each (parameters, tokens), with chance in its loss."""
    chance = np.random.default_rng(seed).standard_normal(len(places)) * noise
    return [
        LossPoint(
            parameters=size,
            tokens=length,
            unique_tokens=unique_tokens,
            loss=law.loss(size, length, unique_tokens) * math.exp(luck),
        )
        for (size, length), luck in zip(places, chance, strict=True)
    ]


def wide_grid():
    return [(size, length) for size in np.geomspace(1e4, 1e9, 8) for length in np.geomspace(1e5, 1e11, 8)]


def test_the_published_method_finds_a_law_from_many_points():
    fitted = fit_law(points_of(TRUE, wide_grid(), 0.002, seed=1), priors=None, replicas=20).law
    assert fitted.entropy == pytest.approx(TRUE.entropy, rel=0.02)
    assert fitted.alpha == pytest.approx(TRUE.alpha, abs=0.01) and fitted.beta == pytest.approx(TRUE.beta, abs=0.01)
    assert fitted.a == pytest.approx(TRUE.a, rel=0.15) and fitted.b == pytest.approx(TRUE.b, rel=0.15)


def test_priors_give_way_to_many_points_and_outliers_hardly_count():
    far = LossLaw(entropy=1.2, a=5.0, b=30.0, alpha=0.15, beta=0.2)
    points = points_of(far, wide_grid(), 0.001, seed=2)
    points[5] = LossPoint(parameters=points[5].parameters, tokens=points[5].tokens, loss=points[5].loss * 1.5)
    fitted = fit_law(points, replicas=50)
    assert fitted.law.alpha == pytest.approx(0.15, abs=0.03) and fitted.law.beta == pytest.approx(0.2, abs=0.03)


def test_the_minimum_is_one_by_a_search_that_knows_no_derivatives():
    points = points_of(TRUE, LADDER, 0.02, seed=3)
    priors, fitted = Priors(), fit_law(points, replicas=1).law
    logs = np.log([[p.parameters, p.tokens, p.loss] for p in points])
    sizes, lengths = logs[:, 0].mean(), logs[:, 1].mean()

    def objective(law):
        residuals = np.array([math.log(law.loss(p.parameters, p.tokens)) for p in points]) - logs[:, 2]
        size = np.abs(residuals)
        huber = np.where(size <= 1e-3, size**2 / 2, 1e-3 * (size - 5e-4)).sum()
        at_centre = (math.log(law.a) - law.alpha * sizes, math.log(law.b) - law.beta * lengths)
        numbers = [(math.log(law.entropy) - logs[:, 2].min(), priors.entropy), (law.alpha, priors.alpha)]
        numbers += [(law.beta, priors.beta), (at_centre[0] - logs[:, 2].mean(), priors.parameters_term)]
        numbers += [(at_centre[1] - logs[:, 2].mean(), priors.tokens_term)]
        return huber / (0.01 * 1e-3) + sum((found - centre) ** 2 / 2 / wide**2 for found, (centre, wide) in numbers)

    best, generator = objective(fitted), np.random.default_rng(0)
    names = ("entropy", "a", "b", "alpha", "beta")
    for _ in range(3000):
        moved = {name: getattr(fitted, name) * math.exp(generator.normal() * 0.003) for name in names}
        assert objective(LossLaw(**moved)) > best - 1e-3


def test_the_same_arguments_give_the_same_law_and_another_seed_another_interval():
    points = points_of(TRUE, LADDER, 0.01, seed=4)
    one, same, other = fit_law(points, seed=1), fit_law(points, seed=1), fit_law(points, seed=2)
    assert one == same
    assert one.law == other.law and one.expected(1e6, 1e6) != other.expected(1e6, 1e6)


def coverage(simulations, replicas):
    """The share of intervals that hold a run four times as large and long as any of a ladder, over laws of all kinds.

    The laws are spread as the priors are, and stray from themselves by the noise for each factor of e outside the ladder.
    """
    generator, held, target = np.random.default_rng(5), 0, (3e6, 3e6)
    for number in range(simulations):
        alpha, beta = generator.normal(0.35, 0.1), generator.normal(0.37, 0.1)
        truth = LossLaw(
            entropy=1.3 * math.exp(generator.normal(0, 0.35)),
            a=0.35 * math.exp(generator.normal(0, 1.0)) * 2e5**alpha,
            b=0.6 * math.exp(generator.normal(0, 1.0)) * 4e5**beta,
            alpha=alpha,
            beta=beta,
        )
        fitted = fit_law(points_of(truth, LADDER, 0.01, seed=100 + number), replicas=replicas)
        straying = generator.normal() * 0.01 * (1 + beyond(LADDER, target))
        held += fitted.expected(*target).holds(truth.loss(*target) * math.exp(straying))
    return held / simulations


def test_about_four_of_five_intervals_hold_what_comes():
    assert 0.7 <= coverage(30, replicas=60) <= 0.97


@pytest.mark.slow
def test_four_of_five_intervals_hold_what_comes_over_hundreds_of_laws():
    assert 0.76 <= coverage(300, replicas=200) <= 0.92


def test_repeated_tokens_are_fitted_as_what_they_are_worth():
    points = points_of(TRUE, wide_grid(), 0.001, seed=6, unique_tokens=1e8)
    fitted = fit_law(points, replicas=20)
    assert fitted.law.loss(1e7, 1e9, 1e8) == pytest.approx(TRUE.loss(1e7, 1e9, 1e8), rel=0.005)
    assert fitted.law.loss(1e7, 1e9) < fitted.law.loss(1e7, 1e9, 1e8)


def test_intervals_widen_with_the_way_from_the_runs_and_with_shared_chance():
    points = points_of(TRUE, LADDER, 0.01, seed=7)
    fitted = fit_law(points)
    inside, outside, far = (fitted.expected(size, size * 4) for size in (1e5, 2e6, 1e8))
    widths = [entry.high - entry.low for entry in (inside, outside, far)]
    assert widths[0] < widths[1] < widths[2]
    assert inside.evidence == "fitted" and inside.alarm == ""
    together = [LossPoint(parameters=p.parameters, tokens=p.tokens, loss=p.loss, group="one run") for p in points]
    shared = fit_law(together).expected(1e5, 4e5)
    assert shared.high - shared.low > widths[0]


@pytest.mark.parametrize(
    ("parameters", "tokens", "unique_tokens", "alarm"),
    [
        (1e5, 6.4e6, None, "8.0 times the largest tokens that were fitted"),
        (5e3, 4e5, None, "1/10.0 of the smallest parameters that were fitted"),
        (8e5, 8e5, None, "no run that was fitted had about so many parameters with so many tokens"),
        (1e5, 4e5, 2e4, "20.0 passes over the text, where the runs that were fitted made at most 1.0"),
    ],
)
def test_leaving_the_runs_raises_an_alarm_that_says_by_how_much(parameters, tokens, unique_tokens, alarm):
    expected = fit_law(points_of(TRUE, LADDER, 0.01, seed=8), replicas=20).expected(parameters, tokens, unique_tokens)
    assert expected.evidence == "extrapolated" and expected.alarm == alarm
    assert expected.low <= expected.value <= expected.high


def test_runs_that_follow_no_law_raise_an_alarm_inside_their_range_too():
    expected = fit_law(points_of(TRUE, LADDER, 0.08, seed=10), replicas=20).expected(1e5, 4e5)
    assert expected.evidence == "fitted" and re.fullmatch(
        r"the runs themselves lie \d\.\d% off the law", expected.alarm
    )


def test_what_is_no_run_is_refused():
    points = points_of(TRUE, LADDER, 0.01, seed=9)
    with pytest.raises(LabError, match="3 runs are too few"):
        fit_law(points[:3])
    with pytest.raises(LabError, match="is not a run to fit"):
        fit_law([*points, LossPoint(parameters=1e5, tokens=1e5, loss=math.nan)])


def test_a_hull_holds_its_own_places_and_says_how_far_others_are():
    square = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0), (1.0, 1.0), (1.0, 0.0)]
    assert set(convex_hull(square)) == set(square[:4])
    runs = [(1e5, 1e5), (1e6, 1e5), (1e5, 1e6)]
    assert beyond(runs, (1.5e5, 1.5e5)) == 0.0
    assert beyond(runs, (1e5 / math.e, 1.1e5)) == pytest.approx(1.0)
    assert beyond([(1e5, 2e6)] * 3, (1e5 * math.e, 2e6)) == pytest.approx(1.0)
    line = [(size, 20 * size) for size in (1e5, 1e6, 1e7)]
    assert beyond(line, (3e6, 6e7)) == pytest.approx(0.0, abs=1e-9)
    assert beyond(line, (3e6, 6e6)) > 1.0
