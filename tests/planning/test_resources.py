"""What a recipe occupies, by formula, against real trainings and published figures."""

from __future__ import annotations

import numpy as np
import pytest

from lmlab.hardware.cards import card_named
from lmlab.planning.inverse import speed
from lmlab.planning.inverse.resources import resources_here, resources_on
from lmlab.planning.trials.probe import probe
from lmlab.recipe import GPT, Recipe, load_recipe, override
from lmlab.training.memory import checkpoint_bytes
from lmlab.training.policy import choose_policy

TOKENS = np.arange(2_000) % 65
TORCH = {"train.device": "cpu", "train.engine": "torch", "train.threads": "1", "train.batch": "2", "model.width": "64"}


@pytest.mark.parametrize("name", ["shakespeare-cpu", "shakespeare-fast", "stories-2m"])
def test_checkpoints_hold_what_a_real_step_leaves(name):
    recipe = override(load_recipe(name), {**TORCH, "model.heads": "4"})
    _, real = probe(recipe, choose_policy(recipe), TOKENS, 65, 10, lambda taken: len(taken) > 0)
    assert checkpoint_bytes(recipe, 65) == pytest.approx(real, rel=0.01)


def test_gpt2_small_takes_what_was_published():
    # G. Thomas: a model of 652.0 MB (MiB of 2^20 bytes: 163M x 4 = 622) and 1.3 GiB of optimizer; three numbers a parameter
    recipe = override(Recipe(), {"model.kind": "gpt", "optim.kind": "adamw", "train.batch": "96"})
    shape = GPT(layers=12, heads=12, width=768, context=1024, tied=False, qkv_bias=False)
    large = override(
        recipe, {f"model.{name}": getattr(shape, name) for name in ("layers", "heads", "width", "context")}
    )
    large = override(large, {"model.tied": "false", "model.qkv_bias": "false"})
    assert checkpoint_bytes(large, 50_257) == 3 * 4 * 163_009_536
    # One RTX 3090 trains it, a card of 2 GB would not.
    there = resources_on(card_named("rtx3090"), 50_257)
    assert 4 * 4 * 163_009_536 < there.memory(large) < there.memory_limit == 0.9 * 24e9
    assert there.memory(override(large, {"train.micro_batch": "96"})) > there.memory_limit
    # Two checkpoints that stay, the first, the best, and one that is being written
    assert there.disk(large) == 5 * checkpoint_bytes(large, 50_257)


def test_this_machine_has_a_speed_and_limits(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(speed, "SIZES", (1.0,))
    monkeypatch.setattr(speed, "TIMED_STEPS", 1)
    recipe = override(load_recipe("shakespeare-cpu"), TORCH)
    here = resources_here(recipe, choose_policy(recipe), TOKENS, 65, 8e9)
    assert here.memory_limit == 0.9 * 8e9
    assert 1e4 < here.memory(recipe) < 1e9
    assert here.speed(recipe).value > 10
    assert resources_here(recipe, choose_policy(recipe), TOKENS, 65, 0).memory_limit == float("inf")
