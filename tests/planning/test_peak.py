"""The peak is measured once on a CPU, for each way of computing."""

import dataclasses

import pytest

from lmlab.planning.trials import peaks as peak
from lmlab.recipe import Recipe, override
from lmlab.training.policy import choose_policy


@pytest.fixture
def policy(monkeypatch, tmp_path):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr("lmlab.planning.trials.store.is_busy", lambda: False)  # whatever runs beside the tests
    wishes = {"train.device": "cpu", "train.engine": "torch", "train.threads": "1"}
    return choose_policy(override(Recipe(), wishes))


def test_the_peak_is_measured_once_for_each_number_of_threads(policy, monkeypatch):
    asked = []
    monkeypatch.setattr(peak, "measured_peak_flops", lambda device, dtype: asked.append(dtype) or 1e9 * len(asked))
    assert peak.peak_flops(policy) == peak.peak_flops(policy) == 1e9
    assert peak.peak_flops(dataclasses.replace(policy, threads=2)) == 2e9
    assert len(asked) == 2


def test_the_native_engine_is_held_against_the_faster_of_both(policy, monkeypatch):
    monkeypatch.setattr(peak, "measured_peak_flops", lambda device, dtype: 1e9)
    rates = iter([1.5e9, 2e9, 3e9, 2.5e9, 1e9])  # a clock that rises under load, and other work
    monkeypatch.setattr(peak, "product_flops", lambda threads: next(rates))
    assert peak.peak_flops(policy) == 1e9
    assert peak.peak_flops(dataclasses.replace(policy, engine="native", engine_identity="01")) == 3e9


def test_nothing_is_faster_than_multiply_adds_in_registers(policy, monkeypatch):
    monkeypatch.setattr(peak, "measured_peak_flops", lambda device, dtype: 1e9)
    monkeypatch.setattr(peak, "multiply_add_flops", lambda threads: 4e9)
    assert peak.fastest_flops(policy) == 4e9
    monkeypatch.setattr(peak, "multiply_add_flops", lambda threads: None)  # no library
    assert peak.fastest_flops(policy) == 1e9
