"""Which trainings launch their updates before loss and norm are read, and what a launched step tells."""

import dataclasses

import numpy as np
import pytest
import torch

from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.optim.build import build_optimizer
from lmlab.recipe import Recipe, override
from lmlab.training import deferred
from lmlab.training.deferred import defers, read_later
from lmlab.training.pace import Meter
from lmlab.training.policy import apply_policy, choose_policy
from lmlab.training.state import State
from lmlab.training.step import TrainingStep
from tests.engine import engine_library

SMALL = {
    "model.layers": "1",
    "model.width": "16",
    "model.heads": "2",
    "model.context": "8",
    "train.batch": "6",
    "train.micro_batch": "2",
    "train.device": "cpu",
    "train.precision": "fp32",
    "train.compile": "off",
    "train.engine": "torch",
}
TOKENS = np.random.default_rng(0).integers(0, 13, 500).astype(np.uint16)


@pytest.fixture
def on_a_cpu(monkeypatch):
    monkeypatch.setattr(deferred, "DEVICES", ("cuda", "cpu"))


def step_of(device="cpu", **settings):
    """The step of a small training; `settings` have __ for a point."""
    changes = {name.replace("__", "."): value for name, value in settings.items()}
    recipe = override(Recipe(), {**SMALL, "train.device": device, **changes})
    policy = choose_policy(recipe, lambda line: None)
    model = build_model(recipe.model, 13)
    initialise(model, 1)
    model.to(device)
    return TrainingStep(recipe, policy, model, build_optimizer(model, recipe.optim, device), TOKENS, 10)


def test_a_training_by_pytorch_that_notes_spikes_defers(on_a_cpu):
    assert step_of().deferred


def test_a_cpu_waits():
    assert not step_of().deferred


@pytest.mark.parametrize(
    "settings",
    [
        {"train__on_spike": "skip"},
        {"train__on_spike": "rewind"},
        {"optim__adaptive_clip": "2.5"},
        {"train__precision": "fp16"},
        {"optim__kind": "muon"},
        {"model__ngrams": "2", "model__ngram_rows": "64"},
    ],
    ids=lambda settings: " ".join(settings.values()),
)
def test_what_needs_more_than_a_flag_waits(on_a_cpu, settings):
    assert not step_of(**settings).deferred


def test_the_native_engine_waits(on_a_cpu):
    engine_library()
    assert not step_of(train__engine="native", train__micro_batch="6").deferred


def test_several_processes_and_other_engines_wait(on_a_cpu):
    step = step_of()
    for change in ({"ranks": 2}, {"engine": "registered"}, {"device": "mps"}):
        assert not defers(step.recipe, dataclasses.replace(step.policy, **change), step.optimizer), change


def test_an_optimizer_without_fused_kernels_waits(on_a_cpu, monkeypatch):
    real = torch.optim.AdamW

    def unfused(groups, fused, foreach=None):
        if fused:
            raise RuntimeError("no fused kernel")
        return real(groups, foreach=foreach)

    monkeypatch.setattr(torch.optim, "AdamW", unfused)
    assert not step_of().deferred


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])])
def test_a_launched_step_is_that_of_gradients_and_update(on_a_cpu, device):
    launched, waiting = (step_of(device, optim__clip="0.3", train__deterministic="true") for _ in range(2))
    if device == "cuda":
        apply_policy(launched.policy)
    for number in range(4):
        read = launched.launch(number, number * 6)
        assert read() == waiting.take(State(step=number, cursor=number * 6))
    ours, theirs = ({**step.model.state_dict(), **step.optimizer.state_tensors()} for step in (launched, waiting))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_numbers_are_those_at_the_call():
    read = read_later(torch.tensor([1.0, float("nan"), 3.0]))
    assert str(read()) == "[1.0, nan, 3.0]"


def test_the_speed_that_is_shown_hardly_depends_on_how_a_time_is_divided_among_steps():
    """Steps of 1 s: the host launches two before the numbers of the first are read, and the last one's are there at once."""
    meter = Meter()
    for seconds in (*[1.0] * 30, 2.0, *[1.0] * 8, 0.0):
        meter.add(100, seconds)
    assert meter.recent == pytest.approx(100, rel=0.15) and meter.take() == 100


@pytest.mark.gpu
@NO_GPU
def test_a_launch_on_a_gpu_waits_for_nothing():
    step = step_of(device="cuda")
    assert step.deferred
    step.launch(0, 0)()  # allocates, and loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        read = step.launch(1, 6)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert read().finite
