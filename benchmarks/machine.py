"""Where and with what a benchmark ran: what must stand beside its figures for anyone to judge them.

A benchmark asks for `context` before it writes anything, so that its own output doesn't count as a change. A result file whose
source was `dirty` can't be made again from a commit: `tests/project/test_provenance.py` refuses it.
"""

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
from lmlab.hardware.machine import detect
from lmlab.runs.code import git_commit, source_sha256

ROOT = Path(__file__).parents[1]
INSTRUCTION_LIMITS = ("MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
"""Variables by which PyTorch and its libraries use less than the processor has."""
WRITTEN = ("docs", "README.md", "benchmarks/results")
"""Where benchmarks write: results and pages, none of which any measured code reads."""
BUSY = 0.5
"""A load average above this at the start means that something else was computing."""


def context(nanogpt: Path | None) -> dict[str, Any]:
    """Date, command, machine, versions and source, now; a line on stderr where the source has changes without a commit."""
    facts = detect(accelerators=False).facts()
    changed = changed_files(ROOT)
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        print(
            f"benchmarks: {changed[0]}{more} differs from the commit, so the result says `dirty` and can't be published: "
            "commit or stash first",
            file=sys.stderr,
        )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
        "machine": {**facts, "limits": instruction_limits(), "load_average_before": load_average()},
        "versions": versions(facts["compiler"]),
        "source": {
            "commit": git_commit(ROOT),
            "dirty": None if changed is None else bool(changed),
            "source_sha256": source_sha256(),
            "nanogpt": None if nanogpt is None else nanogpt_version(nanogpt),
        },
    }


def command() -> list[str]:
    """The words that started this process, without the folders of this machine: python -m MODULE WORDS."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        started = ["-m", spec.name.removesuffix(".__main__")]
    else:
        started = [without_folder(sys.argv[0])]
    return ["python", *started, *map(without_folder, sys.argv[1:])]


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


def changed_files(root: Path) -> list[str] | None:
    """Paths that differ from the commit, new ones too, without results and pages (WRITTEN); None where git doesn't tell."""
    leave_out = [f":(exclude){path}" for path in WRITTEN]
    words = ["git", "status", "--porcelain", "--untracked-files=all", "--", ".", *leave_out]
    try:
        asked = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return [line[3:] for line in asked.stdout.splitlines()] if asked.returncode == 0 else None


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


def without_folder(word: str) -> str:
    """A path outside of the repository as its last part, also behind `--flag=`: other folders are private.

    A path inside of it is given from its root.
    """
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    path = Path(value)
    if path.is_absolute() or ".." in path.parts:
        full = Path(os.path.normpath(path.absolute()))
        value = full.relative_to(ROOT).as_posix() if full.is_relative_to(ROOT) and full != ROOT else full.name
    return f"{flag}{equals}{value}"


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
