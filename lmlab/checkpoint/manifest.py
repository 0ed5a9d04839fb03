"""manifest.json: the files of a checkpoint, with their SHA-256 and size.

    {"format": 1, "step": 250, "files": {"weights.safetensors": {"sha256": "...", "bytes": 3262240}, ...}, "extra": {}}

It is written last, so that a folder without one was never complete; its content is validated before it is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.checkpoint.hashed import FileFacts
from lmlab.checkpoint.layout import MANIFEST, STATE
from lmlab.files import is_link, is_plain_name, read_json, reason, sha256_of_file

FORMAT = 1
LARGEST_BYTES = 4 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")


def make_manifest(step: int, files: Mapping[str, FileFacts], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of a checkpoint with these files."""
    listed = {name: {"sha256": facts.sha256, "bytes": facts.bytes} for name, facts in files.items()}
    return {"format": FORMAT, "step": step, "files": listed, "extra": dict(extra)}


def read_manifest(folder: Path, step: int) -> dict[str, Any]:
    """Return the manifest in a checkpoint's folder; raises LabError if it is missing, or isn't that of `step`."""
    path = folder / MANIFEST
    value = read_json(path, LARGEST_BYTES)
    if not isinstance(value, dict) or not isinstance(value.get("files"), dict):
        raise LabError(f"{path} is damaged: expected a checkpoint's manifest")
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    if value.get("step") != step:
        raise LabError(f"{path} is damaged: it is of step {str(value.get('step'))[:20]}, its folder of step {step}")
    require_files(path, value["files"])
    return value


def require_files(path: Path, files: Any) -> None:
    """Raise LabError unless `files`, read from `path`, lists a checkpoint's files, each with its SHA-256 and size."""
    if not isinstance(files, dict):
        raise LabError(f"{path} is damaged: expected the files of a checkpoint")
    for name, facts in files.items():
        if not is_plain_name(name):
            raise LabError(f"{path} is damaged: {name[:80]!r} is not the name of a file in its folder")
        if not _describes_file(facts):
            raise LabError(f"{path} is damaged: {name} needs sha256 and bytes")
    if STATE not in files:
        raise LabError(f"{path} is damaged: it lists no {STATE}")


def verify_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Read every file that the manifest lists; raises LabError with the first one that is missing or changed."""
    for name, facts in manifest["files"].items():
        path = folder / name
        try:
            if is_link(path):
                raise LabError(f"{path} is a link: expected the file itself")
            if not path.is_file():
                raise LabError(f"{path} is missing")
            size = path.stat().st_size
            if size != facts["bytes"]:
                raise LabError(f"{path} is damaged: it has {size:,} bytes, its manifest states {facts['bytes']:,}")
            if sha256_of_file(path) != facts["sha256"]:
                raise LabError(f"{path} is damaged: its SHA-256 is not the manifest's")
        except OSError as error:
            raise LabError(f"{path} can't be read: {reason(error)}; check its permissions and the disk") from None


def _describes_file(facts: Any) -> bool:
    if not isinstance(facts, dict):
        return False
    digest, size = facts.get("sha256"), facts.get("bytes")
    return isinstance(digest, str) and SHA256.fullmatch(digest) is not None and type(size) is int and size >= 0
