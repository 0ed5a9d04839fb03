"""What a run's summary says of overfitting, from trainings of a second."""

import json
import math
import random
import shutil

import numpy as np
import pytest

from lmlab import LabError
from lmlab.data.dataset import find_dataset
from lmlab.exchange import import_log
from lmlab.experiment.outline import evaluation_plan
from lmlab.experiment.start import train
from lmlab.experiment.verdict import verdict_on
from lmlab.files import write_json
from lmlab.recipe import override
from lmlab.runs import Run
from lmlab.stats import paired_difference
from lmlab.training.display import Quiet

FAST = {
    "model.width": "64",
    "model.dropout": "0",
    "optim.lr": "0.003",
    "train.batch": "16",
    "schedule.kind": "constant",
    "train.checkpoint_every": "100000",
    "evaluate.share": "0.5",
}


def words(count, seed, vocabulary):
    generator = random.Random(seed)
    return " ".join(generator.choice(vocabulary) for _ in range(count))


def evaluations(run):
    return [line for line in run.read_lines("metrics") if line["kind"] == "evaluation"]


@pytest.fixture(scope="module")
def names():
    """Made-up words of four letters: nothing of one tells about the next, so that there is little to learn and much to memorise."""
    generator = random.Random(3)
    return "\n".join("".join(generator.choice("abcdefgh") for _ in range(5)) for _ in range(300))


@pytest.fixture
def overfitted(small_recipe, names, tmp_path, untouched):
    """A run that memorises a short text."""
    text = tmp_path / "names.txt"
    text.write_text(names)
    length = {"train.steps": "250", "evaluate.every": "25", "data.valid_share": "0.5", "data.separator": "\\n"}
    recipe = override(small_recipe, {**FAST, **length, "data.corpus": str(text)})
    return untouched(recipe, "overfitted")


def test_a_run_that_memorises_its_text_is_told_by_how_much_validation_rose(overfitted):
    verdict, lines = overfitted.summary["verdict"], evaluations(overfitted.run)
    best = min(range(len(lines)), key=lambda place: lines[place]["valid_loss"])
    assert verdict["kind"] == "overfitting" and verdict["best_step"] == lines[best]["step"]
    units = overfitted.run.units()
    nats = units["bits"][:, : len(lines)] * math.log(2.0)
    expected = paired_difference(nats[:, -3:].mean(axis=1), nats[:, best], units["tokens"])
    assert verdict["rise"] == pytest.approx(expected.difference)
    assert verdict["rise_interval"] == pytest.approx([expected.low, expected.high])
    size = f"{expected.difference:.4f} (95% {expected.low:.4f} to {expected.high:.4f})"
    assert f"overfitting: validation has risen by {size} since its best at step" in verdict["reason"]


def test_evaluations_and_the_summary_have_the_gap_of_equal_samples_with_its_interval(overfitted):
    lines, final = evaluations(overfitted.run), overfitted.summary["final"]
    assert abs(lines[0]["gap"]) < 0.05, "before the first step there is nothing between them"
    for line in lines:
        low, high = line["gap_interval"]
        assert low < line["gap"] < high
        assert line["gap"] == pytest.approx(line["valid_loss"] - line["train_loss"], abs=0.02 + abs(line["gap"]) / 5)
        assert abs(line["valid_tokens"] - line["train_tokens"]) < 1024
    low, high = final["gap_interval"]
    assert low < final["gap"] < high and final["gap"] > 0.2
    assert abs(final["train_tokens"] - final["tokens"]) < 1024
    assert overfitted.summary["verdict"]["gap"] == final["gap"]


def test_a_harder_validation_text_is_no_overfitting_within_the_first_pass(small_recipe, tmp_path):
    """War and Peace after .29 passes: its tail is harder than the rest."""
    easy, hard = ["peace", "and", "war", "of", "the"], ["rtwo", "aecf", "hdpn", "oawr", "tenc", "fhda", "cpor", "wnte"]
    text = tmp_path / "book.txt"
    text.write_text(words(14_000, 1, easy * 4 + hard) + " " + words(1_800, 2, easy + hard * 2))
    settings = {**FAST, "data.corpus": str(text), "train.batch": "8", "train.steps": "60", "evaluate.every": "15"}
    outcome = train(override(small_recipe, settings), runs=tmp_path, display=Quiet(), say=lambda line: None)
    verdict = outcome.summary["verdict"]
    assert verdict["gap"] > 0.2 and verdict["gap_interval"][0] > 0.1
    assert verdict["kind"] == "none" and "slight" not in verdict["reason"]
    assert "passes over the text, so part of it may be that the validation text is harder" in verdict["reason"]


def test_one_number_of_tokens_is_told_of_a_sample(small_recipe, tiny_text, tmp_path):
    said, notes = [], []

    class Notes(Quiet):
        def note(self, text):
            notes.append(text)

    text = tmp_path / "long.txt"
    text.write_text(tiny_text * 12)
    recipe = override(small_recipe, {"data.corpus": str(text)})
    outcome = train(recipe, runs=tmp_path, display=Notes(), say=said.append)
    tokens = {line["valid_tokens"] for line in evaluations(outcome.run)}
    assert len(tokens) == 1
    count = f"{tokens.pop():,}"
    assert any(f"evaluations scores {count} of " in line for line in said)
    assert all(f"(sample of {count} tokens)" in line for line in notes if "valid " in line)


def test_a_run_goes_on_with_the_samples_that_it_began_with(overfitted, tmp_path):
    run, summary = overfitted.run, overfitted.summary
    copy = Run(tmp_path / "copy")
    shutil.copytree(run.folder, copy.folder)
    origin, recipe, dataset = run.origin(), run.recipe(), find_dataset(run.origin()["data_id"])
    began = evaluation_plan(recipe, dataset, summary["steps"], run)
    assert origin["evaluation"] == began.to_json() == evaluation_plan(recipe, dataset, summary["steps"]).to_json()
    assert began.wanted[0] == began.wanted[1]
    write_json(copy.folder / "origin.json", {**origin, "evaluation": {"valid_tokens": 700, "train_tokens": 300}})
    assert evaluation_plan(recipe, dataset, summary["steps"], Run(copy.folder)).wanted == (700, 300)
    # Before there were such numbers, a quarter of what an evaluation scores was training text.
    del origin["evaluation"]
    write_json(copy.folder / "origin.json", origin)
    cheap = override(recipe, {"evaluate.share": "0.05"})
    valid, train_tokens = evaluation_plan(cheap, dataset, summary["steps"], Run(copy.folder)).wanted
    assert valid + train_tokens == int(0.05 * 250 * 16 * 16 * 3 / 11) and train_tokens == (valid + train_tokens) // 4


@pytest.mark.parametrize(
    "damage", [7, {"valid_tokens": 0, "train_tokens": 5}, {"valid_tokens": 5}, {"valid_tokens": "x"}]
)
def test_sizes_of_samples_that_are_none_are_refused(overfitted, tmp_path, damage):
    shutil.copytree(overfitted.run.folder, tmp_path / "copy")
    write_json(tmp_path / "copy" / "origin.json", {**overfitted.run.origin(), "evaluation": damage})
    with pytest.raises(LabError, match="expected the numbers of tokens that an evaluation scores; put it back"):
        Run(tmp_path / "copy").origin()


def test_an_imported_log_is_judged_by_its_curve(tmp_path):
    losses = [3.3, 2.2, 1.9, 1.6, 1.45, 1.393, 1.404, 1.418, 1.472, 1.495]
    log = tmp_path / "names.csv"
    log.write_text("step,val_loss\n" + "\n".join(f"{100 * place},{loss}" for place, loss in enumerate(losses)))
    run = import_log(log, tmp_path / "runs")[0].run
    verdict = verdict_on(run)
    assert verdict["kind"] == "unknown" and "overfitting unclear: validation has risen by" in verdict["reason"]
    assert "step 500" in verdict["reason"] and "training loss isn't known" in verdict["reason"]


def test_lines_without_gaps_and_units_are_judged_by_their_losses(overfitted, tmp_path):
    """As runs have that are older than these."""
    copy = tmp_path / "older"
    shutil.copytree(overfitted.run.folder, copy)
    (copy / "units-valid.npy").unlink()
    path = copy / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{name: value for name, value in line.items() if "gap" not in name} for line in lines]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    verdict = verdict_on(Run(copy))
    assert verdict["kind"] == "overfitting" and verdict["rise_interval"] is None
    last = [line for line in kept if line["kind"] == "evaluation"][-1]
    assert verdict["gap"] == pytest.approx(last["valid_loss"] - last["train_loss"])
    assert np.isfinite(verdict["rise"])
