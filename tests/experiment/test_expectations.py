"""What is expected of a run: read, kept with it, and scored after it."""

import json

import pytest

from lmlab import LabError
from lmlab.experiment.expectations import ExpectedRange, expectation_line, parse_expectations, read_expectations
from lmlab.experiment.start import train, train_or_resume
from lmlab.runs import Run, read_note
from lmlab.training.display import Quiet

BEST = {"step": 1200, "loss": 3.3, "perplexity": 27.31, "accuracy": 0.36, "bits_per_byte": None}


@pytest.mark.parametrize(
    ("text", "metric", "low", "high"),
    [
        ("valid_perplexity=25..30", "valid_perplexity", 25.0, 30.0),
        ("perplexity = 25 .. 30", "valid_perplexity", 25.0, 30.0),
        ("loss=..1.5", "valid_loss", None, 1.5),
        ("valid_accuracy=36%..", "valid_accuracy", 0.36, None),
        ("bits_per_byte=1e0..2", "valid_bits_per_byte", 1.0, 2.0),
        ("time=90s..1h30m", "time", 90.0, 5400.0),
    ],
)
def test_a_range_is_read_with_either_end_open(text, metric, low, high):
    assert parse_expectations([text]) == (ExpectedRange(metric=metric, low=low, high=high),)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (["25..30"], "can't be read"),
        (["loss=1.5"], "can't be read"),
        (["loss=a..b"], "can't be read"),
        (["loss=nan..2"], "can't be read"),
        (["loss=.."], "has no range"),
        (["loss=3..2"], "has no range"),
        (["perplexty=1..2"], "has no metric 'perplexty'.*did you mean"),
        (["time=1..2"], "a time such as 2h"),
        (["loss=1..2", "valid_loss=2..3"], "names valid_loss twice"),
    ],
)
def test_what_is_no_range_is_refused_with_an_example(texts, problem):
    with pytest.raises(LabError, match=problem):
        parse_expectations(texts)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("perplexity=25..30", "expected validation perplexity 25.00 to 30.00: held, measured 27.31 (best, step 1,200)"),
        ("perplexity=..27", "expected validation perplexity at most 27.00: missed, measured 27.31 (best, step 1,200)"),
        ("accuracy=35%..", "expected validation accuracy at least 35.0%: held, measured 36.0% (best, step 1,200)"),
        ("time=1m..2m", "expected time 1 min 00 s to 2 min 00 s: missed, measured 40 s"),
        ("bits_per_byte=1..2", "expected bits per byte 1.0000 to 2.0000: unknown for this run"),
    ],
)
def test_an_expectation_is_scored_on_the_best_model_and_the_time_of_the_run(text, line):
    assert expectation_line(parse_expectations([text])[0].scored(BEST, 40.0)) == line


@pytest.mark.parametrize(
    "damage", [7, [7], [{"metric": "x", "low": 1, "high": 2}], [{"metric": "time", "low": "1", "high": 2}]]
)
def test_damaged_expectations_are_refused(damage):
    with pytest.raises(LabError, match="origin.json is damaged"):
        read_expectations(damage)


def test_expectations_and_a_note_are_kept_with_the_run_and_scored_after_it(small_recipe, tmp_path):
    said = []
    wanted = ["loss=0.1..0.2", "time=..1h"]
    options = {"runs": tmp_path, "display": Quiet(), "say": said.append}
    outcome = train(small_recipe, run="expected", expect=wanted, note=" a first try ", **options)
    loss, time = json.loads((outcome.run.folder / "summary.json").read_text())["expectations"]
    best = outcome.summary["best"]
    assert (loss["measured"], loss["held"], loss["step"]) == (best["loss"], False, best["step"])
    assert time["held"] and time["measured"] == pytest.approx(outcome.summary["seconds"]["total"], abs=1)
    assert any(line.startswith("expected validation loss 0.1000 to 0.2000: missed, measured") for line in said)
    assert any(line.startswith("expected time at most 1 h 00 min: held") for line in said)
    assert read_expectations(Run(outcome.run.folder).origin()["expected"]) == parse_expectations(wanted)
    assert read_note(outcome.run.folder) == "a first try"


def test_what_is_expected_of_a_run_that_has_begun_cant_change(small_recipe, tmp_path):
    options = {"run": "one", "runs": tmp_path, "display": Quiet(), "say": lambda line: None}
    train_or_resume(small_recipe, expect=["loss=1..9"], **options)
    again = train_or_resume(small_recipe, expect=["loss=1..9"], note="seen again", **options)
    assert read_note(again.run.folder) == "seen again"
    with pytest.raises(LabError, match="its expectations can't change"):
        train_or_resume(small_recipe, expect=["loss=1..8"], **options)


def test_an_expectation_that_cant_be_read_is_refused_before_the_text_is(small_recipe, tmp_path):
    with pytest.raises(LabError, match="--expect"):
        train(small_recipe, runs=tmp_path, expect=["x"])
    assert not list(tmp_path.iterdir()) or not any((entry / "origin.json").exists() for entry in tmp_path.iterdir())
