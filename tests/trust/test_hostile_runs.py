"""A run or checkpoint from elsewhere that lies: refused in one line; nothing outside its folder is touched."""

import json
import os
import struct

import numpy as np
import pytest
import torch

from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps
from lmlab.checkpoint.opened import open_checkpoint
from lmlab.checkpoint.pruning import Retention, prune, tidy
from lmlab.checkpoint.saving import save
from lmlab.checkpoint.tensors import write_tensors
from lmlab.experiment.loaded import load
from lmlab.experiment.parent import parent_again
from lmlab.experiment.resuming import resume
from lmlab.files import remove_tree
from lmlab.runs import Run, RunLock
from lmlab.training.display import Quiet
from lmlab.training.policy import read_policy
from lmlab.training.state import read_state
from tests.trust.support import assert_refused


@pytest.fixture
def stopped(run_copy):
    """The run as a kill after step 3 would have left it."""
    (run_copy / "summary.json").unlink()
    remove_tree(run_copy / "checkpoints" / "step-00000006")
    (run_copy / "checkpoints" / "latest.json").unlink()
    Run(run_copy).truncate_units(3)
    return run_copy


def go_on(folder):
    return resume(Run(folder), display=Quiet(), say=lambda line: None)


def edit(path, **facts):
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def link(path, target):
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("this system lets nobody make links")


def resave(folder, step, weights=None, state=None):
    """The checkpoint of `step` written anew, with hashes that fit, by somebody who lies in it."""
    checkpoint = open_checkpoint(folder / "checkpoints" / f"step-{step:08d}", step)
    parts = {part: checkpoint.tensors(part) for part in checkpoint.parts}
    if weights is not None:
        parts["weights"] = weights(parts["weights"])
    save(folder / "checkpoints", step, parts, {**checkpoint.state, **(state or {})})


def test_the_run_that_is_damaged_below_goes_on_where_it_is_whole(stopped):
    assert go_on(stopped).summary["steps"] == 6


@pytest.mark.parametrize(
    "name", ["lock", "metrics.jsonl", "samples.jsonl", "events.jsonl", "segments.jsonl", "discarded.jsonl"]
)
def test_a_link_in_place_of_a_file_that_is_written_leaves_its_target_alone(stopped, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("precious, and not a line")
    (stopped / name).unlink(missing_ok=True)
    link(stopped / name, victim)
    assert_refused(lambda: go_on(stopped), name, "is a link", most_bytes=1 << 30)
    assert victim.read_text() == "precious, and not a line"


@pytest.mark.parametrize("name", ["checkpoints", "control", "black-boxes"])
def test_a_link_in_place_of_a_folder_that_is_written_into_leaves_its_target_alone(stopped, tmp_path, name):
    victim = tmp_path / "victim"
    if (stopped / name).exists():
        (stopped / name).rename(victim)
    else:
        victim.mkdir()
    before = sorted(victim.rglob("*"))
    link(stopped / name, victim)
    assert_refused(lambda: go_on(stopped), name, "is a link", most_bytes=1 << 30)
    assert sorted(victim.rglob("*")) == before


def test_links_planted_under_names_of_temporary_files_are_not_written_through(stopped, tmp_path):
    """Of the name that earlier versions used, with this process's number: it could be guessed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("policy.json", "summary.json", "units-valid.npy", "checkpoints/latest.json", "checkpoints/best.json"):
        path = stopped / name
        link(path.with_name(f".{path.name}.{os.getpid()}.tmp"), victim)
    assert go_on(stopped).summary["steps"] == 6
    assert victim.read_text() == "precious"


def test_a_link_in_place_of_a_checkpoint_is_none_and_pruning_leaves_its_target_alone(run_copy, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "letter.txt").write_text("dear")
    checkpoints = run_copy / "checkpoints"
    for name in ("step-00000001", ".step-00000002.tmp-1", ".step-00000004.old"):
        link(checkpoints / name, precious)
    assert steps(checkpoints) == [0, 3, 6]
    tidy(checkpoints)
    prune(checkpoints, Retention(keep=1))
    remove_tree(checkpoints / "step-00000001")
    assert (precious / "letter.txt").read_text() == "dear"
    assert not os.path.lexists(checkpoints / "step-00000001")


def test_a_link_in_a_checkpoint_is_refused(run_copy, tmp_path):
    folder = run_copy / "checkpoints" / "step-00000006"
    os.replace(folder / "weights.safetensors", tmp_path / "elsewhere")
    link(folder / "weights.safetensors", tmp_path / "elsewhere")
    assert_refused(lambda: open_checkpoint(folder, 6), "weights.safetensors", "is a link")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.parametrize(
    "name", ["recipe.toml", "policy.json", "metrics.jsonl", "units-valid.npy", "summary.json", "tokenizer.json"]
)
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(run_copy, name):
    (run_copy / name).unlink()
    os.mkfifo(run_copy / name)
    run = Run(run_copy)
    readers = {
        "recipe.toml": run.recipe,
        "metrics.jsonl": lambda: run.read_lines("metrics"),
        "units-valid.npy": run.units,
        "summary.json": run.summary,
        "tokenizer.json": lambda: load(run),
    }
    assert_refused(readers.get(name, lambda: run.read(name)), f"{name} is not a file: expected ", most_bytes=1 << 30)


def test_a_pipe_in_place_of_the_lock_is_not_waited_for(run_copy):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes in folders")
    (run_copy / "lock").unlink()
    os.mkfifo(run_copy / "lock")
    assert Run(run_copy).status() == "finished"


ORIGINS = {
    "no recipe's hash": {"recipe_hash": "../x"},
    "a data set above": {"data_id": "../../../../etc"},
    "an id that is a list": {"id": [1]},
    "a vocabulary of billions": {"vocabulary_size": 10**15},
    "a negative vocabulary": {"vocabulary_size": -1},
    "a parent above": {"parent": {"id": "x", "name": "../../secret", "step": 3}},
    "a parent that is a list": {"parent": [1]},
    "a parent's step as text": {"parent": {"id": "x", "name": "x", "step": "3"}},
}

ORIGINS_SAID = {
    "a data set above": "expected a valid data_id, got '../../../../etc'",
    "a negative vocabulary": "expected a vocabulary_size of at most 4,294,967,296",
    "a vocabulary of billions": "expected a vocabulary_size of at most 4,294,967,296",
    "a parent above": "expected the parent's name and step",
    "a parent's step as text": "expected the parent's name and step",
    "a parent that is a list": "expected parent as an object",
    "an id that is a list": "expected a JSON object with the run's id",
    "no recipe's hash": "expected a valid recipe_hash, got '../x'",
}
"""What is said to be wrong, or expected."""


@pytest.mark.parametrize("kind", ORIGINS)
def test_a_hostile_origin_is_refused(run_copy, kind):
    edit(run_copy / "origin.json", **ORIGINS[kind])
    assert_refused(lambda: Run(run_copy).id, "origin.json is damaged: ", ORIGINS_SAID[kind])


def test_an_origin_that_lacks_what_is_needed_is_refused(stopped):
    value = json.loads((stopped / "origin.json").read_text())
    del value["data_id"]
    (stopped / "origin.json").write_text(json.dumps(value))
    assert_refused(lambda: go_on(stopped), "has no data_id", most_bytes=1 << 30)
    assert parent_again(Run(stopped)) is None


POLICIES = {
    "a million threads": {"threads": 1_000_000},
    "no threads": {"threads": 0},
    "a device that isn't one": {"device": "cpu; rm"},
    "an engine that isn't one": {"engine": ["native"]},
    "arithmetic that isn't any": {"autocast": "float4"},
    "a micro-batch of none": {"micro_batch": 0},
    "reasons as a list": {"reasons": [1]},
    "compile as text": {"compile": "yes"},
}

POLICIES_SAID = {
    "a device that isn't one": "device can't be 'cpu; rm'",
    "a micro-batch of none": "micro_batch can't be '0'",
    "a million threads": "threads can't be '1000000'",
    "no threads": "threads can't be '0'",
    "an engine that isn't one": "engine can't be \"['native']\"",
    "arithmetic that isn't any": "autocast can't be 'float4'",
    "compile as text": "compile can't be 'yes'",
    "reasons as a list": "reasons can't be '[1]'",
}
"""What is said to be wrong, or expected."""


@pytest.mark.parametrize("kind", POLICIES)
def test_a_hostile_policy_is_refused(run_copy, kind):
    edit(run_copy / "policy.json", **POLICIES[kind])
    assert_refused(
        lambda: read_policy(Run(run_copy).read("policy.json")), "policy.json is damaged: ", POLICIES_SAID[kind]
    )
    assert_refused(lambda: read_policy([1]), "policy.json has format None: expected 1")


def test_a_micro_batch_that_does_not_divide_the_batch_is_refused(stopped):
    edit(stopped / "policy.json", micro_batch=10**20)
    assert_refused(lambda: go_on(stopped), "policy.json", "micro_batch", most_bytes=1 << 30)


STATES = {
    "billions of evaluations": {"evaluations": 4_000_000_000},
    "more evaluations than steps": {"evaluations": 9},
    "a negative step": {"step": -1},
    "a step as text": {"step": "3"},
    "a cursor beyond 64 bits": {"cursor": 1 << 64},
    "a journal with a negative length": {"journal": {"metrics": -1}},
    "a journal as a list": {"journal": []},
    "skipped that are no ranges": {"skipped": [[1, 2, 3]]},
    "a scale of nothing": {"scale": 0},
}

STATES_SAID = {
    "a cursor beyond 64 bits": "cursor can't be '18446744073709551616'",
    "a journal as a list": "journal can't be '[]'",
    "a journal with a negative length": "journal can't be \"{'metrics': -1}\"",
    "a negative step": "step can't be '-1'",
    "a scale of nothing": "scale can't be '0'",
    "a step as text": "step can't be '3'",
    "billions of evaluations": "4,000,000,000 evaluations in 3 steps",
    "more evaluations than steps": "9 evaluations in 3 steps",
    "skipped that are no ranges": "skipped can't be '[[1, 2, 3]]'",
}
"""What is said to be wrong, or expected."""


@pytest.mark.parametrize("kind", STATES)
def test_a_hostile_state_is_refused(made, kind):
    value = open_checkpoint(made.run.checkpoints / "step-00000003", 3).state
    assert read_state(value)[0].step == 3
    assert_refused(lambda: read_state({**value, **STATES[kind]}), "state.json is damaged: ", STATES_SAID[kind])


def test_a_state_of_another_step_and_a_journal_that_names_another_file_are_refused(stopped):
    resave(stopped, 3, state={"step": 2, "evaluations": 1})
    assert_refused(lambda: go_on(stopped), "step 2", most_bytes=1 << 30)
    resave(stopped, 3, state={"step": 3, "evaluations": 2, "journal": {"../../victim": 0}})
    assert_refused(lambda: go_on(stopped), "journal", most_bytes=1 << 30)


def test_more_evaluations_than_there_are_units_and_lines_of_are_refused(stopped):
    resave(stopped, 3, state={"evaluations": 4})
    assert_refused(lambda: go_on(stopped), "lines of evaluations", most_bytes=1 << 30)


WEIGHTS = {
    "one tensor less": lambda tensors: {name: tensor for name, tensor in tensors.items() if name != "norm.weight"},
    "another name": lambda tensors: {f"../{name}": tensor for name, tensor in tensors.items()},
    "another shape": lambda tensors: {name: tensor.reshape(1, -1) for name, tensor in tensors.items()},
    "another dtype": lambda tensors: {name: tensor.to(torch.int8) for name, tensor in tensors.items()},
    "one number": lambda tensors: {"x": torch.zeros(1)},
}

WEIGHTS_SAID = {
    "another dtype": "embedding.weight as torch.int8 (35, 16): expected torch.float32 (35, 16)",
    "another name": "an unknown ../blocks.0.attention.projection.bias: expected those of the recipe's model",
    "another shape": "embedding.weight as torch.float32 (1, 560): expected torch.float32 (35, 16)",
    "one number": "it has 1 numbers, expected 4,128",
    "one tensor less": "it has 4,112 numbers, expected 4,128",
}
"""What is said to be wrong, or expected."""


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_of_another_model_are_refused_by_loading_and_by_going_on(stopped, kind):
    resave(stopped, 3, weights=WEIGHTS[kind])
    assert_refused(lambda: load(Run(stopped), device="cpu"), "weights", WEIGHTS_SAID[kind], most_bytes=1 << 30)
    assert_refused(lambda: go_on(stopped), "weights", WEIGHTS_SAID[kind], most_bytes=1 << 30)


@pytest.mark.parametrize(
    ("part", "said"),
    [("weights", "has no part 'weights': expected one of optimizer"), ("optimizer", "keeps its weights only")],
)
def test_a_checkpoint_without_a_part_is_refused(stopped, part, said):
    checkpoint = find(stopped / "checkpoints", "latest")[0]
    kept = {name: checkpoint.tensors(name) for name in checkpoint.parts if name != part}
    save(stopped / "checkpoints", 3, kept, checkpoint.state)
    assert_refused(lambda: go_on(stopped), said, most_bytes=1 << 30)


def test_a_recipe_that_claims_a_larger_model_than_the_weights_is_refused_before_it_is_built(run_copy):
    path = run_copy / "recipe.toml"
    path.write_text(
        path.read_text().replace("width = 16\n", "width = 16777216\n").replace("layers = 1\n", "layers = 65536\n")
    )
    assert_refused(lambda: load(Run(run_copy)), "weights", "expected", most_bytes=20_000_000)


def test_a_dtype_that_the_library_refuses_is_one_line(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"x": torch.zeros(2)})
    content = path.read_bytes().replace(b'{"format":"pt"}', b'{"format":[1,2]}')
    length = len(content) - 8 - 8
    path.write_bytes(struct.pack("<Q", length) + content[8:])
    from lmlab.checkpoint.tensors import read_tensors

    assert_refused(lambda: read_tensors(path), "x.safetensors can't be read: ", "invalid JSON in header")


UNITS = {
    "a billion rows": lambda whole: whole.replace(b"'shape': (", b"'shape': (99999999", 1),
    "a million evaluations": lambda whole: whole.replace(b"'<f8', (2,)", b"'<f8', (999999,)"),
    "ten million evaluations": lambda whole: whole.replace(b"'<f8', (2,)", b"'<f8', (9999999,)"),
    "Python objects": lambda whole: whole.replace(b"'|V32'", b"'|O'"),
    "a nested header": lambda whole: b"\x93NUMPY\x01\x00\x00\x10" + b"-" * 4096,
}


@pytest.mark.parametrize("kind", UNITS)
def test_hostile_units_are_refused(run_copy, kind):
    path = run_copy / "units-valid.npy"
    evaluations = np.load(path)["bits"].shape[1]
    whole = path.read_bytes().replace(f"'<f8', ({evaluations},)".encode(), b"'<f8', (2,)")
    path.write_bytes(UNITS[kind](whole))
    assert_refused(
        Run(run_copy).units, "units-valid.npy is damaged: expected an array of rows, as numpy.save writes it"
    )


LINES = {
    "deep nesting": b'{"format": 1, "x": ' + b"[" * 600 + b"]" * 600 + b"}\n",
    "nesting without end": b"[" * 100_000 + b"\n",
    "a step of 40 digits": b'{"format": 1, "kind": "train", "tokens": 1, "step": ' + b"9" * 40 + b"}\n",
    "a step of 10,000 digits": b'{"format": 1, "kind": "train", "tokens": 1, "step": ' + b"9" * 10_000 + b"}\n",
    "a negative step": b'{"format": 1, "kind": "train", "tokens": 1, "step": -1}\n',
    "a segment that is a list": b'{"format": 1, "kind": "train", "tokens": 1, "step": 1, "segment": []}\n',
    "NaN": b'{"format": 1, "kind": "train", "tokens": 1, "step": 1, "loss": NaN}\n',
    "a number without end": b'{"format": 1, "kind": "train", "tokens": 1, "step": 1, "loss": 1e999}\n',
}

LINES_SAID = {
    "NaN": "expected a JSON object; take the line out to read the rest",
    "a negative step": "step is '-1'",
    "a number without end": "expected a JSON object; take the line out to read the rest",
    "a segment that is a list": "segment is '[]'",
    "a step of 10,000 digits": "expected a JSON object; take the line out to read the rest",
    "a step of 40 digits": "step is '99999999999999999999",
    "deep nesting": "expected a JSON object; take the line out to read the rest",
    "nesting without end": "expected a JSON object; take the line out to read the rest",
}
"""What is said to be wrong, or expected."""


@pytest.mark.parametrize("kind", LINES)
def test_hostile_lines_are_refused(run_copy, kind):
    (run_copy / "metrics.jsonl").write_bytes(LINES[kind])
    assert_refused(
        lambda: Run(run_copy).read_lines("metrics"), "metrics.jsonl is damaged in line 1: ", LINES_SAID[kind]
    )


def test_lines_that_claim_a_terabyte_are_refused_without_reading_it(run_copy):
    with open(run_copy / "metrics.jsonl", "r+b") as file:
        file.truncate(1 << 40)
    assert_refused(lambda: Run(run_copy).read_lines("metrics"), "metrics.jsonl", "bytes", most_bytes=200_000_000)
    from lmlab.runs import Journal

    assert_refused(lambda: Journal(run_copy, "x", 1).rewind({}), "metrics.jsonl", "larger than")


def test_a_rewind_over_a_deeply_nested_line_keeps_it_as_text(run_copy):
    from lmlab.runs import Journal

    (run_copy / "metrics.jsonl").write_bytes(LINES["deep nesting"])
    assert Journal(run_copy, "x", 1).rewind({}) == []
    assert any("[[[" in line.get("torn", "") for line in Run(run_copy).read_lines("discarded"))


def test_who_holds_a_lock_is_told_in_one_line_whatever_the_note_says(run_copy):
    with RunLock(run_copy):
        for note in (b"[" * 4096, b'{"pid": 1e999}', b'{"pid": 1, "host": "a\\n\\u001b[2J", "time": []}', b"9" * 4096):
            (run_copy / "lock").write_bytes(note)
            assert_refused(RunLock(run_copy).acquire, "is in use by")
