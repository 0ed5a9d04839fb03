"""From a recipe and a budget to a recipe that can be trained, and from a run to what comes next."""

from __future__ import annotations

import pytest

from lmlab import LabError
from lmlab.experiment.budgeted import plan_after, plan_within
from lmlab.hardware.cards import card_named
from lmlab.model.cost import parameters
from lmlab.planning.inverse import speed
from lmlab.planning.inverse.budget import budget_of
from lmlab.planning.inverse.text import toml_of
from lmlab.recipe import from_toml, load_recipe, override
from lmlab.runs import create_run
from lmlab.scaling.law import LossLaw

LAW = LossLaw(entropy=0.9, a=12.0, b=11.0, alpha=0.32, beta=0.17)


@pytest.fixture
def recipe(tiny_text_file, monkeypatch):
    """A small recipe on a small text, whose probes are one size and one step."""
    monkeypatch.setattr(speed, "SIZES", (1.0,))
    monkeypatch.setattr(speed, "TIMED_STEPS", 1)
    settings = {
        "data.corpus": str(tiny_text_file),
        "model.context": "16",
        "model.width": "32",
        "model.heads": "1",
        "train.device": "cpu",
        "train.engine": "torch",
        "train.threads": "1",
    }
    return override(load_recipe("shakespeare-cpu"), settings)


def finished(root, recipe, number: int, width: int, steps: int, data_id: str) -> None:
    """A folder like that of a run which came to its end, whose loss follows LAW."""
    shape = override(recipe, {"model.width": str(width), "train.steps": str(steps), "schedule.warmup": "0"})
    tokens = steps * 12 * 16
    hardware = {"cpu": "some", "physical_cores": 2}
    origin = {"vocabulary_size": 40, "data_id": data_id, "parent": None, "hardware": hardware}
    origin["data"] = [{"id": data_id, "train_tokens": 5_000}]
    run = create_run(root, f"one-{number}", shape, origin)
    loss = LAW.loss(parameters(shape.model, 40)["matrix"], tokens, 5_000)
    run.write("policy.json", {"device": "cpu", "engine": "torch"})
    run.write("forecast.json", {"tokens": tokens, "epochs": tokens / 5_000})
    run.write(
        "summary.json",
        {
            "finished": True,
            "ending": "finished",
            "steps": steps,
            "tokens": tokens,
            "final": {"step": steps, "loss": loss},
            "best": {"step": steps, "loss": loss},
            "verdict": {"kind": "none"},
            "seconds": {"train": 10.0, "total": 11.0},
            "score": {"tokens_per_second": {"measured": tokens / 10}},
        },
    )


def test_a_budget_becomes_a_recipe_that_can_be_read_again(recipe, tmp_path):
    found = plan_within(recipe, budget_of(["2min"]), runs=tmp_path, say=lambda line: None)
    assert found.best.within and 0 < found.best.seconds.value <= 120
    again = from_toml(toml_of(found.best, "planned"))
    assert again.train.steps == found.best.recipe.train.steps
    assert again.data == recipe.data


def test_a_card_needs_no_measurement(recipe, tmp_path, monkeypatch):
    def never(*arguments):
        raise AssertionError("measured")

    monkeypatch.setattr(speed, "probe", never)
    found = plan_within(recipe, budget_of(["1h"]), runs=tmp_path, card=card_named("t4"), say=lambda line: None)
    assert found.best.seconds.evidence == "published" and "NVIDIA T4 datasheet" in found.best.seconds.rests_on


def test_runs_of_ones_own_are_what_the_law_is_fitted_to(recipe, tmp_path):
    sizes = [(width, steps) for width in (32, 64, 128) for steps in (100, 400)]
    for number, (width, steps) in enumerate(sizes):
        finished(tmp_path, recipe, number, width, steps, "0" * 16)
    found = plan_after("one-3", runs=tmp_path)
    assert found.source == "a law fitted to 6 runs"
    assert found.facts.name == "one-3" and found.options
    with pytest.raises(LabError, match="one-9"):
        plan_after("one-9", runs=tmp_path)
    with pytest.raises(LabError, match="one-3@100 names a checkpoint: leave @100 out"):
        plan_after("one-3@100", runs=tmp_path)


def test_a_law_of_one_text_is_not_used_for_another(recipe, tmp_path):
    for number in range(6):
        finished(tmp_path, recipe, number, 32 * (number + 1), 100 * (number + 1), f"{number:016d}")
    assert "arXiv" in plan_after("one-3", runs=tmp_path).source
