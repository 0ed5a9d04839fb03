"""Whether a run overfits: published runs, two earlier misjudgements, and curves made for each verdict."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmlab.stats import (
    Evaluated,
    Gap,
    UnitBits,
    overfitting_verdict,
    paired_difference,
    still_falling,
    turning_point,
)

STORIES_STEPS = [0, 250, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 4999]
STORIES_TRAIN = [4.9244, 2.1218, 1.3606, 1.0332, 0.9305, 0.8673, 0.8162, 0.7888, 0.7634, 0.7480, 0.7371, 0.7259]
STORIES_VALID = [4.9262, 2.1169, 1.3500, 1.0296, 0.9189, 0.8602, 0.8141, 0.7803, 0.7551, 0.7434, 0.7314, 0.7176]
NAMES_VALID = [3.33, 2.25, 1.98, 1.71, 1.56, 1.47, 1.42, 1.393, 1.404, 1.418, 1.472, 1.495]
NAMES_TRAIN = [3.33, 2.24, 1.97, 1.69, 1.53, 1.42, 1.34, 1.26, 1.17, 1.08, 0.97, 0.887]


def curve(train, valid, steps=None, gaps=None, passes=None):
    """Evaluations from lists."""
    places = range(len(valid))
    return [
        Evaluated(
            step=places[place] if steps is None else steps[place],
            valid=valid[place],
            train=None if train is None else train[place],
            gap=None if gaps is None else Gap(value=gaps[place][0], low=gaps[place][1], high=gaps[place][2]),
            passes=None if passes is None else passes[place],
        )
        for place in places
    ]


def units_of(valid, units=100, spread=0.0, seed=0):
    """Bits of units of 64 tokens with those mean losses; `spread` is how far a unit's own change from one evaluation to the next
    scatters, in nats a token."""
    generator = np.random.default_rng(seed)
    hard = generator.normal(0, 0.3, (units, 1))
    own = generator.normal(0, spread, (units, len(valid))) if spread else np.zeros((units, len(valid)))
    nats = np.array(valid)[None, :] + hard - hard.mean() + own - own.mean(axis=0)
    return UnitBits(bits=nats * 64 / math.log(2.0), tokens=np.full(units, 64))


def overfitted(steps):
    """Like nanoGPT's character Shakespeare on a GPU: training to .62, validation best near 1.47 and 1.70 at the end."""
    train = 0.5 + 3.7 * np.exp(-steps / 600.0) + 0.12
    valid = 1.35 + 2.8 * np.exp(-steps / 350.0) + 0.35 * (steps / 5000.0) ** 1.3
    return train, valid


def test_the_published_stories_run_has_not_overfitted_and_is_still_falling():
    verdict = overfitting_verdict(curve(STORIES_TRAIN, STORIES_VALID, STORIES_STEPS))
    assert verdict.kind == "none" and verdict.reason.startswith(
        "no overfitting seen: validation was lowest at the last"
    )
    assert verdict.gap == pytest.approx(-0.0083, abs=1e-9)
    assert still_falling(STORIES_STEPS, STORIES_VALID)
    turn = turning_point(STORIES_STEPS, STORIES_VALID)
    assert (turn.step, turn.loss, turn.rose) == (4999, 0.7176, False)


def test_a_run_like_character_shakespeare_overfits_after_its_best():
    steps = np.arange(0, 5001, 250)
    train, valid = overfitted(steps)
    valid = valid + np.random.default_rng(0).normal(0, 0.004, size=len(valid))
    verdict = overfitting_verdict(curve(train.tolist(), valid.tolist(), steps.tolist()))
    assert verdict.kind == "overfitting" and 1000 <= verdict.best_step <= 2500
    assert not still_falling(steps.tolist(), valid.tolist())


@pytest.mark.parametrize("units", [None, units_of(NAMES_VALID, spread=0.2)])
def test_four_rises_in_a_row_while_training_falls_are_overfitting(units):
    """The list of names: validation 1.393, 1.404, 1.418, 1.472, 1.495 was called slight overfitting that had not turned."""
    steps = list(range(0, 1200, 100))
    verdict = overfitting_verdict(curve(NAMES_TRAIN, NAMES_VALID, steps), units)
    assert verdict.kind == "overfitting"
    assert verdict.best_step == 700 and verdict.rise == pytest.approx(np.mean([1.418, 1.472, 1.495]) - 1.393)
    fell = 1.26 - np.mean([1.08, 0.97, 0.887])
    assert f"since its best at step 700, while training fell by {fell:.4f}" in verdict.reason
    if units is not None:
        low, high = verdict.rise_interval
        assert low < verdict.rise < high
        assert f"risen by 0.0687 (95% {low:.4f} to {high:.4f})" in verdict.reason


def test_a_rise_is_paired_by_unit_so_that_hard_units_dont_blur_it():
    """The rise of a tenth of the units' own spread is seen, with the interval of the paired difference."""
    valid = [2.0, 1.6, 1.5, 1.45, 1.43, 1.44, 1.46, 1.48]
    units = units_of(valid, spread=0.02)
    verdict = overfitting_verdict(curve([2.0, 1.6, 1.45, 1.35, 1.3, 1.25, 1.2, 1.15], valid), units)
    nats = units.bits * math.log(2.0) / 64
    apart = nats[:, -3:].mean(axis=1) - nats[:, 4]
    error = apart.std(ddof=1) / math.sqrt(len(apart))
    assert verdict.kind == "overfitting"
    low, high = verdict.rise_interval
    assert low == pytest.approx(apart.mean() - 1.96 * error, abs=error / 2)
    assert high == pytest.approx(apart.mean() + 1.96 * error, abs=error / 2)


def test_a_rise_that_another_piece_of_text_may_not_show_is_left_open():
    """Twelve units of which one makes all of the rise."""
    valid = [2.0, 1.6, 1.5, 1.45, 1.46, 1.47, 1.48, 1.49]
    units = units_of(valid, units=12)
    change = np.array(valid) - 1.45
    nats = units.bits * math.log(2.0) / 64 - np.where(np.arange(8) > 3, change, 0.0)
    nats[0] += 12 * np.where(np.arange(8) > 3, change, 0.0)
    units = UnitBits(bits=nats * 64 / math.log(2.0), tokens=units.tokens)
    verdict = overfitting_verdict(curve([2.0, 1.6, 1.45, 1.35, 1.3, 1.25, 1.2, 1.15], valid), units)
    assert verdict.kind == "unknown" and verdict.reason.startswith("overfitting unclear: validation is 0.0300 (95%")


def test_units_that_only_some_evaluations_scored_are_left_out():
    units = units_of(NAMES_VALID)
    bits = units.bits.copy()
    bits[:50, 7] = np.nan
    half = overfitting_verdict(curve(NAMES_TRAIN, NAMES_VALID), UnitBits(bits=bits, tokens=units.tokens))
    assert half.kind == "overfitting" and half.rise_interval is not None
    bits[:] = np.nan
    none = overfitting_verdict(curve(NAMES_TRAIN, NAMES_VALID), UnitBits(bits=bits, tokens=units.tokens))
    assert none.kind == "overfitting" and none.rise_interval is None


def test_the_whole_split_tells_where_evaluations_score_too_few_units():
    few = units_of(NAMES_VALID, units=3)
    final = paired_difference(np.full(40, 1.5) + np.arange(40) / 400, np.full(40, 1.4), np.full(40, 1.0))
    verdict = overfitting_verdict(curve(NAMES_TRAIN, NAMES_VALID), few, final_rise=final)
    assert verdict.kind == "overfitting" and verdict.rise_interval == (final.low, final.high)
    enough = overfitting_verdict(curve(NAMES_TRAIN, NAMES_VALID), units_of(NAMES_VALID), final_rise=final)
    assert enough.rise_interval != (final.low, final.high)


def test_both_losses_rising_is_called_unstable():
    steps = list(range(10))
    losses = [3.0, 2.0, 1.5, 1.2, 1.0, 1.4, 2.0, 2.6, 3.0, 3.3]
    verdict = overfitting_verdict(curve(losses, [loss + 0.05 for loss in losses], steps))
    assert verdict.kind == "unstable" and "not overfitting" in verdict.reason


def test_a_rise_without_a_training_loss_is_not_called_overfitting():
    verdict = overfitting_verdict(curve(None, NAMES_VALID))
    assert verdict.kind == "unknown" and "training loss isn't known" in verdict.reason
    assert overfitting_verdict(curve(None, STORIES_VALID)).kind == "none"


GAPS = [(0.0, -0.01, 0.01), (0.02, -0.05, 0.09), (0.1, 0.03, 0.17), (0.3, 0.23, 0.37), (0.5, 0.43, 0.57)]
FALLING = ([4.0, 3.0, 2.5, 2.0, 1.8], [4.0, 3.02, 2.6, 2.3, 2.3])


def test_a_gap_within_the_first_pass_over_the_text_is_called_nothing():
    """War and Peace after .29 passes: validation, the book's tail, is harder, and was called slight overfitting."""
    verdict = overfitting_verdict(curve(*FALLING, gaps=GAPS, passes=[0.0, 0.07, 0.15, 0.22, 0.29]))
    assert verdict.kind == "none"
    assert "it is 0.5000 above training (0.4300 to 0.5700), after 0.29 passes over the text" in verdict.reason
    assert verdict.gap_interval == (0.43, 0.57)


def test_a_gap_beyond_those_of_step_0_and_the_first_pass_is_slight_overfitting():
    grown = overfitting_verdict(curve(*FALLING, gaps=GAPS, passes=[0.0, 0.9, 2.0, 4.0, 6.0]))
    assert grown.kind == "slight" and grown.gap_before == 0.02
    assert "after 6 passes over the text, 0.4800 more than before it was read twice" in grown.reason
    harder = [(0.0, -0.01, 0.01), (0.48, 0.41, 0.55), *GAPS[2:]]
    same = overfitting_verdict(curve(*FALLING, gaps=harder, passes=[0.0, 0.9, 2.0, 4.0, 6.0]))
    assert same.kind == "none" and "no more than before the text was read twice" in same.reason


def test_a_gap_that_another_sample_may_not_show_is_no_overfitting():
    wide = [(value, value - 0.6, value + 0.6) for value, _, _ in GAPS]
    assert overfitting_verdict(curve(*FALLING, gaps=wide, passes=[0.0, 1.0, 2.0, 4.0, 6.0])).kind == "none"
    plain = overfitting_verdict(curve(*FALLING))
    assert plain.kind == "none" and plain.gap == pytest.approx(0.5) and plain.gap_interval is None


def test_the_gap_of_the_last_model_over_more_text_decides():
    final = Gap(value=0.01, low=-0.02, high=0.04)
    verdict = overfitting_verdict(curve(*FALLING, gaps=GAPS, passes=[0.0, 1.0, 2.0, 4.0, 6.0]), final_gap=final)
    assert verdict.kind == "none" and verdict.gap == 0.01


def test_a_small_rise_that_chance_explains_is_told_with_its_interval():
    generator = np.random.default_rng(4)
    valid = (1.5 + generator.normal(0, 0.004, 20)).tolist()
    verdict = overfitting_verdict(curve([1.4] * 20, valid), units_of(valid, spread=0.01))
    assert verdict.kind == "none" and "no more than evaluations differ by chance" in verdict.reason


def test_one_higher_evaluation_after_the_best_is_left_open():
    verdict = overfitting_verdict(curve([3.0, 2.0, 1.9], [3.0, 2.0, 2.3]))
    assert verdict.kind == "unknown" and "only one evaluation follows" in verdict.reason


def test_too_few_or_broken_evaluations_give_no_verdict():
    assert overfitting_verdict(curve([1.0], [1.0])).kind == "unknown"
    broken = overfitting_verdict(curve([1.0, 1.0], [math.nan, 1.0]))
    assert broken.kind == "unknown" and "fewer than two evaluations have a finite loss" in broken.reason
