"""Files of a run that were damaged, deleted or mixed up between a stop and the resume: passed over, said, and the same end."""

import os
import shutil

import pytest

from lmlab.checkpoint.finding import find
from lmlab.runs import open_run
from tests.faults.suite import Fault, end_of, last_lines, tally

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

LATE = Fault("step", 9, "before")
"""The tenth step of the run's own: checkpoints of steps 4, 5 and 8 are there."""


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def newest(run):
    return find(run.checkpoints, "latest")[0].folder


def older(run):
    return find(run.checkpoints, "best")[0].folder


DAMAGES = {
    "a truncated tensor file": lambda run: half(newest(run) / "weights.safetensors"),
    "a flipped bit in the weights": lambda run: flip(newest(run) / "weights.safetensors"),
    "a flipped bit in the optimizer": lambda run: flip(newest(run) / "optimizer.safetensors"),
    "a flipped bit in the state": lambda run: flip(newest(run) / "state.json"),
    "a deleted tensor file": lambda run: (newest(run) / "optimizer.safetensors").unlink(),
    "a deleted manifest": lambda run: (newest(run) / "manifest.json").unlink(),
    "an emptied manifest": lambda run: (newest(run) / "manifest.json").write_bytes(b""),
    "a half-old checkpoint": lambda run: shutil.copy(older(run) / "weights.safetensors", newest(run)),
    "a deleted checkpoint": lambda run: shutil.rmtree(newest(run)),
    "a damaged pointer": lambda run: (run.checkpoints / "latest.json").write_text("{"),
    "an emptied pointer": lambda run: (run.checkpoints / "latest.json").write_bytes(b""),
    "a deleted pointer": lambda run: (run.checkpoints / "latest.json").unlink(),
    "a pointer to nothing": lambda run: (run.checkpoints / "latest.json").write_text('{"format": 1, "step": 77}'),
    "a damaged best pointer": lambda run: (run.checkpoints / "best.json").write_text("{"),
    "an emptied best pointer": lambda run: (run.checkpoints / "best.json").write_bytes(b""),
    "a deleted best pointer": lambda run: (run.checkpoints / "best.json").unlink(),
    "a best pointer to nothing": lambda run: (run.checkpoints / "best.json").write_text('{"format": 1, "step": 77}'),
    "a best pointer to another": lambda run: (run.checkpoints / "best.json").write_text(
        '{"format": 1, "step": 0, "loss": 0.1}'
    ),
    "pointers of an earlier save": lambda run: [
        (run.checkpoints / f"{name}.json").write_text('{"format": 1, "step": 77}') for name in ("latest", "best")
    ],
    "both pointers deleted": lambda run: [(run.checkpoints / f"{name}.json").unlink() for name in ("latest", "best")],
    "torn lines": lambda run: [
        half(run.folder / f"{name}.jsonl") for name in ("discarded",) if (run.folder / name).exists()
    ],
    "a control file from before": lambda run: (run.folder / "control" / "stop").write_text(""),
    "a stale unfinished folder": lambda run: (run.checkpoints / ".step-00000008.tmp-1").mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_resumed_from_what_is_intact_and_says_so(plain, damage):
    name = damage.replace(" ", "-")
    folder = plain.folder / name
    command = [*plain.words, "--run", name, "--or-resume"]
    plain.nursery.run(command, folder, LATE)
    run, _ = open_run(name, plain.folder / "runs")
    assert find(run.checkpoints, "latest")[0].step == 8
    DAMAGES[damage](run)
    talking = [word for word in command if word != "--quiet"]
    assert plain.nursery.run(talking, folder) == 0, last_lines(folder)
    end = end_of(plain.folder / "runs", name, folder)
    for what, expected in plain.untouched.items():
        assert end[what] == expected, what
    printed = (folder / "printed.txt").read_text()
    assert "Traceback" not in printed
    if "checkpoint" in damage or "file" in damage.split()[-1] or "bit" in damage:
        assert "passed over" in printed or "damaged" in printed or "continues from step" in printed
    tally["damaged runs"] += 1


@pytest.mark.parametrize("name", ["origin.json", "recipe.toml", "policy.json"])
def test_a_run_whose_identity_is_damaged_is_refused_in_one_line_and_left_alone(plain, name):
    run_name = f"identity-{name.partition('.')[0]}"
    folder = plain.folder / run_name
    command = [*plain.words, "--run", run_name, "--or-resume"]
    plain.nursery.run(command, folder, LATE)
    run, _ = open_run(run_name, plain.folder / "runs")
    before = {path: path.read_bytes() for path in run.checkpoints.rglob("*") if path.is_file()}
    half(run.folder / name)
    (folder / "printed.txt").unlink()
    assert plain.nursery.run(command, folder) == 1
    (line,) = last_lines(folder)
    assert line.startswith("lmlab: ")
    assert {path: path.read_bytes() for path in run.checkpoints.rglob("*") if path.is_file()} == before
