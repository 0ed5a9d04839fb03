"""The description of a machine: cores, memory, versions, of this machine and of simulated ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmlab.hardware import cpu
from lmlab.hardware import machine as machine_module
from lmlab.hardware.cpu import logical_cores, physical_cores
from lmlab.hardware.machine import accelerator_at, detect, find_accelerators, find_compiler
from lmlab.hardware.memory import _meminfo, free_memory_bytes, total_memory_bytes


def topology(folder: Path, siblings: dict[int, str]) -> Path:
    for thread, text in siblings.items():
        path = folder / f"cpu{thread}" / "topology"
        path.mkdir(parents=True)
        (path / "thread_siblings_list").write_text(text + "\n")
    return folder


def test_two_hardware_threads_of_a_core_count_once(tmp_path):
    folder = topology(tmp_path, {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5"})
    assert cpu.cores_of({0, 1, 4, 5}, folder) == 2
    assert cpu.cores_of({0, 4}, folder) == 1
    assert cpu.cores_of({0, 9}, folder) == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an operating system with affinity masks")
def test_a_process_on_one_core_sees_one_core():
    here = sorted(os.sched_getaffinity(0))[0]
    code = (
        f"import os; os.sched_setaffinity(0, {{{here}}}); "
        "from lmlab.hardware.machine import detect; machine = detect(accelerators=False); "
        "print(machine.physical_cores, machine.logical_cores)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["1", "1"]


def test_a_cpu_quota_rounds_up_to_whole_cores(monkeypatch):
    monkeypatch.setattr(cpu, "_allowed", lambda: set(range(64)))
    monkeypatch.setattr(cpu.sys, "platform", "linux")
    monkeypatch.setattr(cpu, "cores_of", lambda threads, folder: 32)
    monkeypatch.setattr(cpu, "cpu_limit", lambda: None)
    assert (cpu.logical_cores(), cpu.physical_cores()) == (64, 32)
    monkeypatch.setattr(cpu, "cpu_limit", lambda: 2.5)
    assert (cpu.logical_cores(), cpu.physical_cores()) == (3, 3)
    monkeypatch.setattr(cpu, "cpu_limit", lambda: 0.2)
    assert (cpu.logical_cores(), cpu.physical_cores()) == (1, 1)


def test_windows_records_of_processors_are_counted_by_relation():
    def record(relation: int) -> bytes:
        return (3).to_bytes(8, "little") + relation.to_bytes(4, "little") + bytes(20)

    assert cpu.cores_in(record(0) + record(2) + record(0) + record(3) + record(1), 8) == 2
    assert cpu.cores_in(b"", 8) == 0


def test_an_intel_and_an_arm_processor_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu.sys, "platform", "linux")
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("model name\t: Some  CPU @ 3.0GHz\nflags\t\t: fpu avx2 amx_bf16\n")
    assert cpu.cpu_name() == "Some CPU @ 3.0GHz"
    assert cpu.instructions() == ("avx2", "amx_bf16")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\nModel\t\t: A Small Board\n")
    assert cpu.cpu_name() == "A Small Board"
    assert cpu.instructions() == ("asimd", "bf16")
    (tmp_path / "cpuinfo").unlink()
    assert cpu.cpu_name() and cpu.instructions() == ()


def test_detect_describes_this_machine_without_importing_torch():
    code = (
        "import sys, json; from lmlab.hardware.machine import detect; machine = detect(accelerators=False); "
        "assert 'torch' not in sys.modules; print(json.dumps(machine.facts()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    facts = json.loads(told.stdout)
    assert facts["cpu"] and facts["memory"] > 0 and facts["system"]
    assert 1 <= facts["physical_cores"] <= facts["logical_cores"]
    assert facts["python"] == ".".join(str(part) for part in sys.version_info[:3])


def test_detect_names_the_versions_in_use():
    import torch

    machine = detect()
    assert machine.torch is not None and torch.__version__.startswith(machine.torch.split("+")[0])
    assert len([gpu for gpu in machine.accelerators if gpu.kind == "cuda"]) == torch.cuda.device_count()
    assert machine.logical_cores == logical_cores() and machine.physical_cores == physical_cores()


def test_the_compiler_is_the_one_that_cxx_names(tmp_path, monkeypatch):
    name = "my-compiler.exe" if sys.platform == "win32" else "my-compiler"
    program = tmp_path / name
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert find_compiler() is None
    monkeypatch.setenv("CXX", name)
    assert find_compiler() == str(program)


def test_memory_is_plausible_and_the_peak_grows_with_what_is_held():
    assert 0 < free_memory_bytes() <= total_memory_bytes()
    code = (
        "from lmlab.hardware.memory import peak_memory_bytes; before = peak_memory_bytes(); "
        "held = bytearray(b'x') * (before + 20_000_000); print(before, len(held), peak_memory_bytes())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, held, after = (int(word) for word in told.stdout.split())
    assert before > 1_000_000 and after >= held


def test_meminfo_is_read_in_bytes(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       1000 kB\nMemAvailable:    400 kB\n")
    found = [_meminfo(key, path) for key in ("MemTotal", "MemAvailable", "Absent")]
    assert found == [1_024_000, 409_600, 0]


def test_a_gpu_is_known_by_name_capability_and_driver(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    cards = [("NVIDIA L4", 24 << 30, 8, 9), ("Tesla T4", 16 << 30, 7, 5)]
    facts = [SimpleNamespace(name=name, total_memory=size, major=a, minor=b) for name, size, a, b in cards]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(facts))
    monkeypatch.setattr(torch.cuda, "get_device_properties", facts.__getitem__)
    monkeypatch.setattr(machine_module, "DRIVER", tmp_path / "version")
    assert [one.driver for one in find_accelerators()] == [None, None]
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version:  gcc 12.2.0\n"
    )
    second = accelerator_at(torch.device("cuda", 1))
    assert (second.name, second.memory, second.capability, second.driver) == ("Tesla T4", 16 << 30, (7, 5), "550.54.15")
    assert accelerator_at(torch.device("cuda")).name == "NVIDIA L4"
    assert accelerator_at(torch.device("cpu")) is None
