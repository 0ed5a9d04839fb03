"""The table of published small runs: it says what the docs say, and its law holds on runs that were left out."""

import dataclasses
import json
import math
import statistics
from pathlib import Path

import pytest

from benchmarks.small_runs import forecast_cases
from lmlab.data.preparation import prepare
from lmlab.planning.losses import evidence, small_runs
from lmlab.planning.losses.evidence import evidence_for, law_for
from lmlab.planning.losses.small_runs import (
    like_small_runs,
    points_of,
    published_runs,
    same_published,
    small_law,
    small_run,
)
from lmlab.recipe import Recipe, load_recipe, override
from lmlab.scaling.small_law import fit_small_law

DOCS = Path(__file__).parents[2] / "docs"
RUNS = [run for run in published_runs() if not run.transferred]


def test_the_table_has_the_losses_that_the_docs_publish():
    losses = {run.source: run.loss for run in published_runs()}
    cases = forecast_cases()
    assert len(cases) == 18
    for case in cases:
        assert losses[f"forecasts: {case['name']}"] == case["score"]["final_loss"]["measured"]
    study = json.loads((DOCS / "studies" / "parameters-and-data" / "study.json").read_text(encoding="utf-8"))
    for cell in study["cells"]:
        assert losses[f"study parameters-and-data: {cell['cell']}"] == pytest.approx(cell["mean"])
    short = json.loads((DOCS / "small-runs.json").read_text(encoding="utf-8"))["cases"]
    assert {losses[f"small runs: {case['command']}"] for case in short} == {case["loss"] for case in short}


def test_the_stored_law_is_the_fit_of_the_table():
    found, stored = fit_small_law(points_of(published_runs())), small_law()
    assert found.numbers == pytest.approx(stored.numbers, rel=1e-6) and found.spreads == stored.spreads
    assert (found.texts, found.points) == (stored.texts, stored.points) == (17, len(RUNS))


@pytest.mark.parametrize("part", [lambda run: run.text, lambda run: (run.study, run.text)])
def test_intervals_hold_in_four_of_five_runs_whose_text_or_study_was_left_out(part):
    held, errors = [], []
    for name in sorted({part(run) for run in RUNS}):
        law = fit_small_law(points_of(run for run in RUNS if part(run) != name), small_law().spreads)
        for run in RUNS:
            if part(run) == name:
                expected = law.expected(run.traits)
                held.append(expected.holds(run.loss))
                errors.append(abs(math.log(run.loss / expected.value)))
    assert 0.7 <= statistics.mean(held) <= 0.9
    assert statistics.median(errors) < 0.1


def test_the_law_knows_that_more_parameters_and_tokens_help_and_by_how_much_at_most():
    law, traits = small_law(), RUNS[0].traits
    losses = [law.loss(dataclasses.replace(traits, parameters=size, tokens=5e6)) for size in (5e4, 2e5, 8e5, 3e6)]
    assert losses == sorted(losses, reverse=True) and losses[0] / losses[-1] < 1.5
    longer = [law.loss(dataclasses.replace(traits, tokens=tokens)) for tokens in (2e5, 1e6, 5e6)]
    assert longer == sorted(longer, reverse=True)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A recipe on a text that is long enough for the law: 60,000 characters."""
    path = tmp_path_factory.mktemp("long") / "long.txt"
    words = ("the cat", "saw", "a dog", "in the house", "and then", "ran", "home", "it was", "late")
    path.write_text(" ".join(words[(7 * i * i + i // 3) % len(words)] for i in range(12_000)), encoding="utf-8")
    settings = {"data.corpus": str(path), "data.tokenizer": "characters", "train.steps": "500", "train.batch": "12"}
    recipe = override(Recipe(), {**settings, "model.layers": "2", "model.width": "64", "model.context": "64"})
    return recipe, prepare(recipe.data)


def test_a_small_training_on_any_text_has_a_loss_with_an_interval(case):
    recipe, dataset = case
    found = evidence_for(recipe, dataset, 500, [], {})
    assert found.loss is not None and "17 other texts" in found.loss.rests_on and found.loss.evidence == "fitted"
    assert 0.1 < found.loss.low < found.loss.value < found.loss.high < 2.5 < math.log(dataset.vocabulary_size)
    assert 1.2 < found.loss.high / found.loss.low < 1.6
    here = like_small_runs(recipe, dataset, 500)
    assert found.law(here.traits.parameters, here.traits.tokens) == pytest.approx(found.loss.value)
    # The interval is wider outside of the runs, and there is none where no run is near.
    far = here.expected(here.at(2e7, here.traits.tokens))
    assert math.log(far.high / far.low) > 1.5 * math.log(found.loss.high / found.loss.low)
    assert found.law(1e9, here.traits.tokens) is None


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"model.kind": "context"}, 500),
        ({}, 20),
        ({"optim.lr": "0.5"}, 500),
        ({"model.dropout": "0.5"}, 500),
        ({"optim.transfer_from": (32,)}, 500),
        ({"model.width": "2048"}, 500),
        ({"train.batch": "1000"}, 5_000),
    ],
)
def test_outside_of_what_was_run_no_loss_is_expected(case, settings, steps):
    recipe, dataset = case
    assert evidence_for(override(recipe, settings), dataset, steps, [], {}).loss is None


def test_the_same_recipe_on_the_same_data_is_expected_to_come_to_what_was_published(case, monkeypatch):
    recipe, dataset = case
    row = small_run("results: mine", "mine", recipe, dataset, 1.234, 2)
    monkeypatch.setattr(small_runs, "published_runs", lambda: (*RUNS, row))
    other_seed = override(recipe, {"train.seed": "7"})
    found = evidence_for(other_seed, dataset, 500, [], {}).loss
    assert found.value == pytest.approx(1.234) and found.evidence == "published"
    assert "lmlab's published result of this recipe on this text (2 seeds)" in found.rests_on
    assert found.high / found.value - 1 < 0.01
    # With other settings, other steps or other data it is another training.
    assert evidence_for(override(recipe, {"optim.lr": "2e-3"}), dataset, 500, [], {}).loss.value != found.value
    assert evidence_for(recipe, dataset, 400, [], {}).loss.value != found.value
    moved = dataclasses.replace(row, data_id="0" * 16)
    monkeypatch.setattr(small_runs, "published_runs", lambda: (*RUNS, moved))
    assert evidence_for(recipe, dataset, 500, [], {}).loss.value != found.value


def test_the_demo_has_its_published_loss_on_the_library_of_any_python(case):
    _, dataset = case
    runs, same_text = same_published(load_recipe("first"), dataset)
    assert [run.source for run in runs] == ["results: first"] and not same_text
    expected = evidence._as_published(runs, same_text)
    assert expected.value == pytest.approx(2.770, abs=0.001) and "another version of this text" in expected.rests_on
    assert expected.holds(2.7713)


def test_a_picture_of_other_sizes_goes_through_the_loss_that_is_known_of_this_one(case, monkeypatch):
    recipe, dataset = case
    row = small_run("results: mine", "mine", recipe, dataset, 1.234, 2)
    monkeypatch.setattr(small_runs, "published_runs", lambda: (*RUNS, row))
    found, here = evidence_for(recipe, dataset, 500, [], {}), row.traits
    assert found.law(here.parameters, here.tokens) == pytest.approx(1.234) == found.loss.value
    known = law_for(recipe, dataset, 500, [])
    assert known.expected(known.size(recipe), row.tokens, row.unique_tokens).value == pytest.approx(1.234)
