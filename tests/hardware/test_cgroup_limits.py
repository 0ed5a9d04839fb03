"""Limits of containers, read from simulated control group folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmlab.hardware.cgroup import cpu_limit, memory_left, memory_limit


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_version_2_takes_the_tightest_limit_on_the_way_up(tmp_path):
    mount, membership = tmp_path / "cgroup", tmp_path / "self"
    membership.write_text("0::/jobs/mine\n")
    put(mount / "jobs/mine/cpu.max", "max 100000\n")
    put(mount / "jobs/cpu.max", "250000 100000\n")
    put(mount / "jobs/mine/memory.max", "4000000000\n")
    put(mount / "jobs/mine/memory.current", "1000000000\n")
    put(mount / "jobs/memory.max", "8000000000\n")
    put(mount / "jobs/memory.current", "7500000000\n")
    assert cpu_limit(mount, membership) == 2.5
    assert memory_limit(mount, membership) == 4_000_000_000
    assert memory_left(mount, membership) == 500_000_000


def test_version_1_reads_the_controllers_own_folders(tmp_path):
    mount, membership = tmp_path / "cgroup", tmp_path / "self"
    membership.write_text("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n")
    put(mount / "cpu/cpu.cfs_quota_us", "150000")
    put(mount / "cpu/cpu.cfs_period_us", "100000")
    put(mount / "memory/memory.limit_in_bytes", "2000000000")
    put(mount / "memory/memory.usage_in_bytes", "500000000")
    assert cpu_limit(mount, membership) == 1.5
    assert memory_left(mount, membership) == 1_500_000_000


@pytest.mark.parametrize("membership", ["", "0::/\n", "nonsense\n", "3:cpu:/\n4:memory:/\n"])
def test_no_limit_is_none(tmp_path, membership):
    mount, path = tmp_path / "cgroup", tmp_path / "self"
    path.write_text(membership)
    put(mount / "cpu.max", "max 100000")
    put(mount / "cpu/cpu.cfs_quota_us", "-1")
    put(mount / "cpu/cpu.cfs_period_us", "100000")
    put(mount / "memory/memory.limit_in_bytes", "9223372036854771712")
    assert cpu_limit(mount, path) is None
    assert memory_limit(mount, path) is None
    assert memory_left(mount, path) is None
    assert cpu_limit(mount, tmp_path / "absent") is None
