"""Energy from simulated RAPL folders and a simulated nvidia-smi."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lmlab.hardware import energy
from lmlab.hardware.energy import EnergyMeter, nvidia_watts


def package(root: Path, name: str, microjoules: int, most: int = 262_143_328_850) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def no_gpu() -> None:
    return None


def test_packages_are_added_up_and_parts_of_a_package_are_not(tmp_path):
    one, two = package(tmp_path, "intel-rapl:0", 1_000_000), package(tmp_path, "intel-rapl:1", 5)
    core = package(tmp_path, "intel-rapl:0:0", 0)
    with EnergyMeter(tmp_path, no_gpu) as meter:
        (one / "energy_uj").write_text("3500000")
        (two / "energy_uj").write_text("500005")
        (core / "energy_uj").write_text("999999999")
    assert meter.joules == pytest.approx(3.0)
    assert meter.watts() == pytest.approx(3.0 / meter.seconds)


def test_a_counter_that_began_anew_is_unwound(tmp_path):
    one = package(tmp_path, "intel-rapl:0", 9_000_000, most=10_000_000)
    with EnergyMeter(tmp_path, no_gpu) as meter:
        (one / "energy_uj").write_text("500000")
    assert meter.joules == pytest.approx(1.5)


def test_a_counter_that_begins_anew_several_times_is_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "SECONDS_BETWEEN", 0.01)
    one = package(tmp_path, "intel-rapl:0", 0, most=1_000_000)
    with EnergyMeter(tmp_path, no_gpu) as meter:
        for reading in (600_000, 200_000, 800_000, 400_000):  # each 0.6 J further
            temporary = tmp_path / "energy"
            temporary.write_text(str(reading))
            temporary.replace(one / "energy_uj")
            time.sleep(0.1)
    assert meter.joules == pytest.approx(2.4)


def test_where_nothing_can_be_read_there_is_no_figure(tmp_path):
    folder = tmp_path / "intel-rapl:0"
    (folder / "energy_uj").mkdir(parents=True)  # reading it fails, as it does for anyone but root
    with EnergyMeter(tmp_path, no_gpu) as meter:
        pass
    assert meter.joules is None
    assert meter.watts() is None
    with EnergyMeter(tmp_path / "absent", no_gpu) as meter:
        pass
    assert meter.joules is None


def test_a_gpu_is_integrated_over_time(tmp_path):
    with EnergyMeter(tmp_path, lambda: 100.0) as meter:
        time.sleep(0.2)
    assert meter.watts() == pytest.approx(100.0, rel=0.05)


def test_nvidia_smi_is_read_where_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_watts() is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '101.5'\necho '20.5'\n")
    tool.chmod(0o755)
    if energy.shutil.which("nvidia-smi") is None:
        pytest.skip("a shell script is no program on this system")
    assert nvidia_watts() == 122.0
    tool.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert nvidia_watts() is None
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert nvidia_watts() is None
