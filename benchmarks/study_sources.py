"""Which source trained the runs of a published study: read from its archive, and compared with the commit that it names."""

from __future__ import annotations

import collections
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.worker import ROOT
from lmlab import LabError
from lmlab.files import read_json
from lmlab.runs.code import source_sha256
from lmlab.study.verify.bundle import unpack

VERSIONS = ("lmlab", "python", "torch", "numpy", "compiler")


def context_of_runs(archive: Path, command: list[str]) -> dict[str, Any]:
    """`context` of a published file: the command that makes it, and the sources, versions and machines of the archive's runs.

    `source` is that of most runs. It is dirty where the source of any run isn't what its commit has; LabError where a run doesn't
    say which commit it is of.
    """
    origins = origins_in(archive)
    sources = collections.Counter(_source(one) for one in origins)
    commit, sha256 = sources.most_common(1)[0][0]
    return {
        "command": command,
        "source": {
            "commit": commit,
            "dirty": not all(sha256_at(commit) == found for commit, found in sources),
            "source_sha256": sha256,
        },
        "runs_by_commit": {commit: count for (commit, _), count in sorted(sources.items())},
        "versions": _distinct({name: one.get(name) for name in VERSIONS} for one in origins if "hardware" in one),
        "machines": _distinct(one["hardware"] for one in origins if "hardware" in one),
    }


def origins_in(archive: Path) -> list[dict[str, Any]]:
    """What each run of an archive says of its beginning, by the runs' names."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(archive, Path(folder))
        return [read_json(path) for path in sorted(Path(folder).glob("*/origin.json"))]


def sha256_at(commit: str) -> str | None:
    """`lmlab.runs.code.source_sha256` of the package in a commit of this checkout; None where the commit isn't known here."""
    found = subprocess.run(["git", "archive", commit, "lmlab"], cwd=ROOT, capture_output=True, check=False)
    if found.returncode:
        return None
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(folder, filter="data")
        return source_sha256(Path(folder) / "lmlab")


def _source(origin: dict[str, Any]) -> tuple[str, str]:
    code = origin.get("code") or {}
    if not code.get("commit"):
        raise LabError(f"run {origin.get('id')} doesn't name its commit: train it from a checkout with git")
    return code["commit"], code["source_sha256"]


def _distinct(values: Any) -> list[Any]:
    """The different ones, in the order in which they first come."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
