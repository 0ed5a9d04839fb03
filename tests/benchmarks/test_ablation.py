"""Ablations: which trainings they are, and what is said of them."""

import math

import pytest

from benchmarks.ablation import BASE, jobs_of, summarise, table
from lmlab import LabError

PLAN = {"recipe": "first", "base": {"train.steps": 3}, "variants": {"no norm": {"model.qk_norm": False}}}


def test_every_variant_has_every_seed_and_changes_one_thing():
    jobs = jobs_of(PLAN, [1, 2], None)
    assert [(job.variant, job.seed) for job in jobs] == [(BASE, 1), (BASE, 2), ("no norm", 1), ("no norm", 2)]
    assert jobs[0].settings["train.steps"] == "3"
    assert dict(jobs[2].settings) == {**jobs[0].settings, "model.qk_norm": "false"}


def test_differences_are_paired_by_seed():
    results = [
        {"variant": name, "seed": seed, "loss": loss}
        for name, losses in {BASE: (1.0, 2.0, 3.0), "worse": (1.1, 2.2, 3.3)}.items()
        for seed, loss in enumerate(losses)
    ]
    base, worse = summarise(results)
    assert base["difference"] == 0
    assert worse["loss"] == pytest.approx(2.2)
    assert worse["difference"] == pytest.approx(0.2)
    # The standard deviation of .1, .2, .3 is .1.
    assert worse["standard_error"] == pytest.approx(0.1 / math.sqrt(3))
    assert table([base, worse]).splitlines()[2:] == [
        "| base | 3 | 2.0000 |  |",
        "| worse | 3 | 2.2000 | +0.2000 ± 0.0577 |",
    ]


def test_a_plan_without_variants_is_refused():
    with pytest.raises(LabError, match=r"\[variants\]"):
        jobs_of({"recipe": "first"}, [1], None)
