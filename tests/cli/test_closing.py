"""What a training says at its end: quiet or not, diverged or not, with what was expected and what was passed over."""

import json

import pytest

pytestmark = pytest.mark.tried


def test_a_quiet_training_says_its_closing_lines_and_last_its_folder(lmlab, small, tmp_path):
    status, output, errors = lmlab(*small, "--run", "mine", "--quiet", "--expect", "loss=0.1..0.2")
    lines = output.splitlines()
    assert status == 0, errors
    assert lines[0].startswith("done: 6 steps")
    assert any(line.startswith("whole validation split, last step 6: loss ") for line in lines)
    assert any("overfitting" in line or "can't be told" in line for line in lines)
    assert any(line.startswith("expected validation loss 0.1000 to 0.2000: missed") for line in lines)
    assert lines[-1] == str(tmp_path / "runs" / "mine")
    assert "forecast: " not in lines[0] and not any(line.startswith(("data ", "on cpu", "Each of")) for line in lines)
    _, again, _ = lmlab("resume", "mine", "--quiet")
    assert again.splitlines()[0].startswith("mine is finished: 6 steps")


@pytest.mark.parametrize("rate", ["1", "10"])
def test_a_loss_above_that_of_a_guess_is_said_to_have_diverged(lmlab, small, tmp_path, rate):
    _, output, _ = lmlab(*small, "--run", "mine", "--optim.lr", rate, "--train.steps", "30", "--quiet")
    assert "training diverged: its training loss ended at" in output and f"try a lower optim.lr than {rate}" in output
    assert json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())["diverged"] in output
    assert max(map(len, output.splitlines())) < 300


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_training_at_a_rate_of_1000_is_said_to_have_diverged(lmlab, small, quiet):
    status, output, errors = lmlab(*small, "--run", "mine", "--optim.lr", "1000", "--train.steps", "12", *quiet)
    said = output + errors
    assert "training diverged" in said and "a lower optim.lr than 1000" in said, (status, said)


def test_a_training_that_learns_is_not_said_to_have_diverged(lmlab, small, tmp_path):
    _, output, _ = lmlab(*small, "--run", "mine", "--quiet")
    assert "diverged" not in output
    assert json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())["diverged"] is None


def test_final_figures_can_be_over_the_sample_and_say_so(lmlab, small, tmp_path, tiny_text):
    text = tmp_path / "long.txt"
    text.write_text(tiny_text * 8)
    words = ["train", str(text), *small[2:], "--run", "mine", "--evaluate.final", "sample", "--quiet"]
    status, output, errors = lmlab(*words)
    assert status == 0, errors
    summary = json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "runs" / "mine" / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "evaluation"][-1]
    assert summary["final"]["whole"] is False and summary["final"]["loss"] == last["valid_loss"]
    assert summary["final"]["tokens"] == last["valid_tokens"] and summary["final"]["train_loss"] == last["train_loss"]
    assert "sample of the validation split, last step 6: loss " in output
    assert lmlab("train", str(text), *small[2:], "--evaluate.final", "half")[0] == 1


@pytest.mark.parametrize("flags", [["--expect", "time=1..2"], ["--expect", "x=1..2"], ["--note", "x" * 10_001]])
def test_an_expectation_or_a_note_that_cant_be_is_refused_before_the_text_is_read(lmlab, small, tmp_path, flags):
    status, output, errors = lmlab(*small, *flags)
    assert status == 1 and not output and len(errors.splitlines()) == 1
    assert flags[0].strip("-") in errors and not (tmp_path / "runs").exists()


def test_a_prompt_outside_the_alphabet_is_passed_over_with_a_warning(lmlab, small, tmp_path):
    prompts = ["--evaluate.prompts", "ЖЖ", "--evaluate.prompts", "The"]
    status, output, errors = lmlab(*small, "--run", "mine", *prompts)
    assert status == 0, errors
    assert "the prompt 'ЖЖ' is skipped, because the text has no 'Ж'" in output
    lines = (tmp_path / "runs" / "mine" / "samples.jsonl").read_text().splitlines()
    assert lines and {json.loads(line)["prompt"] for line in lines} == {"The"}
    assert lmlab("prove", "mine")[0] == 0
    status, output, errors = lmlab(*small, "--run", "none", "--evaluate.prompts", "ЖЖ")
    assert status == 0, errors


def test_a_note_is_given_with_the_run_and_changed_later(lmlab, small):
    lmlab(*small, "--run", "mine", "--quiet", "--note", "as the post says")
    assert lmlab("runs", "note", "mine")[1] == "mine: as the post says\n"
    assert lmlab("runs", "note", "mine", "worse", "than", "hoped")[1] == "mine: worse than hoped\n"
    assert lmlab("runs", "note", "mine", "")[1] == "mine: no note\n"
    assert lmlab("runs", "note", "nobody")[0] == 1
