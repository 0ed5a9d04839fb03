"""Downloading a file once: resumed where it was interrupted, verified by its SHA-256, then renamed into place.

Partial data is kept beside the target as `NAME.part`. If nothing can be downloaded, the error says which file to put where.
"""

from __future__ import annotations

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from io import FileIO
from pathlib import Path
from typing import Any

from lmlab import LabError, StorageError, __version__
from lmlab.data.progress import Progress, Silent
from lmlab.files import DISK, FileLock, flush_folder, make_folder, require_free_bytes, sha256_of_file, writing_failed

BLOCK = 1 << 18
TIMEOUT_SECONDS = 30
ATTEMPTS = 4


def download(
    addresses: Sequence[str],
    target: Path,
    *,
    sha256: str,
    size: int,
    progress: Progress | None = None,
    advice: str = "",
) -> Path:
    """Return `target`, downloaded from the first address that provides it whole; raises LabError, ending in `advice`, if none does.

    A broken connection is resumed where it broke, up to ATTEMPTS times in a row without a new byte.
    """
    progress = progress or Silent()
    if target.exists():
        return target
    make_folder(target.parent)
    lock = target.with_name(f".{target.name}.lock")
    with FileLock(lock, progress.say, f"another process is downloading {target.name}: waiting for it"):
        if not target.exists():
            _download(addresses, target, sha256, size, progress, f"; {advice}" if advice else "")
    return target


def _download(addresses: Sequence[str], target: Path, sha256: str, size: int, progress: Progress, tail: str) -> None:
    part = target.with_name(f"{target.name}.part")
    require_free_bytes(target.parent, max(0, size - _size(part)), f"downloading {target.name}")
    progress.begin(f"downloading {target.name}", size)
    progress.advance(min(_size(part), size))
    reason = "no address"
    for address in addresses:
        reason = _fetch(address, part, size, progress)
        if _size(part) == size:
            break
    else:
        raise LabError(
            f"{target.name} can't be downloaded ({reason}): put the file from {addresses[0]} (SHA-256 {sha256}) "
            f"at {target}{tail}"
        )
    found = sha256_of_file(part)
    if found != sha256:
        part.unlink()
        raise LabError(
            f"{target.name} came with SHA-256 {found}, expected {sha256}: the file changed at its source{tail}"
        )
    os.replace(part, target)
    flush_folder(target.parent)


def _fetch(address: str, part: Path, size: int, progress: Progress) -> str:
    """Append to `part` until it has `size` bytes or the address provides no more; return why it stopped."""
    reason = ""
    failures = 0
    while _size(part) < size and failures < ATTEMPTS:
        before = _size(part)
        try:
            _continue(address, part, size, progress)
            reason = f"the connection ended after {_size(part):,} of {size:,} bytes"
        except StorageError:
            raise  # from the local disk; other OSErrors are from the connection
        except urllib.error.HTTPError as error:
            return f"HTTP {error.code} {error.reason}"
        except (OSError, HTTPException, ValueError) as error:
            reason = str(getattr(error, "reason", None) or error)
            if before == _size(part) and isinstance(error, urllib.error.URLError):
                return reason  # no such host or no network: retrying would not help
        failures = failures + 1 if _size(part) == before else 0
    return reason


def _continue(address: str, part: Path, size: int, progress: Progress) -> None:
    """Request the missing bytes over one connection and append them; they are on the disk at its end."""
    have = _size(part)
    request = urllib.request.Request(address, headers={"User-Agent": f"lmlab/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        continues = response.status == 206 and str(response.headers.get("Content-Range", "")).startswith(
            f"bytes {have}-"
        )
        if have and not continues:
            progress.advance(-have)
            have = 0
        with _written(part):
            file = FileIO(part, "a" if have else "w")
        with file:
            try:
                _copy(response, file, part, size - have, progress)
            finally:
                with _written(part):
                    os.fsync(file.fileno())


def _copy(response: Any, file: FileIO, part: Path, most: int, progress: Progress) -> None:
    """Copy at most `most` bytes from the network to the file; raises ValueError if the server sends more, since it is another
    file then.
    """
    while block := response.read(min(BLOCK, most + 1)):
        if len(block) > most:
            raise ValueError("the server sends more bytes than the file has")
        with _written(part):
            DISK.write(file, block)
        most -= len(block)
        progress.advance(len(block))


@contextlib.contextmanager
def _written(part: Path) -> Iterator[None]:
    """Convert an OSError inside the context to the error for a write to `part`."""
    try:
        yield
    except OSError as error:
        raise writing_failed(part, error) from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
