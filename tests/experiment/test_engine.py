"""A resume keeps to the engine that its run began with, and says so where it can't."""

import types

import pytest

from lmlab import LabError
from lmlab.checkpoint.opened import Checkpoint
from lmlab.experiment import resuming
from lmlab.experiment.start import train
from lmlab.model.gpt_family import GPTFamily
from lmlab.native.build import Build
from lmlab.native.library import Library, Missing
from lmlab.recipe import override
from lmlab.training import policy as policy_module
from lmlab.training.state import read_state
from tests.stopping import KillAt, Killed

pytestmark = pytest.mark.tried


class Opened(Exception):
    """The resume has decided on its policy, and would train now."""


@pytest.fixture
def stopped(small_recipe, tmp_path, monkeypatch):
    """stopped(engine, identity, changes): a run that PyTorch has begun, with a policy.json that names another engine."""
    monkeypatch.setenv("LMLAB_NATIVE", "off")

    def make(engine="torch", identity="", **changes):
        with pytest.raises(Killed):
            train(override(small_recipe, changes), run="stopped", runs=tmp_path, display=KillAt(5))
        run = resuming.open_run("stopped", tmp_path)[0]
        assert run.read("policy.json")["engine"] == "torch" and run.origin()["compiler"] is None
        run.write("policy.json", {**run.read("policy.json"), "engine": engine, "engine_identity": identity})
        return run

    return make


@pytest.fixture
def resume(monkeypatch):
    """resume(run, changes): what it says, the new policy, and whether the segment is bit for bit; nothing is trained."""

    def refuse(*arguments):
        raise Opened

    def opened(*arguments, **options):
        (checkpoint,) = [one for one in (*arguments, *options.values()) if isinstance(one, Checkpoint)]
        outlook = types.SimpleNamespace(read=lambda *lines: None)
        return types.SimpleNamespace(state=read_state(checkpoint.state)[0], outlook=outlook, train=refuse)

    monkeypatch.setattr(resuming, "open_session", opened)

    def go_on(run, changes=None):
        said = []
        with pytest.raises(Opened):
            resuming.resume(run, changes=changes, say=said.append)
        assert said.pop().startswith("stopped continues from step ")
        return said, run.read("policy.json"), run.read_lines("segments")[-1]["exact"]

    return go_on


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library of build abab... that can be loaded here."""
    there = Library(None, Build(tmp_path / "engine.so", "ab" * 32, "a compiler 1.0"))
    monkeypatch.setattr(GPTFamily, "unsupported", lambda family, settings: None)

    def load(say=None, identity=""):
        return there if identity in ("", there.identity) else Missing("no such build")

    return lambda: monkeypatch.setattr(policy_module, "load", load)


def test_a_run_of_the_native_engine_goes_on_without_it_and_says_why(stopped, resume):
    said, policy, exact = resume(stopped("native", "ab" * 8))
    assert said == ["stopped continues with PyTorch's kernels: the native engine can't be used: LMLAB_NATIVE is off"]
    assert policy["engine"] == "torch" and exact is False


def test_with_the_same_build_it_is_exact(stopped, resume, library):
    run = stopped("native", "ab" * 8)
    before = run.read("policy.json")
    library()
    assert resume(run) == ([], before, True)


def test_another_build_is_told_and_not_called_exact(stopped, resume, library):
    run = stopped("native", "cd" * 8)
    library()
    said, policy, exact = resume(run)
    assert len(said) == 1 and "another build" in said[0] and "a compiler 1.0" in said[0]
    assert (policy["engine"], policy["engine_identity"], exact) == ("native", "ab" * 8, False)


def test_a_run_that_torch_began_stays_torch_s_when_a_compiler_comes(stopped, resume, library):
    run = stopped()
    library()
    assert resume(run)[1:] == (run.read("policy.json"), True)
    _, policy, exact = resume(run, {"train.keep": "3"})
    assert policy["engine"] == "torch" and exact is True


def test_a_run_from_before_the_engines_stays_torch_s(stopped, resume, library):
    run = stopped()
    run.write("policy.json", {k: v for k, v in run.read("policy.json").items() if not k.startswith("engine")})
    library()
    said, _, exact = resume(run)
    assert said == [] and exact is True


def test_a_resume_may_change_the_engine(stopped, resume, library):
    run = stopped()
    library()
    _, policy, exact = resume(run, {"train.engine": "native"})
    assert policy["engine"] == "native" and exact is False
    _, policy, exact = resume(run, {"train.engine": "torch"})
    assert policy["engine"] == "torch" and exact is False


def test_a_change_that_the_native_engine_cannot_follow_leaves_it(stopped, resume, library):
    run = stopped("native", "ab" * 8)
    library()
    said, policy, exact = resume(run, {"train.precision": "bf16"})
    assert policy["engine"] == "torch" and exact is False
    assert "it computes in fp32, not in bf16" in said[0]


def test_where_the_recipe_insists_on_native_the_way_on_is_named(stopped, resume, monkeypatch, tmp_path):
    run = stopped("native", "ab" * 8)
    recipe = (run.folder / "recipe.toml").read_text(encoding="utf-8")
    assert 'engine = "auto"' in recipe
    (run.folder / "recipe.toml").write_text(recipe.replace('engine = "auto"', 'engine = "native"'), encoding="utf-8")
    with pytest.raises(LabError, match="use --train.engine torch"):
        resuming.resume(run, say=print)
    _, policy, exact = resume(run, {"train.engine": "torch"})
    assert policy["engine"] == "torch" and exact is False
