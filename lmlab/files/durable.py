"""Durable, atomic writes: when one of these returns, the bytes are on the disk; until then the old file is untouched.

The order is the usual one (write a temporary file in the same folder, fsync it, rename it over the target, fsync the
folder), because a rename inside one folder is atomic on POSIX file systems and on NTFS.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import numbers
import re
import secrets
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

from lmlab import LabError, StorageError
from lmlab.files.storage import DISK, Storage, reason, writing_failed
from lmlab.files.strict_json import parse_json

HASH_BLOCK = 1 << 20
LARGEST_JSON = 128 << 20
"""Size limit of JSON files without a limit of their own, in bytes; a tokenizer of millions of words is about as large."""
TEMPORARY = re.compile(r"\..+\.([0-9a-f]{16}|\d+)\.tmp")
"""Names of the temporary files of `write_bytes`; earlier versions had the process id in it."""


def write_bytes(path: Path, content: bytes, storage: Storage = DISK) -> None:
    """Write `content` to `path` atomically: a reader, or a crash, sees the old file or the new one, never a part.

    Raises StorageError if the system refuses (a full disk, a folder without permission); the old file is then untouched.
    """
    # A random name can't be predicted or collide: processes in two containers may have the same id.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            with storage.open(temporary) as file:
                storage.write(file, content)
                storage.flush(file)
            storage.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                storage.remove(temporary)
            raise
        storage.flush_folder(path.parent)
    except OSError as error:
        storage.require_owner()  # a new owner removes what an earlier one was writing
        raise writing_failed(path, error) from None


def remove_temporaries(folder: Path, storage: Storage = DISK) -> None:
    """Remove what killed writers have left in `folder`; for its only writer, between its own writes."""
    for entry in sorted(folder.iterdir()):
        if TEMPORARY.fullmatch(entry.name):
            with contextlib.suppress(OSError):
                if not stat.S_ISDIR(entry.lstat().st_mode):
                    storage.remove(entry)


def write_text(path: Path, text: str, storage: Storage = DISK) -> None:
    """`write_bytes` for UTF-8 text; line ends stay as given on every system."""
    write_bytes(path, text.encode("utf-8"), storage)


def write_json(path: Path, value: Any, storage: Storage = DISK) -> None:
    """Write a JSON value with `write_bytes`, indented; NaN and infinities become null, since JSON has none."""
    write_bytes(path, json_bytes(value), storage)


def json_bytes(value: Any) -> bytes:
    """Return a JSON value as the bytes that `write_json` writes."""
    text = json.dumps(without_nan(value), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode("utf-8", errors="backslashreplace")  # a lone surrogate becomes JSON's own escape


def without_nan(value: Any) -> Any:
    """Return `value` for JSON: at any depth NaN and infinities become None, and numpy numbers become Python ones."""
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(entry) for entry in value]
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return value


def read_json(path: Path, largest_bytes: int = LARGEST_JSON) -> Any:
    """Return the JSON value in `path`; raises LabError if it is missing, larger than it may be, not UTF-8 or not JSON.

    See `parse_json` for what else is refused.
    """
    try:
        if path.exists() and not path.is_file():
            raise LabError(f"{path} is not a file: expected JSON")
        if path.stat().st_size > largest_bytes:
            raise LabError(f"{path} is larger than {largest_bytes:,} bytes: expected a small JSON file")
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise LabError(f"{path} is missing: put it back from a copy") from None
    except ValueError as error:
        raise LabError(f"{path} is damaged: expected JSON ({error})") from None
    except OSError as error:
        raise LabError(f"{path} can't be read: {reason(error)}; check its permissions and the disk") from None


def sha256_of_file(path: Path, first_bytes: int | None = None) -> str:
    """Return the SHA-256 of a file's bytes, or of its first `first_bytes`, in hexadecimal."""
    digest = hashlib.sha256()
    left = sys.maxsize if first_bytes is None else first_bytes
    with open(path, "rb") as file:
        while block := file.read(min(HASH_BLOCK, left)):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def require_free_bytes(folder: Path, needed: int, purpose: str) -> None:
    """Raise StorageError unless the disk that holds `folder` has `needed` bytes free for `purpose`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{purpose} needs {needed / 1e6:,.1f} MB in {folder}, but the disk has {free / 1e6:,.1f} MB free: "
            "free some space or choose another folder"
        )
