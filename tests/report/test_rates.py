"""The picture of a search for the learning rate."""

import math
from pathlib import Path

import pytest

from lmlab.recipe import Recipe, override
from lmlab.report.rates import draw_rates, write_rates
from lmlab.scaling.noise import GradientNoise
from lmlab.study.tune.halving import ShortRun
from lmlab.study.tune.result import Law, Tuning
from lmlab.study.tune.short_training import ShortResult


def tuning(losses: dict[ShortRun, float], **more) -> Tuning:
    recipe = override(Recipe(), {"name": "mine", "optim.lr": "0.001"})
    outcomes = {
        run: ShortResult(loss=loss, error=0.0, seconds=1.0, noise=GradientNoise()) for run, loss in losses.items()
    }
    values = {
        "recipe": recipe, "measured_on": recipe, "rungs": (25, 50, 100), "run_steps": 1000, "outcomes": outcomes,
        "finished": True, **more,
    }  # fmt: skip
    return Tuning(**values)


def parabola(seeds: int = 2) -> dict[ShortRun, float]:
    runs = [ShortRun(steps, 0, rate) for steps in (25, 50) for rate in range(-3, 4)]
    runs += [ShortRun(100, seed, rate) for seed in range(seeds) for rate in (-1, 0, 1, 2)]
    return {run: 2 + 20 / run.steps + 0.04 * (run.rate - 1) ** 2 + 0.01 * run.seed for run in runs}


def test_the_picture_shows_the_best_rate_every_length_and_the_laws(tmp_path: Path):
    result = tuning(
        {**parabola(), ShortRun(25, 0, 4): 9.0}, laws=(Law(name="one", rate=0.01), Law(name="two", rate=0.02))
    )
    svg, png = write_rates(result, tmp_path)
    text = svg.read_text(encoding="utf-8")
    for words in (
        "Learning rate of mine",
        "best 2e-3",
        "100 steps",
        "25 steps",
        "published laws",
        "single seeds",
        "↑ 9.00",
    ):
        assert words in text, words
    assert png.stat().st_size > 5000
    assert draw_rates(result).axes[0].get_xlim()[1] > 0.02
    assert write_rates(result, tmp_path)[0].read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    "losses", [{ShortRun(25, 0, 0): 3.0}, {ShortRun(25, 0, 0): math.inf, ShortRun(25, 0, -1): 3.0}, parabola(1)]
)
def test_a_search_that_was_stopped_early_has_a_picture_too(tmp_path: Path, losses):
    assert len(write_rates(tuning(losses, finished=False), tmp_path)) == 2


def test_nothing_measured_is_no_picture(tmp_path: Path):
    assert write_rates(tuning({ShortRun(25, 0, 0): math.inf}), tmp_path) == []


def test_the_lines_say_what_was_found_and_what_is_not_known():
    lines = "\n".join(map(str, tuning(parabola()).lines()))
    assert "best learning rate 0.002" in lines and "half of it costs 0.04" in lines and "100 of 1,000 steps" in lines
    assert "no optimum yet" in "\n".join(map(str, tuning({ShortRun(25, 0, 0): 3.0}, finished=False).lines()))
    rising = {ShortRun(100, 0, rate): 2.0 + rate for rate in (-1, 0, 1)}
    assert "lowest loss of the rates tried: 1.0000 at 0.0005" in "\n".join(map(str, tuning(rising).lines()))
    assert "diverged" in "\n".join(map(str, tuning({ShortRun(25, 0, 2): math.inf}).lines()))


def test_every_single_seed_of_the_longest_trainings_is_in_the_picture():
    losses = {**parabola(), ShortRun(100, 2, 1): 1.2}
    bottom, top = draw_rates(tuning(losses)).axes[0].get_ylim()
    assert bottom < 1.2 < top
