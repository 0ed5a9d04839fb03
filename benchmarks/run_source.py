"""Whether a run was trained by the code of the commit that it names."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

from benchmarks.machine import ROOT
from lmlab.runs.code import source_sha256


def differs_from_commit(commit: str | None, sha256: str, root: Path = ROOT) -> bool | None:
    """Whether the source with that hash (`origin.json`) isn't the package at `commit`; None where git can't tell."""
    if commit is None:
        return None
    try:
        packed = subprocess.run(["git", "archive", commit, "lmlab"], cwd=root, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if packed.returncode:
        return None
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
        return source_sha256(Path(folder) / "lmlab") != sha256
