"""Saves beside the training: from a snapshot, one at a time, and a failure surfaces."""

import threading

import pytest
import torch

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps
from lmlab.data.order import batch_at
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.optim.build import build_optimizer
from lmlab.recipe import GPT, Recipe, override
from lmlab.training import saving
from lmlab.training.saving import Saver, restore_training
from lmlab.training.state import State

pytestmark = pytest.mark.flushed

ON = override(Recipe(), {"train.background": "on", "train.keep": "9"})


@pytest.fixture
def parts():
    model = build_model(GPT(layers=1, heads=2, width=16, context=8), 11)
    initialise(model, 1)
    return model, build_optimizer(model, ON.optim, "cpu")


@pytest.fixture
def gate(monkeypatch):
    """Saves wait until the gate is opened."""
    opened, real = threading.Event(), saving.save_and_point

    def waiting(*arguments, **options):
        assert opened.wait(30)
        return real(*arguments, **options)

    monkeypatch.setattr(saving, "save_and_point", waiting)
    return opened


def test_what_is_saved_is_what_was_there_when_it_began(tmp_path, parts, gate):
    model, optimizer = parts
    saver = Saver(tmp_path, ON, model, optimizer)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    saver.save(State(step=4), {})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    assert steps(tmp_path) == []  # training went on, and nothing is pointed to yet
    gate.set()
    saver.check_save(True)
    found = find(tmp_path, "latest")[0]
    assert found.step == 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in found.tensors("weights").items())
    restored, _ = restore_training(found, model, optimizer, None)
    assert restored == State(step=4)


def test_the_next_save_waits_for_the_one_before(tmp_path, parts, gate):
    saver = Saver(tmp_path, ON, *parts)
    saver.save(State(step=1, best_step=1, best_loss=2.0), {})
    threading.Timer(0.2, gate.set).start()
    saver.save(State(step=2, best_step=1, best_loss=2.0), {})
    assert steps(tmp_path)[0] == 1
    saver.check_save(True)
    assert steps(tmp_path) == [1, 2] and find(tmp_path, "best")[0].step == 1


def test_a_failure_surfaces_at_the_next_look_and_once(tmp_path, parts, monkeypatch):
    def failing(*arguments, **options):
        raise LabError("the disk is full")

    monkeypatch.setattr(saving, "save_and_point", failing)
    saver = Saver(tmp_path, ON, *parts)
    saver.save(State(step=1), {})
    with pytest.raises(LabError, match="the disk is full"):
        saver.check_save(True)
    saver.check_save(True)


def test_small_models_are_saved_at_once_and_large_ones_beside(tmp_path, parts, monkeypatch):
    auto = override(ON, {"train.background": "auto"})
    threads = []
    monkeypatch.setattr(saving, "save_and_point", lambda *a, **o: threads.append(threading.current_thread().name))
    Saver(tmp_path, auto, *parts).save(State(step=1), {})
    monkeypatch.setattr(saving, "SMALLEST_IN_BACKGROUND", 1)
    saver = Saver(tmp_path, auto, *parts)
    saver.save(State(step=1), {})
    saver.check_save(True)
    assert threads == [threading.main_thread().name, "checkpoint"]


def test_batches_are_told_apart_by_their_hash():
    from lmlab.training.step import batch_hash, chained

    tokens = torch.arange(1000).numpy().astype("<u2")
    one, other = (batch_hash(*batch_at(tokens, "shuffle", 1, 8, first, 4)) for first in (0, 4))
    again = batch_hash(*batch_at(tokens.astype("<u4"), "shuffle", 1, 8, 0, 4))
    assert one == again != other
    assert chained(chained("", one), other) != chained(chained("", other), one)
