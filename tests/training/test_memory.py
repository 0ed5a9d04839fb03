"""The memory of a step by formula, against PyTorch's own tracker of live tensors, and the micro-batch that fits a GPU."""

import subprocess
import sys

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker

from lmlab.hardware.cards import card_named
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.optim.build import optimizer_of
from lmlab.planning.inverse.resources import resources_on
from lmlab.planning.inverse.speed import card_micro_batch
from lmlab.recipe import Recipe, override
from lmlab.training import policy as policy_module
from lmlab.training.memory import USABLE, micro_batch, step_bytes
from lmlab.training.policy import choose_policy

SHAPE = {"model.layers": 2, "model.heads": 2, "model.width": 32, "model.context": 64, "model.dropout": 0.0}
LARGE = {"model.layers": 12, "model.heads": 12, "model.width": 768, "model.context": 1024, "train.batch": 480}


def recipe_of(**settings):
    return override(Recipe(), {name: str(value) for name, value in settings.items()})


@pytest.mark.parametrize("vocabulary", [65, 4096])
def test_a_step_takes_the_bytes_of_the_formula(vocabulary):
    recipe = recipe_of(**SHAPE, **{"train.batch": 8})
    model = build_model(recipe.model, vocabulary)
    initialise(model, 1)
    optimizer = optimizer_of(model, recipe, "cpu")
    tokens = torch.randint(vocabulary, (8, 65))
    tracker = MemTracker()
    tracker.track_external(model, *optimizer.state_tensors().values())
    with tracker:
        model.loss_sum(tokens[:, :-1], tokens[:, 1:]).backward()
    peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    # The formula has all gradients and all activations at once, of which the last activations are freed before the first gradients.
    assert 0.85 * peak < step_bytes(recipe, vocabulary, 8, 4, "cpu") < 1.3 * peak


@pytest.mark.parametrize("gigabytes", [4, 16, 24, 80])
def test_the_micro_batch_is_the_largest_divisor_that_fits(gigabytes):
    recipe = recipe_of(**LARGE)
    size, why = micro_batch(recipe, 50_257, "cuda", gigabytes * 1e9, 2)
    fitting = [
        one
        for one in range(1, 481)
        if 480 % one == 0 and step_bytes(recipe, 50_257, one, 2, "cuda") <= USABLE * gigabytes * 1e9
    ]
    assert size == max(fitting, default=1)
    assert why == f"the most that fits in {gigabytes} GB by formula"
    assert step_bytes(recipe, 50_257, 480, 2, "cuda") > 80e9


def test_a_batch_that_fits_is_one_pass_and_a_given_micro_batch_stays():
    recipe = recipe_of(**SHAPE, **{"train.batch": 2048})
    assert micro_batch(recipe, 65, "cuda", 24e9, 2) == (2048, "the whole batch")
    assert micro_batch(recipe, 65, "cpu", 1e3, 4) == (2048, "the whole batch")
    assert micro_batch(override(recipe, {"train.micro_batch": "64"}), 65, "cuda", 1e3, 2) == (64, "requested")


def test_a_gpu_that_shares_the_memory_is_given_a_few_thousand_tokens():
    recipe = recipe_of(**SHAPE, **{"train.batch": 2048})
    assert micro_batch(recipe, 65, "mps", 64e9, 4) == (256, "at most 16,384 tokens a micro-batch")


def test_a_single_process_does_not_import_what_only_several_need():
    # FSDP takes .7 s and 46 MB, which would be part of every run.
    code = "import sys, lmlab.experiment.start; print([name for name in sys.modules if name.startswith('torch.distributed.fsdp')])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_a_plan_for_a_card_has_the_micro_batch_of_a_run_on_it(monkeypatch):
    recipe, card = recipe_of(**LARGE), card_named("a100-80")
    monkeypatch.setattr(policy_module, "choose_device", lambda name: torch.device("cuda", 0))
    monkeypatch.setattr(policy_module, "device_memory_bytes", lambda device: int(card.memory))
    monkeypatch.setattr(policy_module, "_choose_compile", lambda recipe, device: (False, ""))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    chosen = choose_policy(recipe, lambda line: None, vocabulary=50_257)
    assert chosen.precision == "bf16" and chosen.micro_batch == card_micro_batch(card, recipe, 50_257)
    assert resources_on(card, 50_257).memory(recipe) == step_bytes(recipe, 50_257, chosen.micro_batch, 2, "cuda")
