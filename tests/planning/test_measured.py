"""What was measured is kept under everything that it depends on, and under nothing else."""

import dataclasses

import pytest

from lmlab.hardware.machine import Accelerator
from lmlab.planning.trials import store
from lmlab.planning.trials.peaks import peak_flops
from lmlab.planning.trials.store import facts_of, facts_of_steps, place_of
from lmlab.recipe import Recipe, override
from lmlab.training.policy import Policy, choose_policy

OTHER = {
    "device": "cuda",
    "threads": 3,
    "precision": "bf16",
    "autocast": "bfloat16",
    "scaler": True,
    "tf32": True,
    "compile": True,
    "engine": "native",
    "engine_identity": "0123456789abcdef",
    "ranks": 2,
    "deterministic": True,
    "sharded": True,
}
"""Another value of each field of a policy that every figure depends on."""
NOT_OF_ALL = {"micro_batch", "reasons"}


@pytest.fixture
def policy():
    return choose_policy(override(Recipe(), {"train.device": "cpu", "train.engine": "torch", "train.threads": "1"}))


def test_every_field_of_a_policy_is_decided():
    assert set(OTHER) | NOT_OF_ALL == {field.name for field in dataclasses.fields(Policy)}


@pytest.mark.parametrize("what", ["fastest", "lag", "peak", "speed", "lines", "largest", "trial"])
def test_another_policy_is_another_place(policy, what):
    places = {place_of(what, policy, {})}
    places |= {place_of(what, dataclasses.replace(policy, **{name: value}), {}) for name, value in OTHER.items()}
    assert len(places) == 1 + len(OTHER)


def test_what_decides_no_figure_is_no_other_place(policy):
    same = dataclasses.replace(policy, reasons={"engine": "another"}, micro_batch=policy.micro_batch + 1)
    assert place_of("peak", same, {}) == place_of("peak", policy, {})
    assert place_of("peak", policy, {"batch": 1}) != place_of("peak", policy, {"batch": 2})
    assert place_of("peak", policy, {}) != place_of("lag", policy, {})


@pytest.mark.parametrize(
    "name, value",
    [
        ("model.width", "64"),
        ("model.dropout", "0.5"),
        ("optim.kind", "muon"),
        ("data.windows", "documents"),
    ],
)
def test_another_step_is_another_place(policy, name, value):
    other = override(Recipe(), {name: value})
    assert facts_of_steps(other, 65) != facts_of_steps(Recipe(), 65)
    assert facts_of(other, 65, "data") != facts_of(Recipe(), 65, "data")


def test_another_vocabulary_data_set_or_number_of_muon_s_iterations_is_another_place():
    muon = override(Recipe(), {"optim.kind": "muon"})
    assert facts_of_steps(Recipe(), 65) != facts_of_steps(Recipe(), 66)
    assert facts_of_steps(muon, 65) != facts_of_steps(override(muon, {"optim.iterations": "9"}), 65)
    assert facts_of(Recipe(), 65, "one") != facts_of(Recipe(), 65, "other")
    assert facts_of(Recipe(), 65, "there/one") == facts_of(Recipe(), 65, "here/one")


@pytest.mark.parametrize(
    "name, value", [("train.seed", "7"), ("optim.lr", "0.5"), ("name", "other"), ("train.keep", "9")]
)
def test_settings_that_cost_no_time_are_the_same_place(name, value):
    other = override(Recipe(), {name: value})
    assert facts_of(other, 65, "data") == facts_of(Recipe(), 65, "data")


def test_the_peak_of_another_precision_is_measured(policy, monkeypatch, tmp_path):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "is_busy", lambda: False)  # a figure of a busy machine is measured again on a quiet one
    asked = []
    monkeypatch.setattr("lmlab.planning.trials.peaks._measure", lambda policy: asked.append(policy.precision) or 1e9)
    for precision in ("fp32", "bf16", "fp32"):
        peak_flops(dataclasses.replace(policy, precision=precision))
    assert asked == ["fp32", "bf16"]


def test_figures_of_one_card_or_driver_are_not_those_of_another(policy, monkeypatch):
    card = Accelerator(kind="cuda", index=0, name="L4", memory=24 << 30, capability=(8, 9), driver="550.54.15")
    on_gpu = dataclasses.replace(policy, device="cuda:0")
    places = set()
    for changed in ({}, {"name": "T4"}, {"capability": (7, 5)}, {"driver": "560.1"}):
        monkeypatch.setattr(store, "accelerator_at", lambda device, new=changed: dataclasses.replace(card, **new))
        places.add(place_of("peak", on_gpu, {}))
    assert len(places) == 4
