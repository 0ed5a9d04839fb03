"""The trainings that faults come upon, and the count of what came."""

import datetime
import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.machine import ROOT, changed_files
from lmlab.hardware.machine import detect
from lmlab.recipe import Recipe, override, to_toml
from lmlab.runs.code import git_commit
from tests.faults.suite import Extending, Ground, Nursery, datasets_in, end_of, tally

SEED = int(os.environ.get("LMLAB_FAULTS_SEED", "1"))
PLAIN = {
    **{"name": "small", "data.tokenizer": "characters", "data.vocabulary": "none", "data.split": "tail"},
    **{"model.layers": "2", "model.heads": "2", "model.width": "16", "model.context": "16", "model.dropout": "0.1"},
    **{"train.steps": "12", "train.batch": "4", "train.checkpoint_every": "4", "train.log_every": "3"},
    **{"train.keep": "2", "train.threads": "1", "train.device": "cpu", "train.engine": "torch"},
    **{"train.background": "off", "evaluate.every": "5", "evaluate.prompts": "The", "evaluate.sample_tokens": "5"},
    **{"schedule.warmup": "2"},
}
"""12 steps with all that a run does."""
BESIDE = {**PLAIN, "train.background": "on", "train.checkpoint_every": "3"}
"""Checkpoints are written while training goes on."""
EVENTFUL = {
    **PLAIN,
    **{"model.dropout": "0.0", "train.steps": "60", "train.checkpoint_every": "10", "evaluate.every": "20"},
    **{"train.on_spike": "rewind", "train.spike": "4", "train.rewinds": "20", "train.keep_every": "20"},
    **{"train.keep_optimizer": "latest", "train.disk": "2MB"},
}
"""A text with garbage in it, met again and again: spikes, rewinds, and checkpoints that shrink."""
GARBAGE = "|~|~^|~`" * 10


def pytest_terminal_summary(terminalreporter):
    """What came, after the tests; as JSON too where LMLAB_FAULTS_OUT names a file."""
    if not tally:
        return
    told = ", ".join(f"{count:,} {what}" for what, count in sorted(tally.items()))
    terminalreporter.write_line(f"faults (seed {SEED}): {told}")
    if os.environ.get("LMLAB_FAULTS_OUT"):
        tests = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed")}
        found = {"seed": SEED, "tests": tests, **tally, **surroundings()}
        Path(os.environ["LMLAB_FAULTS_OUT"]).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def surroundings():
    """On what they came."""
    machine = detect(accelerators=False)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    facts = {"date": date, "cpu": machine.cpu, "system": machine.system, "python": machine.python}
    command = ["python", "tools/set_up.py", "test-faults"]
    changed = changed_files(ROOT)
    made_by = {"commit": git_commit(), "dirty": None if changed is None else bool(changed)}
    return {**facts, "torch": machine.torch, "command": command, **made_by}


def make_ground(folder, nursery, text, settings, surroundings=()):
    """Write text and recipe, and let the untouched run pass, whose disk operations are traced."""
    folder.mkdir()
    (folder / "text.txt").write_text(text, encoding="utf-8")
    recipe = override(Recipe(), {**settings, "data.corpus": str(folder / "text.txt")})
    (folder / "small.toml").write_text(to_toml(recipe), encoding="utf-8")
    words = ["train", str(folder / "small.toml"), "--runs", str(folder / "runs"), "--quiet"]
    # The first prepares the data; what a run itself does is traced by the second.
    for name in ("first", "untouched"):
        assert nursery.run([*words, "--run", name], folder / name, surroundings=surroundings) == 0
    untouched = end_of(folder / "runs", "untouched", folder / "untouched")
    return Ground(nursery=nursery, words=words, folder=folder, untouched=untouched, surroundings=surroundings)


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    """Where the trainings are born."""
    # Without the native engine, which would be built first: these trainings are PyTorch's.
    with Nursery({"LMLAB_CACHE": str(tmp_path_factory.mktemp("cache")), "LMLAB_NATIVE": "off"}) as opened:
        yield opened


@pytest.fixture(scope="session")
def plain(nursery, tmp_path_factory, tiny_text):
    """12 steps with all that a run does."""
    return make_ground(tmp_path_factory.mktemp("faults") / "plain", nursery, tiny_text, PLAIN)


@pytest.fixture(scope="session")
def beside(nursery, tmp_path_factory, tiny_text):
    """Checkpoints are written while training goes on."""
    return make_ground(tmp_path_factory.mktemp("faults") / "beside", nursery, tiny_text, BESIDE)


def garbled(text):
    """A text with garbage in its middle."""
    middle = len(text) // 2
    return text[:middle] + GARBAGE + text[middle:]


@pytest.fixture(scope="session")
def eventful(nursery, tmp_path_factory, tiny_text):
    """Spikes, rewinds, and checkpoints that shrink."""
    ground = make_ground(tmp_path_factory.mktemp("faults") / "eventful", nursery, garbled(tiny_text), EVENTFUL)
    assert any(line["kind"] == "rewind" for line in ground.untouched["events"])
    return ground


BESTS = {"an abandoned best": (40, 2.0), "an earlier best": (20, 1.5)}
"""Step and loss of the best model that a run is left with which went back from a better one."""


@pytest.fixture(scope="session", params=list(BESTS))
def regretted(request, nursery, tmp_path_factory, tiny_text):
    """Rewinds that abandon the best model so far, and save its step again with other weights."""
    folder = tmp_path_factory.mktemp("faults") / "regretted"
    ground = make_ground(folder, nursery, garbled(tiny_text), EVENTFUL, (request.param,))
    step, _, loss = ground.untouched["best"]
    assert (step, loss) == BESTS[request.param]
    (line,) = [line for line in ground.untouched["events"] if line["kind"] == "rewind"]
    assert line["step"] < 40 < line["from_step"]
    return ground


@pytest.fixture(scope="session")
def extending(nursery, tmp_path_factory):
    """A small data set with text to add: `lmlab data extend`, whose disk operations are traced."""
    folder = tmp_path_factory.mktemp("extending")
    for name, first in (("old", 0), ("new", 100)):
        documents = (f"Document {number}. It has a line of its own." for number in range(first, first + 40))
        (folder / f"{name}.txt").write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    # A hash is remembered of files that are older than the clock's tick.
    for path in folder.iterdir():
        os.utime(path, (1_600_000_000, 1_600_000_000))
    cache = folder / "cache"
    prepare = ["data", "prepare", str(folder / "old.txt"), "--data.tokenizer", "bytes"]
    assert nursery.run(prepare, folder / "prepared", None, {"LMLAB_CACHE": str(cache)}) == 0
    (old,) = (cache / "datasets").iterdir()
    words = ["data", "extend", old.name[-16:], str(folder / "new.txt")]
    shutil.copytree(cache, folder / "untouched-cache")
    assert nursery.run(words, folder / "untouched", None, {"LMLAB_CACHE": str(folder / "untouched-cache")}) == 0
    untouched = datasets_in(folder / "untouched-cache")
    assert len(untouched) == 2
    return Extending(nursery=nursery, words=words, folder=folder, cache=cache, untouched=untouched)
