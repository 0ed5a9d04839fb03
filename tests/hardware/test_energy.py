"""Energy from simulated RAPL folders and a simulated NVML."""

from __future__ import annotations

import time
import types
from pathlib import Path

import pytest
import torch

from lmlab.hardware import energy, nvml
from lmlab.hardware.energy import EnergyMeter


def package(root: Path, name: str, microjoules: int, most: int = 262_143_328_850) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_packages_are_added_up_and_parts_of_a_package_are_not(tmp_path):
    one, two = package(tmp_path, "intel-rapl:0", 1_000_000), package(tmp_path, "intel-rapl:1", 5)
    core = package(tmp_path, "intel-rapl:0:0", 0)
    with EnergyMeter(tmp_path) as meter:
        (one / "energy_uj").write_text("3500000")
        (two / "energy_uj").write_text("500005")
        (core / "energy_uj").write_text("999999999")
    assert meter.joules == pytest.approx(3.0)
    assert meter.watts() == pytest.approx(3.0 / meter.seconds)


def test_a_counter_that_began_anew_is_unwound(tmp_path):
    one = package(tmp_path, "intel-rapl:0", 9_000_000, most=10_000_000)
    with EnergyMeter(tmp_path) as meter:
        (one / "energy_uj").write_text("500000")
    assert meter.joules == pytest.approx(1.5)


def test_a_counter_that_begins_anew_several_times_is_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "SECONDS_BETWEEN", 0.01)
    one = package(tmp_path, "intel-rapl:0", 0, most=1_000_000)
    with EnergyMeter(tmp_path) as meter:
        for reading in (600_000, 200_000, 800_000, 400_000):  # each 0.6 J further
            temporary = tmp_path / "energy"
            temporary.write_text(str(reading))
            temporary.replace(one / "energy_uj")
            time.sleep(0.1)
    assert meter.joules == pytest.approx(2.4)


def test_where_nothing_can_be_read_there_is_no_figure(tmp_path):
    folder = tmp_path / "intel-rapl:0"
    (folder / "energy_uj").mkdir(parents=True)  # reading it fails, as it does for anyone but root
    with EnergyMeter(tmp_path) as meter:
        pass
    assert meter.joules is None
    assert meter.watts() is None
    with EnergyMeter(tmp_path / "absent") as meter:
        pass
    assert meter.joules is None


class FakeGpu:
    """A GPU that draws 100 W, with or without a counter of its own."""

    def __init__(self, *, counts):
        self.counts, self.began = counts, time.perf_counter()

    def joules(self):
        return 5_000.0 + 100.0 * (time.perf_counter() - self.began) if self.counts else None

    def watts(self):
        return 100.0


@pytest.mark.parametrize("counts", [False, True])
def test_a_gpu_is_read_from_its_counter_or_integrated_over_time(tmp_path, counts):
    with EnergyMeter(tmp_path, FakeGpu(counts=counts)) as meter:
        time.sleep(0.2)
    assert meter.watts() == pytest.approx(100.0, rel=0.05)


class FakeNvml:
    """NVML with one GPU, GPU-aa, whose readings are `joules` and `watts`, where it has them."""

    def __init__(self, joules=None, watts=None):
        self.readings = {"joules": joules, "watts": watts}

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):
        return 0 if uuid == b"GPU-aa" else 6

    def read(self, name, number):
        if self.readings[name] is None:
            return 3  # NVML_ERROR_NOT_SUPPORTED
        number._obj.value = round(1000 * self.readings[name])
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, number):
        return self.read("joules", number)

    def nvmlDeviceGetPowerUsage(self, handle, number):
        return self.read("watts", number)


def test_nvml_is_read_by_the_device_s_own_uuid(monkeypatch):
    device = torch.device("cuda", 3)
    asked = []

    def properties(of):
        asked.append(of)
        return types.SimpleNamespace(uuid="aa")

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(nvml, "_library", lambda: FakeNvml(joules=12.5, watts=101.5))
    gpu = nvml.nvidia_gpu(device)
    assert asked == [device] and (gpu.joules(), gpu.watts()) == (12.5, 101.5)
    monkeypatch.setattr(nvml, "_library", lambda: FakeNvml())
    gpu = nvml.nvidia_gpu(device)
    assert (gpu.joules(), gpu.watts()) == (None, None)


def test_a_gpu_that_nvml_does_not_know_has_no_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid="bb"))
    monkeypatch.setattr(nvml, "_library", FakeNvml)
    assert nvml.nvidia_gpu(torch.device("cuda")) is None
    monkeypatch.setattr(nvml, "_library", lambda: None)
    assert nvml.nvidia_gpu(torch.device("cuda")) is None
    assert nvml.nvidia_gpu(torch.device("cpu")) is None
    with EnergyMeter(tmp_path, FakeGpuWithout()) as meter:
        pass
    assert meter.joules is None


class FakeGpuWithout:
    """A GPU that reports nothing."""

    def joules(self):
        return None

    def watts(self):
        return None
