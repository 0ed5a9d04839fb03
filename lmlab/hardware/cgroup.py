"""CPU and memory limits of containers and job schedulers, from Linux control groups.

A machine of 64 cores may give a job four of them, and a program that starts 64 threads there is slow. Input: the
folder where control groups are mounted and the process's own list of them (both formats, versions 1 and 2). Output:
the tightest limits from the process's group up to the root, or None if there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def cpu_limit(mount: Path = MOUNT, membership: Path = MEMBERSHIP) -> float | None:
    """Return the CPU time that the process may use, in CPUs (may be fractional), or None if it isn't limited."""
    limits = []
    for folder in _folders(mount, membership, "cpu"):
        words = _words(folder / "cpu.max")
        if len(words) == 2 and words[0] != "max":
            limits.append(int(words[0]) / int(words[1]))
        quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
        if quota and period and int(quota[0]) > 0:
            limits.append(int(quota[0]) / int(period[0]))
    return min(limits, default=None)


def memory_limit(mount: Path = MOUNT, membership: Path = MEMBERSHIP) -> int | None:
    """Return the bytes of memory that the process's groups may hold, or None if they aren't limited."""
    return min((limit for limit, _ in _memory(mount, membership)), default=None)


def memory_left(mount: Path = MOUNT, membership: Path = MEMBERSHIP) -> int | None:
    """Return the bytes that the process's groups may still allocate, or None if they aren't limited."""
    return min((max(0, limit - used) for limit, used in _memory(mount, membership)), default=None)


def _memory(mount: Path, membership: Path) -> Iterator[tuple[int, int]]:
    for folder in _folders(mount, membership, "memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _words(folder / limit_name), _words(folder / used_name)
            # version 1 writes "no limit" as the largest multiple of a page below 2^63
            if limit and limit[0] != "max" and int(limit[0]) < 1 << 60:
                yield int(limit[0]), int(used[0]) if used else 0


def _folders(mount: Path, membership: Path, controller: str) -> Iterator[Path]:
    """Yield the process's group and those above it, of version 2 (`0::/path`) and of `controller` in version 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = mount / controller if controllers else mount
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield root.joinpath(*parts[:depth])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
