"""A resume of a folder that isn't whole: one line with what is there, what is missing and what still works; nothing is touched."""

import json
import os
import re
import shutil
import time

import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.data.dataset import datasets_folder
from lmlab.experiment.resuming import resume
from lmlab.experiment.session import Session
from lmlab.experiment.start import train
from lmlab.recipe import override
from lmlab.runs import open_run
from tests.experiment.conftest import SMALL
from tests.experiment.test_spikes import assert_same_end
from tests.stopping import StopAt


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of a stopped and a finished run, to be copied and damaged; made by the first test."""
    return {"root": tmp_path_factory.mktemp("made")}


@pytest.fixture
def runs(made, small_recipe, tmp_path):
    """A folder with copies of the runs `stopped` (at step 9 of 12) and `finished`."""
    recipe = override(small_recipe, {"evaluate.every": "3"})
    if "text" not in made:
        made["text"] = recipe.data.corpus
        train(recipe, run="stopped", runs=made["root"], display=StopAt(9), say=lambda line: None)
        train(recipe, run="finished", runs=made["root"], say=lambda line: None)
    shutil.copytree(made["root"], tmp_path / "runs")
    return tmp_path / "runs"


def tree(folder):
    """Everything in a folder: names, times and bytes."""
    return {
        path.relative_to(folder): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


def test_a_second_signal_says_what_is_saved_and_how_to_go_on(small_recipe, tmp_path, capsys, monkeypatch):
    def interrupted(self, deadline=None):
        raise KeyboardInterrupt

    folder = tmp_path / "again"
    train(small_recipe, run="again", runs=tmp_path, display=StopAt(6), say=lambda line: None)
    monkeypatch.setattr(Session, "train", interrupted)
    assert main(["resume", str(folder), "--quiet"]) == 3
    told = f"lmlab: stopped; saved up to step 6, continue with: lmlab resume {folder}"
    assert capsys.readouterr().err.splitlines()[-1] == told
    with pytest.raises(
        KeyboardInterrupt, match="stopped before the first checkpoint; start again with: lmlab resume .*early"
    ):
        train(small_recipe, run="early", runs=tmp_path, say=lambda line: None)


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def within_a_name(path):
    """What is left is no TOML."""
    text = path.read_text()
    path.write_text(text[: text.index("[model]") + 3])


def emptied(folder):
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def other_weights(run):
    """A checkpoint that is intact, but of another model."""
    from lmlab.checkpoint.finding import find
    from lmlab.checkpoint.pruning import Retention
    from lmlab.checkpoint.saving import save_and_point

    checkpoint = find(run / "checkpoints", "latest")[0]
    weights = checkpoint.tensors("weights")
    name = next(name for name, tensor in weights.items() if tensor.dim() == 2 and tensor.shape[0] != tensor.shape[1])
    parts = {"weights": {**weights, name: weights[name].T.contiguous()}, "optimizer": checkpoint.tensors("optimizer")}
    save_and_point(run / "checkpoints", checkpoint.step, parts, checkpoint.state, retention=Retention(keep=99))


REFUSED = {
    "no recipe": (lambda run: (run / "recipe.toml").unlink(), "missing: recipe.toml", set()),
    "half a recipe": (lambda run: within_a_name(run / "recipe.toml"), "damaged: recipe.toml", set()),
    "another recipe": (
        lambda run: (run / "recipe.toml").write_text(
            (run / "recipe.toml").read_text().replace("lr = 0.001", "lr = 0.002")
        ),
        "recipe.toml was changed after the run began",
        {"report", "sample", "evaluate"},
    ),
    "no policy": (
        lambda run: (run / "policy.json").unlink(), "missing: policy.json", {"report", "sample", "evaluate"},
    ),
    "half a policy": (
        lambda run: half(run / "policy.json"), "damaged: policy.json", {"report", "sample", "evaluate"},
    ),
    "half an origin": (lambda run: half(run / "origin.json"), "damaged: origin.json", set()),
    "no checkpoints": (lambda run: shutil.rmtree(run / "checkpoints"), "its checkpoints are gone, the last of step 9", {"report"}),
    "empty checkpoints": (lambda run: emptied(run / "checkpoints"), "missing: checkpoints", {"report"}),
    "only broken checkpoints": (
        lambda run: [half(path) for path in run.glob("checkpoints/*/weights.safetensors")],
        "damaged: the checkpoints of step 0, 3, ",
        {"report"},
    ),
    "damaged segments": (
        lambda run: (run / "segments.jsonl").write_text("x\n"), "damaged: segments.jsonl", {"report", "sample", "evaluate"},
    ),
    "a checkpoint of another model": (other_weights, "the weights in .* have ", {"report"}),
}  # fmt: skip


def verbs_that_work(runs, name):
    """Which of the three verbs end with status 0."""
    flags = {
        "sample": ["--prompt", "The", "--tokens", "3"],
        "evaluate": [],
        "report": ["--output", str(runs / "curves.png")],
    }
    found = set()
    for verb, more in flags.items():
        if main([verb, str(runs / name), *more]) == 0:
            found.add(verb)
    return found


@pytest.mark.parametrize("case", REFUSED)
def test_a_half_deleted_run_is_told_as_it_is_and_left_alone(runs, case, capsys):
    damage, said, works = REFUSED[case]
    damage(runs / "stopped")
    before = tree(runs)
    with pytest.raises(LabError, match=said) as caught:
        resume("stopped", runs=runs, say=lambda line: None)
    line = str(caught.value)
    assert tree(runs) == before
    assert line.startswith("stopped can't resume: ") and "there: " in line and "\n" not in line
    named = re.search(r"; ([^;]*)$", line)[1]
    still = set(re.findall(r"lmlab (\w+)", named.partition(" still work")[0])) if " still work" in named else set()
    assert still == works
    if case == "a checkpoint of another model":
        (runs / "stopped" / "checkpoints" / "best.json").write_bytes(
            (runs / "stopped" / "checkpoints" / "latest.json").read_bytes()
        )
    assert verbs_that_work(runs, "stopped") == works
    assert "Traceback" not in capsys.readouterr().err


NEEDS_A_CHECKPOINT = (
    ["sample", "RUN"],
    ["chat", "RUN"],
    ["evaluate", "RUN"],
    ["evaluate", "RUN@best"],
    ["prove", "RUN"],
    ["prove", "RUN@3"],
    ["train", "--from", "RUN@latest", "--train.steps", "20"],
)


@pytest.mark.parametrize("words", NEEDS_A_CHECKPOINT, ids=" ".join)
@pytest.mark.parametrize(
    ("name", "said"), [("finished", "finished at step 12"), ("stopped", "is stopped, and had saved step 9")]
)
def test_checkpoints_that_are_gone_are_said_to_be_with_what_can_be_done(runs, words, name, said, capsys):
    emptied(runs / name / "checkpoints")
    assert main([*(word.replace("RUN", name) for word in words), "--runs", str(runs)]) == 1
    told = capsys.readouterr().err
    assert f"lmlab: {name} {said}, but its checkpoints are gone: put them back from a copy, or train it again" in told
    assert f"lmlab train {runs / name / 'recipe.toml'};" in told and told.count("\n") == 1


def test_what_the_line_says_to_do_about_lost_checkpoints_trains_the_run_again(runs, capsys):
    shutil.rmtree(runs / "finished" / "checkpoints")
    assert resume("finished", runs=runs, say=print).ending.kind == "finished"
    told = capsys.readouterr().out
    command = re.search(r"train it again: lmlab (train \S+);", told)[1].split()
    assert "missing: checkpoints" in told and main([*command, "--runs", str(runs), "--run", "again", "--quiet"]) == 0
    again, before = (open_run(name, runs)[0].summary()["final"] for name in ("again", "finished"))
    assert again["loss"] == before["loss"]


@pytest.mark.parametrize("name", ["finished", "stopped"])
def test_lines_that_were_cut_off_are_said_to_be(runs, name, capsys):
    done = {"finished": 12, "stopped": 9}[name]
    metrics = runs / name / "metrics.jsonl"
    kept = metrics.read_text().splitlines(keepends=True)[:2]  # the evaluation of step 0, and step 3
    for content, have in (("".join(kept), f"ends at step 3 of the {done}"), ("", f"has no line of the {done} steps")):
        metrics.write_text(content)
        status = main(["report", name, "--runs", str(runs), "--format", "svg"])
        told = capsys.readouterr().err
        assert status == (0 if content else 1) and f"metrics.jsonl {have} that {name} has taken, so it was cut" in told
        assert ("lmlab runs show" in told) == (name == "finished") and told.count("\n") == 1
    assert main(["prove", name, "--runs", str(runs)]) == 1, "without any line nothing can be compared"
    assert "so it was cut" in capsys.readouterr().err


def test_what_is_left_of_the_lines_can_be_proven(runs, capsys):
    metrics = runs / "finished" / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))
    assert main(["prove", "finished@0", "--runs", str(runs)]) == 0
    told = capsys.readouterr().out
    assert (
        "so it was cut" in told
        and "steps 0 to 3 of finished came out bit for bit as recorded: 1 line, 3 batches" in told
    )


HARMLESS = {
    "no forecast": lambda run: (run / "forecast.json").unlink(),
    "half a forecast": lambda run: half(run / "forecast.json"),
    "no tokenizer": lambda run: (run / "tokenizer.json").unlink(),
    "no lock": lambda run: (run / "lock").unlink(),
    "no control folder": lambda run: shutil.rmtree(run / "control"),
    "no pointers": lambda run: [(run / "checkpoints" / f"{name}.json").unlink() for name in ("latest", "best")],
    "damaged pointers": lambda run: [
        (run / "checkpoints" / f"{name}.json").write_text("{") for name in ("latest", "best")
    ],
    "another's tags": lambda run: (run / "tags.json").write_text("{"),
    "moved": lambda run: None,
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_no_training_depends_on_stops_none(runs, untouched, small_recipe, case):
    HARMLESS[case](runs / "stopped")
    os.rename(runs, runs.with_name("elsewhere"))
    resumed = resume("stopped", runs=runs.with_name("elsewhere"), say=lambda line: None)
    whole = untouched(override(small_recipe, {"evaluate.every": "3"}))
    assert_same_end(whole.run, resumed.run)
    assert (resumed.run.folder / "tokenizer.json").exists()
    for name in ("latest", "best"):
        pointers = [json.loads((run.checkpoints / f"{name}.json").read_text()) for run in (whole.run, resumed.run)]
        assert pointers[0]["step"] == pointers[1]["step"] and pointers[0].get("loss") == pointers[1].get("loss")


UNITS = {
    "half": half,
    "deleted": lambda path: path.unlink(),
    "of another text": lambda path: flip(path, 200),
    "text": lambda path: path.write_text("x"),
}


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("case", UNITS)
def test_damaged_units_stop_no_training_whose_weights_are_whole(runs, untouched, small_recipe, case):
    path = runs / "stopped" / "units-valid.npy"
    UNITS[case](path)
    damaged, said = path.read_bytes() if path.exists() else None, []
    resumed = resume("stopped", runs=runs, say=said.append)
    whole = untouched(override(small_recipe, {"evaluate.every": "3"}))
    assert_same_end(whole.run, resumed.run)
    assert any("units-valid.npy" in line and "started again without the 3 evaluations so far" in line for line in said)
    kept = path.with_name("units-valid.npy.damaged")
    assert (kept.read_bytes() if kept.exists() else None) == damaged
    ours, theirs = resumed.run.units(), whole.run.units()
    assert (ours["key"] == theirs["key"]).all()
    lost = [column for column in range(theirs["bits"].shape[1]) if column < 3]
    assert all(map(lambda column: (ours["bits"][:, column] != ours["bits"][:, column]).all(), lost))
    later = slice(3, None)
    assert (ours["bits"][:, later] == theirs["bits"][:, later]).all()
    assert main(["compare", str(resumed.run.folder), str(whole.run.folder)]) == 0


def test_a_finished_run_says_so_and_stays_as_it_is(runs):
    before, said = tree(runs), []
    outcome = resume("finished", runs=runs, say=said.append)
    assert said == [
        "finished is finished: 12 steps; to train it further: lmlab train --from finished@latest --train.steps N"
    ]
    assert outcome.ending.kind == "finished" and tree(runs) == before


def test_a_finished_run_without_its_checkpoints_says_what_still_works(runs):
    shutil.rmtree(runs / "finished" / "checkpoints")
    before, said = tree(runs), []
    resume("finished", runs=runs, say=said.append)
    (line,) = said
    assert "finished is finished: 12 steps; there: origin.json" in line and "missing: checkpoints" in line
    assert line.endswith("lmlab report still works, lmlab sample and lmlab evaluate do not")
    assert main(["resume", str(runs / "finished")]) == 0
    assert tree(runs) == before
    assert verbs_that_work(runs, "finished") == {"report"}


def test_a_finished_run_s_damaged_pointers_are_mended(runs):
    before = {name: (runs / "finished" / "checkpoints" / f"{name}.json").read_bytes() for name in ("latest", "best")}
    for name in before:
        (runs / "finished" / "checkpoints" / f"{name}.json").write_text("{")
    tokenizer = (runs / "finished" / "tokenizer.json").read_bytes()
    (runs / "finished" / "tokenizer.json").unlink()
    said = []
    resume("finished", runs=runs, say=said.append)
    assert said[0].endswith("; latest.json, best.json, tokenizer.json rewritten")
    assert (runs / "finished" / "tokenizer.json").read_bytes() == tokenizer
    for name, content in before.items():
        assert (runs / "finished" / "checkpoints" / f"{name}.json").read_bytes() == content


def test_a_best_model_that_is_lost_is_said_and_the_best_from_there_on_counts(runs):
    run, _ = open_run("stopped", runs)
    step = json.loads((run.checkpoints / "best.json").read_text())["step"]
    latest = json.loads((run.checkpoints / "latest.json").read_text())["step"]
    if step == latest:
        pytest.skip("the best is the latest here")
    half(run.checkpoints / f"step-{step:08d}" / "weights.safetensors")
    said = []
    resume("stopped", runs=runs, say=said.append)
    assert any(f"the best model so far, of step {step}, is lost" in line for line in said)


FOREIGN = {
    "an empty folder": ({}, "it has no origin.json; it is empty"),
    "nanoGPT's": ({"ckpt.pt": b"PK"}, "it has no origin.json; it has ckpt.pt"),
    "a model from the hub": (
        {"config.json": b"{}", "model.safetensors": b""}, "it has no origin.json; it has config.json and model.safetensors",
    ),
    "half of a run": (
        {"recipe.toml": b"", "metrics.jsonl": b"", "checkpoints/x": b""},
        "it has no origin.json; it has checkpoints, metrics.jsonl and recipe.toml: put origin.json back from a copy of the run",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("given", ["name", "folder"])
def test_a_folder_that_is_no_run_is_said_to_be_one_with_what_it_has(runs, case, given):
    files, said = FOREIGN[case]
    (runs / "foreign").mkdir()
    for name, content in files.items():
        (runs / "foreign" / name).parent.mkdir(exist_ok=True)
        (runs / "foreign" / name).write_bytes(content)
    before = tree(runs)
    with pytest.raises(LabError, match="foreign' is a folder, but not a run: ") as caught:
        resume("foreign" if given == "name" else str(runs / "foreign"), runs=runs)
    assert said in str(caught.value) and tree(runs) == before


def test_a_run_whose_data_is_gone_says_so_and_what_works_without_it(runs, made, monkeypatch, tmp_path):
    """The text was moved, and another machine's cache doesn't have the data set."""
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LMLAB_NATIVE", "off")
    text = tmp_path / "text.txt"
    os.rename(made["text"], text)
    try:
        before = tree(runs)
        with pytest.raises(
            LabError, match="stopped can't resume: .*missing: data set [0-9a-f]{16} in the cache"
        ) as caught:
            resume("stopped", runs=runs, say=lambda line: None)
        assert str(caught.value).endswith("lmlab report and lmlab sample still work, lmlab evaluate does not")
        assert tree(runs) == before and verbs_that_work(runs, "stopped") == {"report", "sample"}
    finally:
        os.rename(text, made["text"])
    assert not datasets_folder().exists() or not list(datasets_folder().iterdir())


def test_a_run_that_dies_in_its_first_save_beside_the_training_begins_again(runs, made, monkeypatch):
    """The next save's line is there only once the first one is on the disk: before, two lines without a checkpoint were left."""
    from lmlab.recipe import Recipe
    from lmlab.training import saving

    class Killed(BaseException):
        """The process is dead."""

    def killed(*arguments, **options):
        """While the training waits with its second save, if not sooner."""
        deadline = time.monotonic() + 0.5
        while len(saves()) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        raise Killed

    def saves():
        return [line for line in open_run("early", runs)[0].read_lines("events") if line["kind"] == "checkpoint"]

    settings = {"data.corpus": str(made["text"]), "train.background": "on", "train.checkpoint_every": "3"}
    recipe = override(Recipe(), {**SMALL, **settings})
    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_and_point", killed)
        with pytest.raises(Killed):
            train(recipe, run="early", runs=runs, say=lambda line: None)
    assert [line["step"] for line in saves()] == [0]
    assert resume("early", runs=runs, say=lambda line: None).ending.kind == "finished"
