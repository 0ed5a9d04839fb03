"""Where and with what a benchmark ran: what must stand beside its figures for anyone to judge them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lmlab import LabError, __version__
from lmlab.hardware import detect
from lmlab.runs.code import git_commit, source_sha256

ROOT = Path(__file__).parents[1]
INSTRUCTION_LIMITS = ("MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
"""Variables by which PyTorch and its libraries use less than the processor has."""
BUSY = 0.5
"""A load average above this at the start means that something else was computing."""


def context(nanogpt: Path | None) -> dict[str, Any]:
    """Date, command, machine, versions and source, now."""
    facts = detect(accelerators=False).facts()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["python", "-m", "benchmarks.cpu", *map(_without_folder, sys.argv[1:])],
        "machine": {**facts, "limits": instruction_limits(), "load_average_before": load_average()},
        "versions": versions(facts["compiler"]),
        "source": {
            "commit": git_commit(ROOT),
            "dirty": dirty(ROOT),
            "source_sha256": source_sha256(),
            "nanogpt": None if nanogpt is None else nanogpt_version(nanogpt),
        },
    }


def instruction_limits() -> dict[str, str]:
    """Those of INSTRUCTION_LIMITS that are set."""
    return {name: os.environ[name] for name in INSTRUCTION_LIMITS if os.environ.get(name)}


def load_average() -> list[float] | None:
    """Processes that wanted to run, over the last 1, 5 and 15 minutes; None on Windows."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None


def versions(compiler: str | None) -> dict[str, str | None]:
    """Of everything that figures depend on; None where it isn't installed."""
    return {
        "python": platform.python_version(),
        "lmlab": __version__,
        "torch": _installed("torch"),
        "numpy": _installed("numpy"),
        "transformers": _installed("transformers"),
        "compiler": _compiler(compiler),
    }


def dirty(root: Path) -> bool | None:
    """Whether the checkout differs from its commit; None where git doesn't tell."""
    try:
        asked = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return bool(asked.stdout.strip()) if asked.returncode == 0 else None


def nanogpt_version(checkout: Path) -> dict[str, str | None]:
    """Its commit where the checkout has one, and a hash of the two files that are measured."""
    try:
        digest = hashlib.sha256(b"".join((checkout / name).read_bytes() for name in ("model.py", "train.py")))
    except OSError:
        raise LabError(f"{checkout} has no model.py and train.py: expected a checkout of nanoGPT") from None
    return {"commit": git_commit(checkout), "sha256": digest.hexdigest()}


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _without_folder(word: str) -> str:
    """An absolute path's last part: where somebody keeps their files is nobody's business."""
    return Path(word).name if Path(word).is_absolute() else word


def _compiler(found: str | None) -> str | None:
    """What a compiler says of itself, and the flags that $CXX adds."""
    words = shlex.split(os.environ.get("CXX", "")) or ([] if found is None else [found])
    line = _first_line([words[0], "--version"]) if words else None
    return None if line is None else " ".join([line, *words[1:]])


def _first_line(command: list[str]) -> str | None:
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (said.stdout or said.stderr).splitlines()
    return lines[0].strip() if lines else None
