"""A whole search on a tiny text: what it measures, how it is stopped and goes on, and what it writes."""

import json
import math
from pathlib import Path

import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.native.library import load
from lmlab.recipe import Recipe, override, read_recipe
from lmlab.scaling.noise import FEWEST_STEPS, GradientNoise
from lmlab.study.tune.halving import ShortRun
from lmlab.study.tune.result import Tuning
from lmlab.study.tune.short_training import ShortResult
from lmlab.study.tune.tuning import Wishes, published, tune
from tests.stopping import StopAfterNotes

pytest.importorskip("optuna")

SMALL = {
    "name": "small", "data.tokenizer": "characters", "data.vocabulary": "none", "data.split": "tail",
    "model.layers": "1", "model.heads": "2", "model.width": "16", "model.context": "16",
    "train.steps": "80", "train.batch": "4", "train.threads": "1", "train.device": "cpu", "optim.lr": "0.01",
}  # fmt: skip
WISHES = Wishes(steps=FEWEST_STEPS, trials=3, seeds=2)


@pytest.fixture(autouse=True)
def _engine_is_built():
    load(lambda line: None)


@pytest.fixture
def recipe(tiny_text_file):
    return override(Recipe(), {**SMALL, "data.corpus": str(tiny_text_file)})


def searched(recipe: Recipe, folder: Path, wishes: Wishes = WISHES, **more) -> Tuning:
    return tune(recipe, folder, wishes, say=lambda line: None, **more)


def test_a_search_that_was_stopped_goes_on_to_the_losses_of_an_untouched_one(recipe, tmp_path):
    whole = searched(recipe, tmp_path / "whole")
    assert whole.finished and {run.steps for run in whole.losses} == {5, 10, 20}
    stopped = searched(recipe, tmp_path / "stopped", display=StopAfterNotes(4))
    assert not stopped.finished and len(stopped.losses) == 4
    again = searched(recipe, tmp_path / "stopped")
    assert again.finished and again.losses == whole.losses
    # And what is finished is not measured again.
    kept = searched(recipe, tmp_path / "stopped")
    assert kept.outcomes == again.outcomes
    assert whole.noise().steps == 20


def test_the_command_prints_the_optimum_and_writes_plot_and_recipe(recipe, tiny_text_file, tmp_path, capsys):
    settings = [word for name, value in SMALL.items() if "." in name for word in (f"--{name}", value)]
    words = ["tune", str(tiny_text_file), *settings, "--steps", "20", "--trials", "3", "--runs", str(tmp_path)]
    words += ["--optim.kind", "adamw", "--optim.lr", "0.01"]
    out = tmp_path / "mine.toml"
    assert main([*words, "--json", "--out", str(out)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["finished"] and {entry["steps"] for entry in value["trainings"]} == {5, 10, 20}
    assert all(Path(path).stat().st_size > 1000 for path in value["files"])
    assert main([*words, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "(recipe)" in printed and "continuing after" in printed
    if value["learning_rate"] is not None:
        assert f"best learning rate {value['learning_rate']['value']:.2g}" in printed
        assert read_recipe(out).optim.lr == pytest.approx(value["learning_rate"]["value"], rel=0.05)
        assert printed.rstrip().endswith(str(out))
        kept = json.loads((tmp_path / "tune-tiny" / "tune.json").read_text())
        assert kept["recipe"] == value["recipe"] == str(out)


def _tuning(recipe, losses):
    noise = GradientNoise()
    outcomes = {
        ShortRun(20, 0, rate): ShortResult(loss=loss, error=0.0, seconds=1.0, noise=noise)
        for rate, loss in losses.items()
    }
    return Tuning(
        recipe=recipe, measured_on=recipe, rungs=(20,), run_steps=20, outcomes=outcomes, finished=True
    )  # fmt: skip


def test_where_no_parabola_fits_the_best_rate_that_was_tried_is_named(recipe):
    # The lowest has a neighbour on either side, and the losses further out are lower again.
    bracketed = _tuning(recipe, {-2: 2.04, -1: 2.10, 0: 2.03, 1: 2.10, 2: 2.04})
    assert bracketed.optimum() is None and bracketed.best_tried() == 0
    text = "\n".join(map(str, bracketed.lines()))
    assert "lowest loss of the rates tried: 2.0300 at 0.01 (2.1000 at 0.005 and 2.1000 at 0.02)" in text
    assert "no interval" in text and bracketed.to_json()["best_tried"] == {"learning_rate": 0.01, "loss": 2.03}
    at_end = _tuning(recipe, {0: 2.2, 1: 2.1, 2: 2.0, 3: math.inf})
    assert "at the end of the rates" in "\n".join(map(str, at_end.lines())) and at_end.best_tried() == 2
    assert "every one diverged" in "\n".join(map(str, _tuning(recipe, {0: math.inf, 1: math.inf}).lines()))


def test_a_search_without_an_optimum_still_writes_the_best_rate_tried(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("lmlab.study.tune.result.find_optimum", lambda losses, steps: None)
    result = searched(recipe, tmp_path / "here", Wishes(steps=4, trials=3, seeds=1))
    assert result.tuned_recipe is not None
    rate = result.rate_of(result.best_tried())
    assert read_recipe(result.tuned_recipe).optim.lr == pytest.approx(rate, rel=0.05)


def test_a_size_of_the_search_is_a_word_or_that_of_a_text(tiny_text_file, tmp_path, capsys):
    assert main(["tune", "shakespeare-cpu", "--size", "300k"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "--size 300k is for a text file" in line and "--size small" in line
    assert main(["tune", str(tiny_text_file), "--size", "300q", "--runs", str(tmp_path)]) == 1
    assert "--size '300q' can't be read: expected parameters such as 750k" in capsys.readouterr().err


def test_a_command_that_is_interrupted_shows_what_it_has_and_exits_with_3(
    recipe, tiny_text_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("lmlab.training.display.make_display", lambda quiet, json: StopAfterNotes(2))
    words = [word for name, value in SMALL.items() if "." in name for word in (f"--{name}", value)]
    assert main(["tune", str(tiny_text_file), *words, "--steps", "20", "--runs", str(tmp_path)]) == 3
    printed = capsys.readouterr().out
    assert "no optimum yet" in printed and "the same command continues from here" in printed


def test_a_rate_can_be_measured_on_a_narrower_model(recipe, tmp_path):
    said: list[str] = []
    result = tune(recipe, tmp_path, Wishes(steps=12, trials=3, seeds=1, size="small"), say=said.append)
    assert result.measured_on.model.width == 8 and result.recipe.model.width == 16
    assert any("scaled so that its best rate is that of width 16" in line for line in said)
    if result.tuned_recipe is not None:
        assert read_recipe(result.tuned_recipe).model == recipe.model


def test_published_laws_are_shown_with_their_alarms_and_only_for_the_optimizer_that_they_are_of(recipe):
    step_law, porian = published(recipe, 108_000_000, 2_000_000_000)
    assert porian.rate == pytest.approx(0.0047) and not porian.alarm
    assert step_law.rate == pytest.approx(1.797 * 108e6**-0.713 * 2e9**0.307) and "Step Law" in step_law.alarm
    assert published(override(recipe, {"optim.kind": "muon"}), 10**8, 10**9) == ()


def test_what_cannot_be_written_is_said_before_anything_is_measured(recipe, tmp_path):
    with pytest.raises(LabError, match="there is no folder"):
        searched(recipe, tmp_path, Wishes(out=tmp_path / "nowhere" / "tuned.toml"))
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="can't be created .*--runs"):
        searched(recipe, tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    "wishes, words",
    [({"trials": 2}, "--trials"), ({"trials": 18}, "most 17"), ({"seeds": 0}, "--seeds"), ({"steps": -1}, "--steps")],
)
def test_impossible_wishes_are_refused(recipe, tmp_path, wishes, words):
    with pytest.raises(LabError, match=words):
        searched(recipe, tmp_path, Wishes(**wishes))
