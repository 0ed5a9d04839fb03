"""`lmlab plan` at the command line: what needs no measurement, and what is refused before anything is measured."""

import json

import pytest

from lmlab.recipe import load_recipe


@pytest.fixture
def text(tmp_path, tiny_text):
    path = tmp_path / "tiny.txt"
    path.write_text(tiny_text, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _nothing_may_be_tried(monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("measured")

    monkeypatch.setattr("lmlab.planning.inverse.speed.probe", never)
    monkeypatch.setattr("lmlab.planning.trials.child.measure", never)


def test_a_card_that_is_not_here_needs_no_steps(lmlab, text):
    status, out, errors = lmlab("plan", text, "--card", "rtx3090", "--price", "0.4USD/h", "--json")
    assert status == 0, errors
    found = json.loads(out)
    hours = found["duration"]["value"] / 3600
    assert found["cost"]["value"] == pytest.approx(0.4 * hours) and found["currency"] == "USD"
    status, out, errors = lmlab("plan", text, "--card", "rtx3090", "--price", "0.4USD/h")
    # Some seconds at 0.4 an hour are not "0.00".
    assert status == 0
    assert " 0.00 " not in out.splitlines()[-1] and " USD (" in out.splitlines()[-1]


def test_what_the_model_can_be_exported_to_is_said_beforehand(lmlab, text):
    words = ("plan", text, "--card", "rtx3090", "--no-tables", "--model.preset", "llama")
    status, out, errors = lmlab(*words, "--json")
    assert status == 0, errors
    found = json.loads(out)["exportable"]
    assert found["formats"][0] == "hf" and "model.positions rotary" in found["reasons"]["nanogpt"]
    assert "  export: hf" in lmlab(*words)[1]


def test_a_budget_on_a_card_writes_a_recipe(lmlab, text, tmp_path):
    path = tmp_path / "night.toml"
    words = ["--budget", "1min", "--card", "t4", "--train.until", "5s", "--data.fresh", "yes"]
    status, out, errors = lmlab("plan", text, *words, "--out", path)
    assert status == 0, errors
    assert out.splitlines()[-1] == str(path)
    # It takes what the budget allows, is not stopped before, and begins anew.
    planned = load_recipe(path)
    assert planned.train.until is None and not planned.data.fresh


@pytest.mark.parametrize(
    ("words", "flag", "beside"),
    [
        (["my.txt", "--budget", "8h", "--ladder"], "--ladder", "--budget"),
        (["my.txt", "--loss", "1.5", "--ladder"], "--ladder", "--loss"),
        (["my.txt", "--card", "t4", "--out", "folder"], "--out", "--card"),
        (["shakespeare-cpu", "--from", "my-1"], "a recipe's name", "--from"),
        (["--from", "my-1", "--price", "1/h"], "--price", "--from"),
        (["--from", "my-1", "--train.batch", "5"], "--train.batch", "--from"),
        (["--from", "my-1", "--train.epochs", "5", "--model.width", "5"], "--model.width", "--from"),
        (["--from", "my-1", "--train.steps", "5", "--model.width", "5"], "--model.width", "--from"),
        (["--from", "my-1", "--out", "folder"], "--out", "--from"),
        (["--score", "--from", "my-1"], "--from", "--score"),
    ],
)
def test_flags_that_would_be_passed_over_are_refused(lmlab, words, flag, beside):
    status, _, errors = lmlab("plan", *words)
    assert status == 2
    assert errors.strip() == f"lmlab: {flag} doesn't apply with {beside}: leave one of them out"


def test_a_schedule_for_a_longer_run_needs_its_length(lmlab):
    status, _, errors = lmlab("plan", "--from", "my-1", "--schedule.kind", "constant")
    assert status == 2 and "add --train.steps or --train.epochs" in errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "8h", "--price", "cheap"], "'cheap' is not a price"),
        (["--budget", "8h", "--price", "0.3/kWh"], "a price of 0.3/kWh needs a power"),
        (["--price", "0.3/kWh"], "a price of 0.3/kWh needs a power"),
        (["--budget", "8"], "'8' is not a budget"),
        (["--loss", "-1"], "--loss -1 is not a loss"),
        (["--card", "rtx3900"], "did you mean rtx3090?"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(lmlab, text, monkeypatch, words, said):
    monkeypatch.setattr("lmlab.experiment.planned._power_can_be_read", lambda device: False)
    status, _, errors = lmlab("plan", text, *words)
    assert status == 1 and said in errors.strip().splitlines()[-1]


def test_a_flag_that_wants_a_number_says_so(lmlab, text):
    status, _, errors = lmlab("plan", text, "--loss", "abc")
    assert status == 2 and "--loss is 'abc': expected a number" in errors and "NoneType" not in errors


def test_where_the_recipe_goes_is_looked_at_first(lmlab, text, tmp_path):
    status, _, errors = lmlab("plan", text, "--budget", "5m", "--out", tmp_path)
    assert status == 1 and "is a folder" in errors
    status, _, errors = lmlab("plan", text, "--budget", "5m", "--out", text / "night.toml")
    assert status == 1 and "can't be created" in errors and "--out" in errors
