"""A run goes on with the very library that it began with, whatever compiler is there today."""

import dataclasses
import json
import shutil

import pytest

from lmlab.experiment.proving import prove
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.files import sha256_of_file
from lmlab.native import library
from lmlab.recipe import override
from lmlab.training.display import Quiet
from tests.engine import engine_library
from tests.stopping import KillAt, Killed


@pytest.fixture
def exchange_compiler(tmp_path, monkeypatch):
    """exchange_compiler(): from now on the newest build is another one; returns that of before, which stays in the cache."""
    loaded = engine_library()
    monkeypatch.setattr("lmlab.native.library.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(library, "_loaded", {})
    cache = tmp_path / "cache" / "native"
    entry = cache / loaded.build.path.parent.name
    shutil.copytree(loaded.build.path.parent, entry)
    before = dataclasses.replace(loaded.build, path=entry / loaded.build.path.name)
    monkeypatch.setattr(library, "find_or_build", lambda *arguments: before)

    def exchange():
        other = cache / ("e" * 32)
        shutil.copytree(entry, other)
        path = other / before.path.name
        path.write_bytes(path.read_bytes() + b"\0")  # behind what a loader reads
        record = json.loads((other / "build.json").read_text())
        newest = dataclasses.replace(before, path=path, sha256=sha256_of_file(path), compiler="another 2.0")
        (other / "build.json").write_text(json.dumps({**record, "sha256": newest.sha256, "compiler": newest.compiler}))
        monkeypatch.setattr(library, "find_or_build", lambda *arguments: newest)
        monkeypatch.setattr(library, "_loaded", {})
        assert library.load().identity == newest.identity != before.identity
        return before

    return exchange


@pytest.fixture(params=["gpt", "context"])
def recipe(request, small_recipe):
    """Of each family, computed by the native engine."""
    shape = {
        "model.kind": "context",
        "model.layers": "2",
        "model.hidden": "32",
        "model.vector": "16",
        "model.width": "8",
    }
    family = {**shape, "model.context": "16"} if request.param == "context" else {}
    small = {name: value for name, value in family.items() if name != "model.kind"}
    changed = override(small_recipe, {"model.kind": "context"}) if family else small_recipe
    return override(changed, {**small, "train.engine": "native"})


def begin(recipe, tmp_path):
    with pytest.raises(Killed):
        train(recipe, run="stopped", runs=tmp_path, display=KillAt(7))


def of_whom(monkeypatch):
    """The paths of the libraries whose kernels are opened from here on."""
    opened = []
    for module in ("lmlab.model.native.load", "lmlab.model.recurrence_native.load"):

        def load(*arguments, **options):
            found = library.load(*arguments, **options)
            opened.append(found.build.path)
            return found

        monkeypatch.setattr(module, load)
    return opened


def test_a_resume_after_the_compiler_was_exchanged_is_bit_exact(recipe, tmp_path, exchange_compiler, monkeypatch):
    begin(recipe, tmp_path)
    untouched = train(recipe, run="untouched", runs=tmp_path, display=Quiet(), say=lambda line: None)
    before = exchange_compiler()
    opened, said = of_whom(monkeypatch), []
    resumed = resume("stopped", runs=tmp_path, display=Quiet(), say=said.append)
    assert set(opened) == {before.path}
    segment = resumed.run.read_lines("segments")[-1]
    assert (segment["exact"], segment["compiler"]) == (True, before.compiler)
    assert resumed.run.read("policy.json")["engine_identity"] == before.identity
    assert not [line for line in said if "another build" in line]
    for name in ("loss", "gradient_norm", "batches"):
        ours, theirs = (
            [line[name] for line in run.read_lines("metrics") if line["kind"] == "train"]
            for run in (resumed.run, untouched.run)
        )
        assert ours == theirs and len(ours) == 4


def test_a_proof_replays_with_the_run_s_own_build(recipe, tmp_path, exchange_compiler, monkeypatch):
    train(recipe, run="whole", runs=tmp_path, display=Quiet(), say=lambda line: None)
    before = exchange_compiler()
    opened = of_whom(monkeypatch)
    proof = prove("whole@4", runs=tmp_path, say=lambda line: None)
    assert proof.equal and proof.tensors and set(opened) == {before.path}


def test_where_the_build_is_gone_the_newest_goes_on_and_it_is_told(recipe, tmp_path, exchange_compiler):
    begin(recipe, tmp_path)
    before = exchange_compiler()
    shutil.rmtree(before.path.parent)
    said = []
    resumed = resume("stopped", runs=tmp_path, display=Quiet(), say=said.append)
    assert any("another build" in line and "another 2.0" in line for line in said)
    assert resumed.run.read_lines("segments")[-1]["exact"] is False
    assert resumed.run.read("policy.json")["engine_identity"] == library.load().identity
