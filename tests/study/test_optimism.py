"""By how much the loss at a chosen rate is too low, against searches whose truth is known."""

import math

import numpy as np
import pytest

from lmlab.study.tune import optimism as optimism_module
from lmlab.study.tune.halving import REPEATED, ShortRun, best_of
from lmlab.study.tune.optimism import optimism
from lmlab.study.tune.optimum import find_optimum, mean_losses

STEPS, RATES, LEVELS = 100, (-2, -1, 0, 1), (2.0, 2.07)
SEARCHES = 150


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Few draws a search: what is checked is their mean over many searches."""
    monkeypatch.setattr(optimism_module, "DRAWS", 50)


def searched(generator, true, noise: float, seeds: int) -> dict:
    """The last rung of a search: all rates from the first seed, the best of them from the others."""
    alone = {rate: true(rate) + LEVELS[0] + noise * generator.normal() for rate in RATES}
    losses = {ShortRun(STEPS, 0, rate): loss for rate, loss in alone.items()}
    for seed in range(1, seeds):
        for rate in best_of(alone, REPEATED):
            losses[ShortRun(STEPS, seed, rate)] = true(rate) + LEVELS[seed] + noise * generator.normal()
    return losses


@pytest.mark.parametrize("noise", [0.005, 0.03])
def test_it_is_on_average_what_the_quoted_losses_of_many_searches_are_too_low_by(noise):
    generator = np.random.default_rng(2)

    def true(rate: float) -> float:
        return 0.02 * (rate + 0.4) ** 2

    told, really = [], []
    for _ in range(SEARCHES):
        losses = searched(generator, true, noise, 2)
        found, said = find_optimum(losses, STEPS), optimism(losses, STEPS)
        if said is None:
            continue
        if found is not None:
            place, loss, level = found.place.value, found.loss, np.mean(LEVELS)
        else:
            means = mean_losses(losses)
            place = min(means, key=lambda rate: means[rate])
            loss, level = means[place], np.mean([LEVELS[run.seed] for run in losses if run.rate == place])
        told.append(said)
        really.append(true(place) + level - loss)
    error = np.std(really) / math.sqrt(len(really))
    assert len(told) > 0.9 * SEARCHES and np.mean(really) > 3 * error, "the quoted loss is too low"
    assert np.mean(told) == pytest.approx(np.mean(really), abs=3 * error + 0.3 * np.mean(really))


def test_without_noise_there_is_none_and_with_one_seed_at_three_rates_nobody_knows():
    exact = {ShortRun(STEPS, seed, rate): LEVELS[seed] + 0.02 * rate**2 for seed in (0, 1) for rate in (-1, 0, 1)}
    assert optimism(exact, STEPS) == pytest.approx(0.0, abs=1e-9)
    assert optimism({run: loss for run, loss in exact.items() if not run.seed}, STEPS) is None
    assert optimism({}, STEPS) is None


def test_where_no_parabola_has_a_minimum_it_is_that_of_the_lowest_of_noisy_means():
    # Two rates that are equal: the expectation of the lower of two normal means is known in closed form.
    noise, rates = 0.01, (0, 1)
    generator = np.random.default_rng(0)
    told = []
    for _ in range(SEARCHES):
        told.append(
            optimism(
                {
                    ShortRun(STEPS, seed, rate): 2.0 + noise * float(generator.normal())
                    for seed in (0, 1, 2, 3)
                    for rate in rates
                },
                STEPS,
            )
        )
    # E of the lower of two means of n = 4: noise / sqrt(4) / sqrt(pi) below their true value.
    true = noise / 2 / math.sqrt(math.pi)
    # Drawn around means that chance has put apart already, it is told somewhat too small, and never too large.
    assert 0.5 * true < np.mean(told) < 1.1 * true
