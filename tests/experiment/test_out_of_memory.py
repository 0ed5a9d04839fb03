"""Memory that runs out before or within a training: a smaller micro-batch of the same batch, or one line and a resume."""

import pytest
import torch

from lmlab import cli
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.hardware.memory import OutOfMemory, is_out_of_memory
from lmlab.planning.trials import here
from lmlab.recipe import override
from lmlab.training import compiling
from lmlab.training import policy as policy_module
from lmlab.training.compiling import CompilationFailed
from lmlab.training.computation import TorchComputation
from lmlab.training.display import Quiet
from lmlab.training.policy import choose_policy, with_smaller_micro_batch


@pytest.fixture
def recipe(small_recipe):
    return override(small_recipe, {"train.engine": "torch", "train.batch": "8"})


def hashes(run):
    return [line["batches"] for line in run.read_lines("metrics") if line["kind"] == "train"]


@pytest.mark.tried
def test_a_trial_that_needs_too_much_makes_the_micro_batch_smaller_and_not_the_batch(
    recipe, tmp_path, monkeypatch, capsys
):
    plain = train(recipe, run="plain", runs=tmp_path, display=Quiet())
    steps = here.Trial.go

    def go(trial, *arguments):
        if trial.policy.micro_batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return steps(trial, *arguments)

    monkeypatch.setattr(here.Trial, "go", go)
    monkeypatch.setattr(here, "kept_trial", lambda *arguments: None)
    smaller = train(recipe, run="smaller", runs=tmp_path, display=Quiet())
    assert smaller.run.read("policy.json")["micro_batch"] == 2
    assert smaller.run.read("policy.json")["reasons"]["micro_batch"] == "memory ran out with 4"
    out = capsys.readouterr().out
    assert "out of memory with micro-batches of 8: trying 4" in out and "micro-batches of 4: trying 2" in out
    assert hashes(smaller.run) == hashes(plain.run)
    assert smaller.summary["final"]["loss"] == pytest.approx(plain.summary["final"]["loss"], rel=1e-5)


@pytest.mark.tried
def test_where_one_sequence_is_too_much_or_the_size_is_given_it_is_one_line(recipe, tmp_path, monkeypatch):
    def go(*arguments):
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

    monkeypatch.setattr(here.Trial, "go", go)
    monkeypatch.setattr(here, "kept_trial", lambda *arguments: None)
    for settings in ({}, {"train.micro_batch": "4"}):
        with pytest.raises(OutOfMemory, match="can't be run here: out of memory; try a smaller train.micro_batch"):
            train(override(recipe, settings), run="none", runs=tmp_path, display=Quiet())
    assert not (tmp_path / "none").exists()


def test_memory_that_runs_out_within_a_training_is_one_line_that_resumes(recipe, tmp_path, monkeypatch):
    recipe = override(recipe, {"train.checkpoint_every": "5"})
    plain = train(recipe, run="plain", runs=tmp_path, display=Quiet())
    gradients = TorchComputation.gradients

    def fails(self, inputs, targets, counted, step):
        if step == 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
        return gradients(self, inputs, targets, counted, step)

    with monkeypatch.context() as patch:
        patch.setattr(TorchComputation, "gradients", fails)
        with pytest.raises(OutOfMemory) as caught:
            train(recipe, run="part", runs=tmp_path, display=Quiet())
    assert str(caught.value) == (
        "out of memory after step 7 (CUDA out of memory. Tried to allocate 2 GiB.); the checkpoint of step 5 is kept: "
        "lmlab resume part --train.micro_batch 4"
    )
    part = resume("part", runs=tmp_path, changes={"train.micro_batch": "4"})
    assert hashes(part.run) == hashes(plain.run)
    assert part.summary["final"]["loss"] == pytest.approx(plain.summary["final"]["loss"], rel=1e-5)
    assert [line["reason"] for line in part.run.read_lines("discarded") if line["kind"] == "failed"] == [
        str(caught.value)
    ]


class InductorError(RuntimeError):
    """An exception of PyTorch's compiler."""

    __module__ = "torch._inductor.exc"


@pytest.fixture
def no_compiler(monkeypatch):
    """torch.compile is chosen, and fails when the gradients are compiled."""

    def compiles(function, **options):
        assert options == {"dynamic": False, "fullgraph": True}

        def fails(inputs, targets):
            raise InductorError("CppCompileError: C++ compile error\n\nCommand:\ng++ ...")

        return fails

    monkeypatch.setattr(torch, "compile", compiles)
    monkeypatch.setattr(policy_module, "choose_compile", lambda *given: (True, "fused kernels"))
    monkeypatch.setattr(here, "kept_trial", lambda *arguments: None)


@pytest.mark.tried
def test_a_compiler_that_fails_leaves_the_training_uncompiled(recipe, tmp_path, no_compiler, capsys):
    made = train(recipe, run="plain", runs=tmp_path, display=Quiet())
    policy = made.run.read("policy.json")
    line = "torch.compile failed (CppCompileError: C++ compile error): use --train.compile off"
    assert (policy["compile"], policy["reasons"]["compile"]) == (False, line)
    assert f"{line}: continuing without it" in capsys.readouterr().out


@pytest.mark.tried
def test_a_compiler_that_is_asked_for_and_fails_is_one_line(recipe, tmp_path, no_compiler):
    with pytest.raises(CompilationFailed, match=r"^torch.compile failed \(CppCompileError: C\+\+ compile error\)"):
        train(override(recipe, {"train.compile": "on"}), run="none", runs=tmp_path, display=Quiet())
    assert not (tmp_path / "none").exists()


def test_compiled_code_is_kept_for_an_equal_training_and_discarded_for_another(monkeypatch):
    resets = []
    monkeypatch.setattr(torch._dynamo, "reset", lambda: resets.append(1))
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    for shapes, expected in (((1, "a"), 1), ((1, "a"), 1), ((2, "a"), 2), ((1, "a"), 3)):
        compiling.compiled(len, *shapes)
        assert len(resets) == expected


def test_a_smaller_micro_batch_divides_the_batch_and_a_given_one_stays(recipe):
    policy = choose_policy(recipe)
    sizes = []
    while policy is not None:
        sizes.append(policy.micro_batch)
        policy = with_smaller_micro_batch(policy, recipe)
    assert sizes == [8, 4, 2, 1]
    given = override(recipe, {"train.micro_batch": "8"})
    assert with_smaller_micro_batch(choose_policy(given), given) is None


def test_a_command_that_runs_out_of_memory_says_so_in_one_line(monkeypatch, capsys):
    def fails(words):
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore")

    monkeypatch.setattr(cli, "_dispatch", fails)
    assert cli.main(["recipes"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("lmlab: out of memory (CUDA out of memory.): ") and error.count("\n") == 1
    assert not is_out_of_memory(RuntimeError("shapes don't match"))
