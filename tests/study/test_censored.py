"""Runs that were stopped early count as censored: bounds against formulas and against simulated studies whose truth is known."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from lmlab.recipe import Recipe
from lmlab.stats import seed_noise
from lmlab.stats.factorial import difference
from lmlab.stats.paired_seeds import Noise
from lmlab.stats.verdict import LEVEL, ErrorPart
from lmlab.study.grid.bounds import bounded, least_mean
from lmlab.study.grid.cells import Cells, RunResult
from lmlab.study.grid.design import Factor, Level
from lmlab.study.grid.effects import effects_of
from lmlab.study.grid.ledger import figures
from lmlab.study.grid.stopped import Heading, Stopped, heading_of, stopped_from
from lmlab.study.grid.study_plan import StudyPlan
from lmlab.study.grid.words import lines

BASE, OTHER, BOTH = (0, 0), (1, 0), (1, 1)


def plan_of(factors: int = 1, seeds: int = 3, design: str = "one-factor") -> StudyPlan:
    found = tuple(Factor(name=f"f{place}", levels=(Level(label="on", settings={}),)) for place in range(factors))
    return StudyPlan(name="made", about="", asked="", base=Recipe(), factors=found, design=design, seeds=seeds)


def result_of(cell, seed: int, loss: float | None = None, heading: Heading | None = None) -> RunResult:
    stopped = (
        None if heading is None else Stopped(step=1, expected=heading.value, low=heading.value - heading.deviation)
    )
    return RunResult(
        name=f"{cell}-{seed}", id=f"{cell}-{seed}", cell=cell, seed=seed, status="finished" if loss is not None else "lost",
        loss=loss, stopped=stopped, heading=heading, note="heading for more",
    )  # fmt: skip


def cells_of(*runs: RunResult) -> Cells:
    return Cells(measure="nats a token", runs=runs)


def test_a_forecast_in_nats_of_a_sample_becomes_a_loss_in_the_measure_of_the_study():
    told = stopped_from(
        {"reason": "", "step": 40, "expected": 2.0, "low": 2.0 - 1.2816 * 0.1, "high": 3.0, "best": 1.0}
    )
    assert told == Stopped(step=40, expected=2.0, low=2.0 - 1.2816 * 0.1)
    alone = heading_of(told, [1.5])
    assert (alone.value, alone.deviation) == pytest.approx((3.0, 0.15))
    ratios = [1.4, 1.5, 1.6]
    several = heading_of(told, ratios)
    # A new ratio's predictive deviation is that of theirs, times sqrt(1 + 1/n).
    spread = 2.0 * np.std(ratios, ddof=1) * math.sqrt(4 / 3)
    assert several.deviation == pytest.approx(math.hypot(0.15, spread))
    assert heading_of(told, []) is None
    for nothing in (None, {}, {"step": 1, "expected": 2.0, "low": 2.5}, {"step": 1, "expected": math.inf, "low": 1.0}):
        assert stopped_from(nothing) is None


def test_a_mean_is_never_one_over_the_runs_that_survived():
    finished = [result_of((0,), seed, 2.0 + 0.01 * seed) for seed in (1, 2, 3)]
    mixed = [
        result_of((1,), 1, 2.0),
        result_of((1,), 2, 2.1),
        result_of((1,), 3, heading=Heading(value=2.6, deviation=0.1)),
    ]
    cells = cells_of(*finished, *mixed)
    assert (1,) not in cells.means() and (1,) not in cells.by_seed() and cells.finished()[(1,)] == 2
    assert cells.stopped() == {(1,): 1}
    plan = plan_of()
    noise, (effect,) = effects_of(plan, cells)
    assert noise.seeds.seeds == 3, "the others of the cell say nothing of the noise: its worst runs are cut off"
    assert effect.bound == "at least"
    low = least_mean(cells.censored()[(1,)])
    assert low == pytest.approx((2.0 + 2.1 + 2.6) / 3 - 1.959964 * 0.1 / 3)
    value = figures(plan, cells, noise, (effect,))
    assert value["cells"][1] == {
        "cell": "f0", "seeds": 2, "stopped": 1, "mean": None, "at_least": pytest.approx(low), "standard_deviation": None,
    }  # fmt: skip
    (said,) = value["effects"]
    assert (said["difference"], said["bound"], said["high"]) == (None, "at least", None)
    assert said["low"] == effect.verdict.difference


def test_a_bound_is_the_difference_less_what_seeds_text_and_forecast_leave_open():
    generator = np.random.default_rng(0)
    seeds = range(1, 5)
    runs = [result_of(BASE, seed, 2.0 + float(generator.normal(0, 0.01))) for seed in seeds]
    runs += [result_of(OTHER, seed, heading=Heading(value=2.3, deviation=0.05)) for seed in seeds]
    cells = cells_of(*runs)
    base = [run.loss for run in runs[:4]]
    noise = Noise(seeds=seed_noise({"base": base}))
    found = bounded(difference(OTHER, BASE), cells, noise, ErrorPart(standard_error=0.004))
    z, t = stats.norm.ppf((1 + LEVEL) / 2), stats.t.ppf((1 + LEVEL) / 2, 3)
    half = math.hypot(z * 0.004, t * np.std(base, ddof=1) * math.sqrt(2 / 4), z * 0.05)
    assert found.side == "at least" and found.verdict.difference == pytest.approx(2.3 - np.mean(base) - half)
    assert found.verdict.kind == "worse" and found.verdict.high == math.inf
    # The other way round it is as much below, and the reference may be called worse.
    back = bounded(difference(BASE, OTHER), cells, noise, ErrorPart(standard_error=0.004))
    assert back.side == "at most" and back.verdict.kind == "better"
    assert (back.verdict.low, back.verdict.high) == (-math.inf, pytest.approx(-found.verdict.difference))
    # Where both sides of it were stopped, nothing bounds it.
    both = cells_of(*runs, *(dataclasses.replace(run, cell=BOTH) for run in runs[4:]))
    assert bounded(difference(BOTH, OTHER), both, noise, ErrorPart(standard_error=0.004)) is None


def test_an_effect_with_stopped_runs_is_never_better_and_open_where_its_bound_says_nothing():
    base = [result_of((0,), seed, 2.0 + 0.01 * seed) for seed in (1, 2, 3)]
    for value, says in ((1.0, "undetermined: stopped early"), (2.02, "undetermined: stopped early"), (3.0, "worse")):
        stopped = [result_of((1,), seed, heading=Heading(value=value, deviation=0.02)) for seed in (1, 2, 3)]
        plan, cells = plan_of(), cells_of(*base, *stopped)
        noise, (effect,) = effects_of(plan, cells)
        assert effect.words == says and effect.verdict.kind in ("worse", "indistinguishable")
        assert (effect.verdict.p_value < 1 - LEVEL) == (says == "worse")
        text = "\n".join(map(str, lines(plan, cells, noise, [effect])))
        assert f"at least {effect.verdict.difference:+.4f}" in text and "3 of 6 runs were stopped early" in text
        assert "0 + 3 stopped" in text


def test_without_a_forecast_of_a_stopped_run_an_effect_is_missing():
    base = [result_of((0,), seed, 2.0 + 0.01 * seed) for seed in (1, 2)]
    cells = cells_of(*base, result_of((1,), 1, 2.0), result_of((1,), 2))
    plan = plan_of(seeds=2)
    noise, effects = effects_of(plan, cells)
    assert effects == [] and cells.censored() == {} and cells.means().keys() == {(0,)}
    assert any("1 + 1 stopped" in str(part) for part in lines(plan, cells, noise, effects))


STUDIES = 120
CELLS, SEEDS, LOOKS = 6, 3, 4
RUN, OF_SEED, STRAYING = 1.0, 0.5, 1.5
"""Deviations: a run beside its cell and seed, a seed, and what a curve's end is off by at the first look."""


def simulated(generator: np.random.Generator, means: np.ndarray) -> tuple[StudyPlan, Cells]:
    """A study by the rule of `study.grid.pruning_runs`: each look knows a run's end better, and stops it where its interval of 80%
    lies above the best mean of a whole cell so far.
    """
    plan = plan_of(CELLS - 1, SEEDS)
    of_seed = generator.normal(0.0, OF_SEED, SEEDS)
    runs: list[RunResult] = []
    for seed in range(SEEDS):
        for cell, mean in zip(plan.cells, means, strict=True):
            loss = 100.0 + float(mean + of_seed[seed] + generator.normal(0.0, RUN))
            # What is known of the end is a random walk backwards from it: a look later it is nearer.
            steps = generator.normal(0.0, STRAYING / math.sqrt(LOOKS), LOOKS)
            whole = cells_of(*runs).means()
            best = min(whole.values(), default=math.inf)
            heading = None
            for look in range(LOOKS):
                left = LOOKS - look
                deviation = STRAYING * math.sqrt(left / LOOKS)
                value = loss + float(steps[look:].sum())
                if any(cell) and value - 1.2816 * deviation > best:
                    heading = Heading(value=value, deviation=deviation)
                    break
            runs.append(result_of(cell, seed, loss if heading is None else None, heading))
    return plan, cells_of(*runs)


def test_bounds_hold_and_survivors_alone_would_flatter_in_simulated_studies():
    generator = np.random.default_rng(1)
    held, exact, false, survivors, found_far = [], [], [], [], []
    bounds = worse = 0
    for _ in range(STUDIES):
        means = np.array([0.0, 0.0, 0.0, 1.0, 2.5, 8.0])
        plan, cells = simulated(generator, means)
        true = dict(zip(plan.cells, means, strict=True))
        _, effects = effects_of(plan, cells)
        assert len(effects) == CELLS - 1, "none is missing"
        base = np.mean([run.loss for run in cells.runs if run.cell == plan.cells[0]])
        for effect in effects:
            difference_there = effect.contrast.value(true)
            if effect.bound is None:
                exact.append(effect.verdict.low <= difference_there <= effect.verdict.high)
            else:
                assert effect.bound == "at least" and effect.verdict.kind != "better"
                held.append(difference_there >= effect.verdict.difference)
                bounds += 1
                (cell,) = (cell for cell, weight in effect.contrast.weights.items() if weight > 0)
                left = [run.loss for run in cells.runs if run.cell == cell and run.loss is not None]
                if left and difference_there <= 2.5:
                    survivors.append(float(np.mean(left)) - base - difference_there)
            if difference_there == 0.0:
                false.append(effect.verdict.kind != "indistinguishable")
                worse += effect.verdict.kind == "worse" and effect.bound is not None
            if difference_there == 8.0:
                found_far.append(effect.verdict.kind == "worse")
    assert bounds > STUDIES, "the rule stops runs in most studies"
    assert np.mean(held) > 0.97, "97.5% of the bounds, within the error of so many"
    assert np.mean(false) < 0.05
    assert worse / (3 * STUDIES) < 0.025 + 0.01
    # An interval beside stopped cells is of a cell that happened to keep all its runs, which no interval is corrected for.
    assert np.mean(exact) > 0.9 and np.mean(held + exact) > 0.95
    assert np.mean(survivors) < -0.3, "the fault: means over the runs that were left are too low"
    assert np.mean(found_far) > 2 / 3, "an effect that was missing before is told"
