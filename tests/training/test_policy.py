"""How a recipe is carried out on a machine: which engine computes it, and what policy.json keeps of that."""

import dataclasses
import json
import os

import pytest
import torch

from lmlab import LabError
from lmlab.model.gpt_family import GPTFamily
from lmlab.native.build import Build
from lmlab.native.library import Library, Missing
from lmlab.recipe import Recipe, override, recipe_hash
from lmlab.recipe.text import from_toml, to_toml
from lmlab.training import policy as module
from lmlab.training.policy import apply_policy, choose_engine, choose_policy, read_policy

CPU = torch.device("cpu")
NO_COMPILER = Missing("there is no C++ compiler: install one")


@pytest.fixture
def recipe():
    return override(Recipe(), {"train.device": "cpu", "train.threads": "1"})


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library that is there, of build abab...; nothing is loaded."""
    there = Library(None, Build(tmp_path / "engine.so", "ab" * 32, "a compiler 1.0"))
    monkeypatch.setattr(module, "load", lambda say, identity="": there)
    monkeypatch.setattr(GPTFamily, "unsupported", lambda family, settings: None)
    return there


@pytest.fixture
def no_library(monkeypatch):
    monkeypatch.setattr(module, "load", lambda say, identity="": NO_COMPILER)
    monkeypatch.setattr(GPTFamily, "unsupported", lambda family, settings: None)


def never(say, identity=""):
    raise AssertionError("the library was asked for")


@pytest.mark.parametrize("wish", ["auto", "native"])
def test_the_native_engine_is_taken_where_it_can_be(recipe, library, wish):
    policy = choose_policy(override(recipe, {"train.engine": wish}))
    assert (policy.engine, policy.engine_identity) == ("native", "abababababababab")
    assert "a compiler 1.0" in policy.reasons["engine"]
    assert policy.threads == 1


def test_auto_goes_on_with_torch_and_keeps_the_reason(recipe, no_library):
    policy = choose_policy(recipe)
    assert (policy.engine, policy.engine_identity) == ("torch", "")
    assert NO_COMPILER.reason in policy.reasons["engine"]


def test_native_that_is_asked_for_and_not_there_is_refused_in_one_line(recipe, no_library):
    with pytest.raises(LabError, match="no C.. compiler: install one; or use --train.engine torch") as caught:
        choose_policy(override(recipe, {"train.engine": "native"}))
    assert "\n" not in str(caught.value)


def test_torch_that_is_asked_for_builds_nothing(recipe, monkeypatch):
    monkeypatch.setattr(module, "load", never)
    policy = choose_policy(override(recipe, {"train.engine": "torch"}))
    assert (policy.engine, policy.reasons["engine"]) == ("torch", "requested")


@pytest.mark.parametrize(
    "device, precision, compiled, model, reason",
    [
        (torch.device("cuda", 0), "fp32", False, None, "for the CPU, not for cuda"),
        (torch.device("mps"), "fp32", False, None, "for the CPU, not for mps"),
        (CPU, "bf16", False, None, "in fp32, not in bf16"),
        (CPU, "fp16", False, None, "in fp32, not in fp16"),
        (CPU, "fp32", True, None, "train.compile"),
        (CPU, "fp32", False, "such models are not in it", "such models are not in it"),
    ],
)
def test_what_it_cannot_compute_builds_nothing_either(monkeypatch, device, precision, compiled, model, reason):
    monkeypatch.setattr(module, "load", never)
    monkeypatch.setattr(GPTFamily, "unsupported", lambda family, settings: model)
    engine, identity, why = choose_engine(Recipe(), device, precision, compiled)
    assert (engine, identity) == ("torch", "") and reason in why
    with pytest.raises(LabError, match=reason):
        choose_engine(override(Recipe(), {"train.engine": "native"}), device, precision, compiled)


def test_building_is_told_to_whoever_asked(recipe, monkeypatch):
    said = []
    monkeypatch.setattr(GPTFamily, "unsupported", lambda family, settings: None)
    monkeypatch.setattr(module, "load", lambda say, identity="": say("building") or NO_COMPILER)
    choose_policy(recipe, said.append)
    assert said == ["building"]


def test_the_build_that_is_asked_for_is_taken_and_else_the_newest(recipe, monkeypatch, tmp_path):
    builds = {digits * 8: Library(None, Build(tmp_path, digits * 32, "a compiler")) for digits in ("ab", "cd")}
    found = {"": builds["cd" * 8], **builds}
    monkeypatch.setattr(GPTFamily, "unsupported", lambda family, settings: None)
    monkeypatch.setattr(module, "load", lambda say, identity="": found.get(identity, Missing("gone")))
    assert choose_policy(recipe).engine_identity == "cd" * 8
    assert choose_policy(recipe, identity="ab" * 8).engine_identity == "ab" * 8
    assert choose_policy(recipe, identity="ef" * 8).engine_identity == "cd" * 8


def test_a_policy_comes_back_from_its_file(recipe, library):
    policy = choose_policy(recipe)
    assert read_policy(json.loads(json.dumps(policy.to_json()))) == policy


def test_a_policy_from_before_the_engines_is_torch_s(recipe, library):
    written = choose_policy(recipe).to_json()
    del written["engine"], written["engine_identity"]
    policy = read_policy(written)
    assert (policy.engine, policy.engine_identity) == ("torch", "")


def test_another_engine_or_build_is_another_run_to_the_bit_and_another_reason_is_not(recipe, library):
    policy = choose_policy(recipe)
    for change in ({"engine": "torch"}, {"engine_identity": "0" * 16}):
        assert dataclasses.replace(policy, **change).exactness() != policy.exactness()
    assert dataclasses.replace(policy, reasons={}).exactness() == policy.exactness()


def test_the_engine_is_a_setting_outside_the_hash(recipe):
    changed = override(recipe, {"train.engine": "native"})
    assert recipe_hash(changed) == recipe_hash(recipe)
    assert from_toml(to_toml(changed)).train.engine == "native"
    with pytest.raises(LabError, match="train.engine"):
        override(recipe, {"train.engine": "fast"})


def test_a_recurrent_model_is_never_compiled():
    context = override(Recipe(), {"model.kind": "context", "model.context": "63", "train.batch": "2048"})
    cuda = torch.device("cuda")
    assert module._choose_compile(context, cuda)[0] is False
    with pytest.raises(LabError, match="train.compile can't be on: .* use auto or off"):
        module._choose_compile(override(context, {"train.compile": "on"}), cuda)


def test_a_gpu_repeats_its_bits_with_deterministic_algorithms_only(recipe):
    policy = choose_policy(override(recipe, {"train.deterministic": "true"}))
    assert policy.repeatable and not policy.deterministic, "a CPU does so without them"
    gpu = dataclasses.replace(policy, device="cuda:0")
    assert not gpu.repeatable and dataclasses.replace(gpu, deterministic=True).repeatable
    assert not dataclasses.replace(policy, device="mps").repeatable
    written = policy.to_json()
    del written["deterministic"]
    assert read_policy(written) == policy


def test_deterministic_algorithms_come_with_the_workspace_of_cublas_and_without_filled_memory(recipe, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    plain = choose_policy(recipe)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    try:
        apply_policy(dataclasses.replace(plain, device="cuda:0", deterministic=True))
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        apply_policy(plain)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("precision, dtype", [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", None)])
def test_an_update_on_a_gpu_has_the_policy_s_precision_and_on_a_cpu_float32(recipe, precision, dtype):
    policy = choose_policy(override(recipe, {"train.precision": precision, "train.engine": "torch"}))
    assert policy.update_products is None
    assert dataclasses.replace(policy, device="cuda:0").update_products == dtype
