"""Device, precision, compilation and threads: choices, refusals and reasons."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lmlab import LabError
from lmlab.hardware import precision as precision_module
from lmlab.hardware.compile import choose_compile
from lmlab.hardware.cpu import physical_cores
from lmlab.hardware.device import choose_device, visible_gpus
from lmlab.hardware.machine import Accelerator, Machine
from lmlab.hardware.peak import measured_peak_flops
from lmlab.hardware.precision import choose_precision
from lmlab.hardware.threads import use_threads

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")
MACHINE = Machine(
    cpu="a CPU",
    physical_cores=4,
    logical_cores=8,
    instructions=("avx2",),
    memory=16 << 30,
    system="Linux",
    python="3.12.0",
    torch="2.13.0",
    triton=True,
    compiler="/usr/bin/g++",
    python_headers=True,
    accelerators=(Accelerator(kind="cuda", index=0, name="a GPU", memory=24 << 30, capability=(8, 6)),),
)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def pretend_cuda(monkeypatch, capability):
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(precision_module, "_fails", lambda dtype, device: None)


def test_auto_is_the_cpu_where_there_is_no_gpu(no_gpu):
    assert choose_device("auto") == CPU and choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_here_is_refused_in_one_line(no_gpu, name):
    with pytest.raises(LabError, match=f"'{name}' can't be used") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:1", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(LabError, match="unknown"):
        choose_device(name)


def test_a_gpu_number_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(LabError, match="the last one here is cuda:1"):
        choose_device("cuda:5")


def test_precision_on_a_cpu_is_fp32_unless_asked():
    chosen = choose_precision("auto", CPU)
    assert (chosen.name, chosen.autocast, chosen.scaler, chosen.tf32) == ("fp32", None, False, False)
    asked = choose_precision("bf16", CPU)
    assert (asked.name, asked.autocast, asked.scaler) == ("bf16", torch.bfloat16, False)
    halved = choose_precision("fp16", CPU)
    assert (halved.autocast, halved.scaler) == (torch.float16, True)


def test_bf16_without_instructions_for_it_says_that_it_is_slow(monkeypatch):
    monkeypatch.setattr(precision_module, "instructions", lambda: ("avx2",))
    assert "slower" in choose_precision("bf16", CPU).reason
    monkeypatch.setattr(precision_module, "instructions", lambda: ("avx2", "amx_bf16"))
    assert "slower" not in choose_precision("bf16", CPU).reason


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tf32", "tf32 needs an NVIDIA GPU of compute capability 8.0 or later, and not cpu: use fp32"),
        ("fp8", "expected one of auto"),
    ],
)
def test_a_precision_that_a_cpu_lacks_is_refused(name, said):
    with pytest.raises(LabError, match=said):
        choose_precision(name, CPU)


def test_a_precision_whose_kernels_fail_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(precision_module, "_fails", lambda dtype, device: "no such kernel")
    with pytest.raises(LabError, match="no such kernel"):
        choose_precision("bf16", MPS)


def test_precision_on_gpus_follows_their_age(monkeypatch):
    pretend_cuda(monkeypatch, (8, 0))
    chosen = choose_precision("auto", CUDA)
    assert (chosen.name, chosen.scaler, chosen.tf32) == ("bf16", False, True)
    assert choose_precision("tf32", CUDA).tf32 and not choose_precision("fp32", CUDA).tf32
    pretend_cuda(monkeypatch, (7, 5))
    chosen = choose_precision("auto", CUDA)
    assert (chosen.name, chosen.scaler, chosen.tf32) == ("fp16", True, False)
    assert "imitates" in choose_precision("bf16", CUDA).reason
    with pytest.raises(LabError, match="compute capability"):
        choose_precision("tf32", CUDA)


def test_compile_is_automatic_on_gpus_and_asked_for_on_cpus():
    assert choose_compile("auto", CUDA, MACHINE)[0]
    assert not choose_compile("auto", CPU, MACHINE)[0]
    assert not choose_compile("auto", MPS, MACHINE)[0]
    assert choose_compile("on", CPU, MACHINE) == (True, "requested")
    assert choose_compile("off", CUDA, MACHINE) == (False, "requested")
    with pytest.raises(LabError, match="auto, on or off"):
        choose_compile("yes", CPU, MACHINE)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"compiler": None}, "compiler"),
        ({"triton": False}, "Triton"),
        ({"python_headers": False}, "header"),
        ({"torch": None}, "PyTorch"),
        ({"accelerators": (dataclasses.replace(MACHINE.accelerators[0], capability=(6, 1)),)}, "6.1"),
    ],
)
def test_compile_falls_back_and_names_what_is_missing(change, word):
    for name in ("auto", "on"):
        chosen, reason = choose_compile(name, CUDA, dataclasses.replace(MACHINE, **change))
        assert not chosen and word in reason


def test_threads_default_to_one_a_physical_core():
    before = torch.get_num_threads()
    try:
        assert use_threads(1) == 1 and torch.get_num_threads() == 1
        assert use_threads(0) == physical_cores() == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    with pytest.raises(LabError, match="threads"):
        use_threads(-1)


def test_the_measured_peak_is_a_plausible_number_of_operations():
    peak = measured_peak_flops(CPU, torch.float32, seconds=0.02)
    assert 1e7 < peak < 1e15


def test_gpus_have_the_names_that_a_process_is_given_them_by(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6, GPU-aa")
    assert visible_gpus() == ["6", "GPU-aa"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert visible_gpus() == []
