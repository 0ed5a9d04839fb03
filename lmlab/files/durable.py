"""Durable writes: after any of these returns, the bytes are on the disk; before, the old file is untouched.

The order is the usual one (write a temporary file in the same folder, fsync it, rename it over the target, fsync the
folder), because a rename inside one folder is atomic on POSIX file systems and on NTFS.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from lmlab import LabError

HASH_BLOCK = 1 << 20


def flush_folder(folder: Path) -> None:
    """Ask the disk to keep `folder`'s list of names. Windows has no such call: there the rename itself is journalled."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: a reader, or a crash, sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for UTF-8 text; line ends stay as given on every system."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` for a JSON value, indented for people; NaN and infinities become null, since JSON has none."""
    write_text(path, json.dumps(without_nan(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """`value` with every NaN or infinite float replaced by None, in dicts, lists and tuples at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(entry) for entry in value]
    return value


def read_json(path: Path) -> Any:
    """The JSON value in `path`; LabError where it is missing, not UTF-8 or not JSON."""
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise LabError(f"{path} is missing") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise LabError(f"{path} is damaged: expected JSON ({error})") from None


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def require_free_bytes(folder: Path, needed: int, purpose: str) -> None:
    """LabError unless the disk that holds `folder` has `needed` bytes free for `purpose`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise LabError(
            f"{purpose} needs {needed / 1e6:,.1f} MB in {folder}, but the disk has {free / 1e6:,.1f} MB free: "
            "free some space or choose another folder"
        )
