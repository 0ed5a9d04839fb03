"""What lies between two runs, trained for real in small, and shared out."""

import dataclasses
import json

import pytest

from lmlab import LabError, experiment
from lmlab.cli import main
from lmlab.recipe import Recipe, override
from lmlab.study.bridges import choose_bridges
from lmlab.study.design import cells_of, recipe_of
from lmlab.study.differing import comparable, factors_between
from lmlab.study.explaining import explain
from lmlab.training.display import Quiet
from tests.study.test_studying import SMALL


@pytest.fixture(autouse=True)
def _nothing_is_measured(monkeypatch):
    """Which engine is faster can change from run to run on a busy machine; here it's the one that the policy names first."""
    monkeypatch.setattr("lmlab.experiment.beginning.fastest_policy", lambda recipe, policy, *rest: policy)


@pytest.fixture
def two_runs(tiny_text_file, tmp_path):
    """Runs a and b, which differ in width, steps and dropout, and in the seed."""
    recipe = override(Recipe(), {**SMALL, "data.corpus": str(tiny_text_file)})
    other = override(recipe, {"model.width": "32", "train.steps": "24", "model.dropout": "0.1", "train.seed": "5"})
    for name, one in (("a", recipe), ("b", other)):
        experiment.train(one, run=name, runs=tmp_path, display=Quiet(), say=lambda line: None)
    return tmp_path


def test_differences_are_grouped_and_all_of_them_together_are_the_other_recipe():
    one = override(Recipe(), {"schedule.steps": "100", "train.steps": "100"})
    words = {
        "model.width": "64", "model.heads": "2", "model.context": "32", "train.batch": "8", "train.steps": "300",
        "optim.kind": "muon",
        "schedule.kind": "wsd", "schedule.steps": "none", "model.dropout": "0.1", "train.seed": "7", "train.threads": "1",
        "evaluate.every": "9", "data.tokens": "5000", "model.tied": "no",
    }  # fmt: skip
    other = override(one, words)
    ends = comparable(one, 100, "fp32"), comparable(other, 300, "bf16")
    factors = factors_between(*ends)
    assert [factor.name for factor in factors] == [
        *("data amount", "model size", "context", "dropout", "batch", "steps", "precision"),
        *("architecture", "optimizer", "schedule"),
    ]
    whole = recipe_of((1,) * len(factors), factors, ends[0])
    assert factors_between(whole, ends[1]) == () and factors_between(ends[0], ends[0]) == ()
    assert recipe_of((0,) * len(factors), factors, ends[0]) == ends[0]


def test_two_families_of_models_differ_in_one_factor():
    # One family's settings alone mean nothing in the other.
    ends = Recipe(), override(Recipe(), {"model.kind": "context", "model.layers": "9", "model.context": "32"})
    for one, other in (ends, ends[::-1]):
        factors = factors_between(one, other)
        assert [factor.name for factor in factors] == ["architecture"]
        assert recipe_of((1,), factors, one) == other


def test_a_schedule_over_the_whole_run_goes_with_its_steps():
    one = override(Recipe(), {"schedule.steps": "100", "train.steps": "100"})
    longer = override(one, {"schedule.steps": "400", "train.steps": "400"})
    factors = factors_between(comparable(one, 100, "fp32"), comparable(longer, 400, "fp32"))
    assert [factor.name for factor in factors] == ["steps"]


def test_bridges_shorten_trainings_only_where_no_choice_of_orders_fits():
    factors = tuple(
        dataclasses.replace(factor, name=f"f{place}")
        for place, factor in enumerate(factors_between(Recipe(), override(Recipe(), {"model.dropout": "0.1"})) * 6)
    )
    whole = choose_bridges(factors, 1, None, lambda cell: 1.0)
    assert (whole.pairs, whole.share, whole.seconds) == (3, 1.0, len(cells_of(factors, "subsets", 3)))
    tight = choose_bridges(factors, 1, 14.0, lambda cell: 1.0)
    assert (tight.pairs, tight.share) == (1, 1.0)
    short = choose_bridges(factors, 1, 3.2, lambda cell: 1.0)
    assert short.share == 0.25 and short.seconds <= 3.2
    with pytest.raises(LabError, match="longer --budget"):
        choose_bridges(factors, 1, 0.1, lambda cell: 1.0)
    assert choose_bridges(factors[:3], 2, None, lambda cell: 1.0).seconds == 2 * 8


def test_shares_and_residual_add_up_to_the_difference_of_the_two_runs(two_runs):
    lines: list[str] = []
    found = explain("a", "b", two_runs, say=lines.append)
    shares = {effect.name: effect.verdict.difference for effect in found.result.effects if effect.kind == "share"}
    assert set(shares) == {"model size", "dropout", "steps"} and len(found.result.cells.runs) == 8
    assert sum(shares.values()) + found.residual == pytest.approx(found.difference)
    # The end at a's recipe and seed is run a once more.
    own = {run.cell: run.loss for run in found.result.cells.runs}
    assert own[(0, 0, 0)] == found.one.loss
    assert any("the seed (1 against 5)" in line for line in found.lines())
    # Once more trains nothing.
    again: list[str] = []
    assert explain("a", "b", two_runs, say=again.append).to_json() == found.to_json()
    assert not any("to train" in line for line in again)


def test_the_command_explains_and_its_numbers_can_be_verified(two_runs, capsys):
    words = ["explain", "a", "b", "--runs", str(two_runs), "--json"]
    assert main(words) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["difference"] == pytest.approx(value["bridged"] + value["residual"])
    assert main(["verify", str(two_runs / "study-a-to-b" / "study.json")]) == 0


def test_runs_that_differ_in_nothing_or_on_other_text_are_refused(two_runs, tmp_path):
    with pytest.raises(LabError, match="differ in nothing but the seed"):
        explain("a", "a", two_runs, say=lambda line: None)
    other = tmp_path / "other.txt"
    other.write_text("abcdefghij klmnop\n" * 300)
    recipe = override(Recipe(), {**SMALL, "data.corpus": str(other)})
    experiment.train(recipe, run="c", runs=two_runs, display=Quiet(), say=lambda line: None)
    with pytest.raises(LabError, match="lmlab compare --on"):
        explain("a", "c", two_runs, say=lambda line: None)
