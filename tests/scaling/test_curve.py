"""Extrapolating curves to their end: known, simulated and real ones."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lmlab.optim.schedule import rate_share
from lmlab.recipe.schedule import WSD, Constant, Cosine, Linear
from lmlab.scaling import curve
from lmlab.scaling.curve import expected_end, rate_path

REAL = json.loads((Path(__file__).parent / "curves.json").read_text(encoding="utf-8"))
"""Validation losses of real runs: the schedule, its length, steps, losses."""
SCHEDULES = {"constant": Constant, "linear": Linear, "cosine": Cosine, "wsd": WSD}


def path_of(schedule, length):
    return rate_path(lambda step: rate_share(schedule, length, step), length)


def curve_of(path, steps, reducible=1.0, beta=0.5, cooling=0.2, entropy=1.4):
    """The form without priors and straying, from an endless run's loss up."""
    return entropy + reducible * (path.sum_at(steps) / 100) ** -beta - cooling * path.fallen_at(steps)


@pytest.mark.parametrize(
    "schedule", [Constant(warmup=30), Linear(warmup=50, floor=0.1), Cosine(steps=700), WSD(warmup=10, decay=0.3)]
)
def test_a_path_has_the_sums_that_adding_up_gives(schedule):
    shares = np.array([rate_share(schedule, 1000, step) for step in range(1000)])
    path = path_of(schedule, 1000)
    for step in (10, 333, 500, 999, 1000):
        assert path.sum_at(step) == pytest.approx(shares[:step].sum(), abs=0.6)
        before = shares[: step + 1]
        assert path.fallen_at(step) == pytest.approx(before.max() - before[-1], abs=2e-3)


def test_a_path_of_endless_length_costs_no_more():
    path = path_of(Linear(warmup=1000), 10**12)
    assert path.sum_at(10**12) == pytest.approx(0.5e12, rel=1e-3)
    assert len(path.steps) < 2000


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "wsd"])
@pytest.mark.parametrize("seen", [0.35, 0.5, 0.75])
def test_a_known_curve_comes_out_within_its_interval(kind, seen):
    path = path_of(SCHEDULES[kind](warmup=20), 1000)
    steps = np.arange(0, 1001, 25)
    losses = curve_of(path, np.maximum(steps, 1)) + 0.004 * np.random.default_rng(1).standard_normal(len(steps))
    shown = steps <= seen * 1000
    found = expected_end(steps[shown], losses[shown], path)
    assert found.low < found.value < found.high and found.evidence == "extrapolated"
    assert found.holds(float(curve_of(path, 1000)))
    assert found.rests_on == f"the run's own curve over {int(seen * 1000) // 25 * 25 / 1000:.0%} of its steps"


def test_a_falling_rate_is_taken_into_account_before_it_falls():
    steps = np.arange(0, 501, 25)
    steady, falls = path_of(Constant(warmup=20), 1000), path_of(WSD(warmup=20, decay=0.4), 1000)
    losses = curve_of(steady, np.maximum(steps, 1))
    without, with_it = expected_end(steps, losses, steady), expected_end(steps, losses, falls)
    assert with_it.value < without.value - 0.03 * without.value


def test_the_interval_narrows_towards_the_end_and_scales_with_the_losses():
    path = path_of(Linear(warmup=20), 1000)
    steps = np.arange(0, 1001, 25)
    losses = curve_of(path, np.maximum(steps, 1))
    widths = []
    for last in (350, 500, 700, 900):
        found = expected_end(steps[steps <= last], losses[steps <= last], path)
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    doubled = expected_end(steps[:29], 2 * losses[:29], path)
    single = expected_end(steps[:29], losses[:29], path)
    assert doubled.value == pytest.approx(2 * single.value) and doubled.high == pytest.approx(2 * single.high)


def test_four_of_five_intervals_hold_curves_that_stray_as_the_priors_say():
    generator, held, tried = np.random.default_rng(3), 0, 0
    path = path_of(Cosine(warmup=20, floor=0.1), 1000)
    steps = np.arange(25, 1001, 25)
    ways = np.log(path.sum_at(steps) / path.sum_at(500))
    for _ in range(150):
        level = generator.uniform(1.0, 5.0)
        reducible = generator.normal(*curve.REDUCIBLE)
        cooling = generator.normal(*curve.COOLING)
        beta = math.exp(generator.normal(*curve.BETA))
        strays = np.cumsum(generator.standard_normal(len(steps)) * np.sqrt(np.diff(ways, prepend=ways[0] - 0.5)))
        strays = curve.STRAYING * (strays - strays[19])
        form = 1 + reducible * (np.exp(-beta * ways) - 1) - cooling * (path.fallen_at(steps) - path.fallen_at(500))
        losses = level * (form + strays + curve.NOISE * generator.standard_normal(len(steps)))
        expected = expected_end(steps[:20], losses[:20], path)
        if expected is not None:  # None where straying lets a curve rise that hardly falls
            tried, held = tried + 1, held + expected.holds(losses[-1])
    assert tried > 120 and 0.72 <= held / tried <= 0.9


def test_real_curves_end_where_they_were_drawn_to():
    errors, held = {0.3: [], 0.5: [], 0.7: []}, []
    for run in REAL.values():
        path = path_of(SCHEDULES[run["schedule"]["kind"]](**run["schedule"]), run["steps"][-1])
        steps, losses = np.array(run["steps"]), np.array(run["losses"])
        for seen, found in errors.items():
            shown = steps <= seen * steps[-1]
            expected = expected_end(steps[shown], losses[shown], path)
            found.append(abs(expected.value / losses[-1] - 1))
            held.append(expected.holds(losses[-1]))
    assert np.median(errors[0.3]) < 0.05 and max(errors[0.3]) < 0.1
    assert np.median(errors[0.5]) < 0.03 and max(errors[0.5]) < 0.08
    assert np.median(errors[0.7]) < 0.02 and max(errors[0.7]) < 0.035
    assert 0.65 <= np.mean(held) <= 0.98


def test_too_little_to_tell_from_is_told_by_none():
    path = path_of(Linear(), 1000)
    steps = list(range(100, 1001, 50))
    losses = curve_of(path, steps).tolist()
    assert expected_end([], [], path) is None
    assert expected_end(steps[:3], losses[:3], path) is None
    assert expected_end(steps, losses, path) is None, "nothing is left to come"
    assert expected_end(steps[:6], [math.nan, math.inf, -1.0, *losses[3:6]], path) is None
    with_gaps = [*losses[:2], math.nan, *losses[3:8]]
    assert expected_end(steps[:8], with_gaps, path).value == pytest.approx(
        expected_end(steps[:2] + steps[3:8], losses[:2] + losses[3:8], path).value
    )
    risen = [*losses[:6], losses[5] + 0.2, losses[5] + 0.3]
    assert expected_end(steps[:8], risen, path) is None, (
        "a curve that has turned can't be drawn on by a form that falls"
    )
    assert expected_end([0] * 5, [4.0] * 5, path) is None


def test_hundreds_of_points_say_what_their_averages_say():
    path = path_of(Cosine(warmup=20), 1000)
    many, few = np.arange(1, 600), np.arange(15, 600, 15)
    losses = curve_of(path, many) + 0.01 * np.random.default_rng(4).standard_normal(len(many))
    fine = expected_end(many, losses, path)
    coarse = expected_end(few, curve_of(path, few), path)
    assert fine.value == pytest.approx(coarse.value, rel=0.02)
