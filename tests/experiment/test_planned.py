"""A plan before a run, its ladder, and what the run then writes and scores."""

import dataclasses
import json
import signal
import statistics

import pytest

from lmlab import LabError
from lmlab.data.preparation import prepare
from lmlab.experiment.budgeted import plan_longer
from lmlab.experiment.ladder import run_ladder
from lmlab.experiment.planned import plan
from lmlab.experiment.quality import forecast_quality
from lmlab.experiment.reading import read_record
from lmlab.experiment.start import train
from lmlab.hardware.cards import card_named
from lmlab.hardware.datasheet import datasheet_peak
from lmlab.planning.losses.ladder import DESIGN, remembered, rungs_of
from lmlab.planning.trials.child import TOO_LONG, Measurement
from lmlab.recipe import override
from lmlab.training.display import Quiet

TRIAL = Measurement(
    micro_batch=4,
    batch=4,
    step_seconds=(0.010, 0.011, 0.012),
    start_seconds=2.0,
    forward_tokens_per_second=20_000.0,
    save_seconds=0.02,
    save_wait_seconds=0.02,
    checkpoint_bytes=400_000,
    peak_memory_bytes=300_000_000,
    idle_memory_bytes=250_000_000,
)


@pytest.fixture
def tried(monkeypatch):
    """What would be tried in child processes is known."""
    monkeypatch.setattr("lmlab.experiment.planned.measured_or_extended", lambda *_, **__: (TRIAL, "measured"))
    monkeypatch.setattr("lmlab.experiment.planned.measure_lines", lambda *_, **__: None)
    monkeypatch.setattr("lmlab.experiment.planned.kept_trial", lambda *_: None)
    monkeypatch.setattr("lmlab.experiment.planned.in_this_process", lambda trial, *_: trial)


@pytest.fixture
def long_recipe(small_recipe):
    return override(small_recipe, {"train.steps": "240", "train.checkpoint_every": "240", "evaluate.every": "240"})


def test_a_plan_adds_up(tried, small_recipe, tmp_path):
    recipe = override(small_recipe, {"train.steps": "800", "train.checkpoint_every": "200", "evaluate.every": "200"})
    found = plan(recipe, runs=tmp_path / "none-yet", say=lambda line: None)
    value = json.loads(json.dumps(found.to_json()))
    assert value["tokens"] == 800 * 4 * 16 and value["position"]["parameters"]["total"] == found.forecast.parameters
    duration = value["duration"]
    assert duration["train_seconds"] == pytest.approx(800 * 0.011)
    assert duration["save_seconds"] == pytest.approx(5 * 0.02)
    total = sum(duration[f"{part}_seconds"] for part in ("start", "open", "train", "evaluate", "save"))
    assert value["seconds"] == pytest.approx(total) and duration["total_seconds"]["low"] < total
    (parts,) = value["memory"]
    assert (
        sum(size for name, size in parts.items() if name not in ("micro_batch", "peak")) == parts["peak"] == 300_000_000
    )
    text = "\n".join(map(str, found.lines()))
    for word in ("measured", "formula", "published", "800 steps of 4 x 16 tokens", "! the text is read", "300 MB peak"):
        assert word in text
    assert not (tmp_path / "none-yet").exists()


def test_a_training_that_does_not_run_here_says_why(tried, small_recipe, monkeypatch):
    failed = Measurement(micro_batch=4, batch=4, failed="out of memory")
    monkeypatch.setattr("lmlab.experiment.planned.measured_or_extended", lambda *_, **__: (failed, "measured"))
    with pytest.raises(LabError, match="can't be run here: out of memory; try a smaller train.micro_batch"):
        plan(small_recipe, say=lambda line: None)


def test_a_ladder_is_climbed_once_and_then_serves_plans_and_runs(tried, long_recipe, tmp_path, monkeypatch):
    said = []
    found = plan(long_recipe, runs=tmp_path, ladder=True, say=said.append)
    loss = found.forecast.figures["final_loss"]
    assert loss.evidence == "extrapolated" and "ladder of 4" in loss.rests_on and "the ladder's largest" in loss.alarm
    assert sum(" of 4: width " in line for line in said) == len(DESIGN)
    here = found.position
    assert found.law(here.matrix_parameters, here.effective_tokens) == pytest.approx(loss.value)

    def never(*arguments, **options):
        raise AssertionError("a rung was trained again")

    with monkeypatch.context() as patched:
        patched.setattr("lmlab.experiment.ladder.train_or_resume", never)
        again = plan(long_recipe, runs=tmp_path, ladder=True, say=said.append)
    assert again.forecast.figures["final_loss"] == loss
    first = train(long_recipe, run="first", runs=tmp_path, display=Quiet(), say=said.append)
    assert first.run.read("forecast.json")["figures"]["final_loss"]["value"] == loss.value
    score = first.summary["score"]
    # What was extrapolated teaches the next extrapolation; what was measured before doesn't.
    assert score["final_loss"]["raw_ratio"] == pytest.approx(score["final_loss"]["measured"] / loss.value)
    assert score["final_loss"]["measured"] == first.summary["final"]["loss"] and "inside" in score["total_seconds"]
    # What was measured is better evidence than what was extrapolated.
    other = train(
        override(long_recipe, {"train.seed": "2"}), run="other", runs=tmp_path, display=Quiet(), say=said.append
    )
    assert other.run.read("forecast.json")["figures"]["final_loss"]["evidence"] == "measured"
    quality = forecast_quality(tmp_path)
    assert quality.runs == 2 and {entry.figure for entry in quality.figures} >= {
        "final_loss",
        "total_seconds",
        "kept_bytes",
    }
    assert "aimed at 80%" in "\n".join(map(str, quality.lines()))


def test_a_ladder_that_was_stopped_goes_on(tried, long_recipe, tmp_path):
    class Stopping(Quiet):
        sent = False

        def progress(self, now, logged):
            if now.steps > 20 and not self.sent:
                self.sent = True
                signal.raise_signal(signal.SIGTERM)

    # Another length than in the test before, whose ladder is remembered.
    longer = override(long_recipe, {"train.steps": "280"})
    dataset = prepare(longer.data)
    with pytest.raises(LabError, match="stopped in rung .* of 4: the same command continues"):
        run_ladder(longer, dataset, 280, Stopping(), lambda line: None)
    there = len(remembered(longer, dataset.id, 280))
    assert there < len(DESIGN)
    said = []
    law = run_ladder(longer, dataset, 280, Quiet(), said.append)
    assert sum(" of 4: width " in line for line in said) == len(DESIGN) - there
    assert [(point.size, point.length) for point in law.points] == [
        (rung.size, rung.length) for rung in rungs_of(longer, dataset.vocabulary_size, 280)
    ]


def test_scores_need_runs(tmp_path):
    with pytest.raises(LabError, match="0 finished runs with a forecast: expected two or more"):
        forecast_quality(tmp_path)


def test_a_plan_has_every_figure_though_no_step_could_be_tried(small_recipe, monkeypatch, tmp_path):
    failed = Measurement(micro_batch=4, batch=4, failed=f"{TOO_LONG} 120 s")
    monkeypatch.setattr("lmlab.experiment.planned.measured_or_extended", lambda *_, **__: (failed, "measured"))
    monkeypatch.setattr("lmlab.experiment.planned.measure_lines", None)
    monkeypatch.setattr("lmlab.experiment.planned.kept_trial", lambda *_: None)
    found = plan(small_recipe, runs=tmp_path, say=lambda line: None)
    value = json.loads(json.dumps(found.to_json()))
    assert value["seconds"] > 0 and value["position"]["parameters"]["total"] > 0
    assert value["duration"]["total_seconds"]["evidence"] == "formula"
    assert value["flops"]["utilisation"] <= 1
    text = "\n".join(found.lines())
    for word in ("parameters", "FLOPs", "peak", "tokens/s", "no step was timed", "at most"):
        assert word in text
    assert "measured   " not in text.replace("measured peak", "")
    assert "no step was timed" in found.forecast.line()
    assert not found.forecast.raw.keys() & {"total_seconds", "peak_memory_bytes"}, "nothing to learn from"


def test_compute_by_time_rests_on_other_runs_or_is_not_shown(small_recipe, monkeypatch, tmp_path):
    timed = Measurement(micro_batch=4, batch=4, failed=f"{TOO_LONG} 120 s")
    monkeypatch.setattr("lmlab.experiment.planned.measured_or_extended", lambda *_, **__: (timed, "measured"))
    monkeypatch.setattr("lmlab.experiment.planned.kept_trial", lambda *_: None)
    monkeypatch.setattr(
        "lmlab.experiment.planned.datasheet_of", lambda policy: datasheet_peak(card_named("t4"), "fp32")
    )
    runs = []
    for seed in (1, 2, 3):
        alone = plan(small_recipe, runs=tmp_path, say=lambda line: None)
        assert alone.to_json()["flops"]["time_times_rate"] is None and not any(
            "time x" in line for line in alone.lines()
        )
        recipe = override(small_recipe, {"train.seed": str(seed), "train.steps": "30"})
        runs.append(train(recipe, run=f"s{seed}", runs=tmp_path, display=Quiet(), say=lambda line: None).run)
    for run in runs:  # whatever else this machine did
        run.write("summary.json", {**run.summary(), "processor_share": 1.0})
    found = plan(small_recipe, runs=tmp_path, say=lambda line: None)
    rates = []
    for run in runs:
        record = read_record(run)
        rates.append(record.training_flops / record.train_seconds)
    value = found.to_json()["flops"]
    assert value["time_times_rate"]["value"] == pytest.approx(statistics.median(rates) * found.duration.train_seconds)
    assert value["datasheet_utilisation"] == pytest.approx(value["achieved_per_second"] / 8.1e12)
    text = "\n".join(found.lines())
    assert (
        "the median of 3 finished runs" in text and "of the 8.1 TFLOP/s of the datasheet (NVIDIA T4 datasheet)" in text
    )


def test_a_run_notes_both_shares_where_the_datasheet_is_known(small_recipe, monkeypatch, tmp_path):
    sheet = datasheet_peak(card_named("t4"), "fp32")
    monkeypatch.setattr("lmlab.experiment.session.datasheet_of", lambda policy: sheet)
    monkeypatch.setattr("lmlab.experiment.session.peak_flops", lambda policy: 1e12)
    run = train(small_recipe, run="both", runs=tmp_path, display=Quiet(), say=lambda line: None).run
    lines = [line for line in run.read_lines("metrics") if line["kind"] == "train"]
    assert lines
    for line in lines:
        assert line["mfu"] * 1e12 == pytest.approx(line["mfu_datasheet"] * 8.1e12)


def test_a_finished_run_is_planned_for_longer_as_its_branch_would_go_on(small_recipe, tmp_path):
    recipe = override(small_recipe, {"train.steps": "60", "evaluate.every": "5", "schedule.steps": "60"})
    train(recipe, run="short", runs=tmp_path, display=Quiet(), say=lambda line: None)
    found = plan_longer("short", {"train.steps": 180}, runs=tmp_path)
    assert found.places[-1].step == 180 and found.facts.steps == 60
    assert "the learning rate is stretched over 180 steps" in found.rate_line
    assert found.command.endswith("short --train.steps 180")
    with pytest.raises(LabError, match="short is at step 60 already"):
        plan_longer("short", {"train.steps": 60}, runs=tmp_path)
    epochs = plan_longer("short", {"train.epochs": "2.5"}, runs=tmp_path)
    assert epochs.places[-1].passes == pytest.approx(2.5, rel=0.1) and epochs.command.endswith("--train.epochs 2.5")
    with pytest.raises(LabError, match="leave @20 out"):
        plan_longer("short@20", {"train.steps": 180}, runs=tmp_path)


def test_a_plan_takes_up_an_earlier_trial_and_tries_no_other_size_in_vain(small_recipe, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("lmlab.experiment.planned.kept_trial", lambda *_: dataclasses.replace(TRIAL, kept=True))
    monkeypatch.setattr("lmlab.experiment.planned.measured_or_extended", None)
    monkeypatch.setattr("lmlab.experiment.planned.measure_lines", lambda *_, **__: asked.append("lines"))
    for in_chunks, tried in ((True, []), (False, ["lines"])):
        monkeypatch.setattr("lmlab.experiment.planned.computed_in_chunks", lambda *_, answer=in_chunks: answer)
        found = plan(small_recipe, runs=tmp_path, say=lambda line: None)
        assert asked == tried and found.trial.kept
    assert "of an earlier start" in "\n".join(found.lines())
