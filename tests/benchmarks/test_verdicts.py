"""The benchmark of verdicts counts what the comparison says of real run folders."""

import numpy as np

from benchmarks.verdicts import FIRST_OTHER_SEED, PILOT_LENGTH, STEPS, length_for, measured, page
from tests.study.finished import finished_run


def test_the_length_for_a_gain_follows_from_how_the_loss_falls_with_it():
    falling = [2.0 - 0.3 * np.log(steps / STEPS) for steps in (STEPS, PILOT_LENGTH * STEPS)]
    assert length_for(0.3 * np.log(2.0), [falling[0]], [falling[1]]) == 2 * STEPS


def test_seeds_are_told_from_gains_and_both_are_counted(tmp_path):
    generator = np.random.default_rng(0)
    for seed in range(1, 13):
        finished_run(tmp_path, f"base-{seed}", float(generator.normal(2.0, 0.01)), seed=seed, steps=STEPS, every=STEPS)
    for seed in range(FIRST_OTHER_SEED, FIRST_OTHER_SEED + 4):
        loss = float(generator.normal(1.9, 0.01))
        finished_run(tmp_path, f"better-{seed}", loss, seed=seed, steps=2 * STEPS, every=2 * STEPS)
    value = measured(tmp_path)
    assert (value["seeds"], value["better_seeds"], value["better_steps"]) == (12, 4, 2 * STEPS)
    assert [entry["pairs"] for entry in value["verdicts"]] == [6, 4, 66, 48] * 2
    assert all(entry["right"] >= 0.8 * entry["pairs"] for entry in value["verdicts"])
    value["context"] = {"machine": {"cpu": "a processor"}, "date": "2026-01-01T00:00:00"}
    assert "| true gain | 4, no run in two of them | 8 seeds | 4 (100.0%) | better |" in page(value)
