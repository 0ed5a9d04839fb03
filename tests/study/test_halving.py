"""Which short training comes next: a pure function of what was measured."""

import math

import pytest

from lmlab.study.tune.halving import FURTHEST, Search, ShortRun, around

SEARCH = Search(steps=80, trials=7, seeds=2)


def searched(search: Search, optimum: float, diverges_from: float = math.inf) -> dict[ShortRun, float]:
    """All trainings of a search over a parabola, in the order in which they were made."""
    measured: dict[ShortRun, float] = {}
    while (run := search.next_run(measured)) is not None:
        assert run not in measured
        loss = 2.0 + 10 / run.steps + 0.05 * (run.rate - optimum) ** 2 + 0.01 * run.seed
        measured[run] = math.inf if run.rate >= diverges_from else loss
    return measured


def rates_of(measured: dict[ShortRun, float], steps: int, seed: int = 0) -> set[int]:
    return {run.rate for run in measured if (run.steps, run.seed) == (steps, seed)}


def test_all_rates_are_tried_briefly_and_the_better_ones_longer():
    measured = searched(SEARCH, 0.3)
    assert list(measured)[:7] == [ShortRun(20, 0, rate) for rate in (0, 1, -1, 2, -2, 3, -3)]
    assert rates_of(measured, 20) == {-3, -2, -1, 0, 1, 2, 3}
    assert rates_of(measured, 40) == rates_of(measured, 80) == {-1, 0, 1, 2}
    assert rates_of(measured, 80, seed=1) == {-1, 0, 1}
    assert sum(run.steps for run in measured) == SEARCH.planned_steps()


@pytest.mark.parametrize("optimum", [-6.2, -3.0, 2.6, 5.0])
def test_an_optimum_outside_of_the_grid_is_followed_until_it_has_neighbours(optimum):
    measured = searched(SEARCH, optimum)
    last = {run.rate: loss for run, loss in measured.items() if run.steps == 80 and run.seed == 0}
    best = min(last, key=lambda rate: last[rate])
    assert best == round(optimum)
    assert {best - 1, best + 1} <= last.keys()


def test_rates_that_diverge_are_not_trained_longer_and_lower_ones_are_looked_for():
    measured = searched(SEARCH, 3.0, diverges_from=-3)
    assert rates_of(measured, 80) <= {-7, -6, -5, -4, -3}
    assert min(measured, key=lambda run: measured[run]).rate == -4
    hopeless = searched(SEARCH, 0.0, diverges_from=-math.inf)
    assert rates_of(hopeless, 20) == set(range(-FURTHEST, 4)) and rates_of(hopeless, 80) == set()


def test_a_search_that_was_stopped_anywhere_goes_on_as_if_it_had_not_been():
    order = list(searched(SEARCH, 1.8).items())
    for stopped in range(len(order)):
        assert SEARCH.next_run(dict(reversed(order[:stopped]))) == order[stopped][0]


def test_few_steps_and_few_rates_make_a_small_search():
    assert Search(steps=1, trials=3, seeds=1).rungs() == (1,)
    assert Search(steps=10, trials=3, seeds=1).planned_steps() == 3 * (2 + 5 + 10)
    assert around(4) == [0, 1, -1, 2]
