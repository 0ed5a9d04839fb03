"""The files of a folder on the Hugging Face hub: listed once by its public tree API, then kept.

    GET ENDPOINT/api/datasets/REPOSITORY/tree/REVISION/FOLDER  ->  [{"type": "file", "path": ..., "size": ..., "lfs": {"oid": ...}}]

The list is stored in the cache as `corpora/NAME/listing.json`, so that every later preparation reads the same files. The hub states
the SHA-256 of large files (`lfs.oid`); it is part of what identifies the corpus.
"""

from __future__ import annotations

import dataclasses
import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.catalogue_entry import CatalogueEntry, HubFolder
from lmlab.data.progress import Progress
from lmlab.data.shards.http import get_json
from lmlab.files import make_folder, read_json, write_shared

ENDPOINT = "https://huggingface.co"
FORMAT = 1
LISTING = "listing.json"
PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
"""Paths that are used: no hidden ones, none that leads out of the folder."""
SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_PAGES = 1000
ENDING = ".parquet"


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One parquet file of a folder on the hub."""

    path: str
    """In the repository."""
    bytes: int
    sha256: str | None
    """As the hub states it; None if it doesn't."""


def endpoint() -> str:
    """Return the address of the hub, or of the mirror that HF_ENDPOINT names."""
    return (os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")


def address_of(folder: HubFolder, path: str) -> str:
    """Return where a file of the repository is fetched from."""
    return f"{endpoint()}/datasets/{folder.repository}/resolve/{folder.revision}/{urllib.parse.quote(path)}"


def hub_files(entry: CatalogueEntry, root: Path, progress: Progress, fetch: bool) -> tuple[HubFile, ...]:
    """Return the parquet files of a corpus, in the order of their paths, as listed when it was first used.

    Raises LabError if they were never listed and can't be now, or may not be (`fetch` false).
    """
    assert entry.hub is not None
    path = root / "corpora" / entry.name / LISTING
    known = _known(path, entry.hub)
    if known is not None:
        return known
    if not fetch and path.exists():
        raise LabError(
            f"{path} is damaged, or lists another revision: lmlab data prepare {entry.name} lists the files again"
        )
    if not fetch:
        raise LabError(
            f"{entry.name} was never read on this machine: lmlab data prepare {entry.name} --data.tokens 10M"
        )
    progress.begin(f"listing the files of {entry.name}", None)
    found = _listed(entry, progress)
    make_folder(path.parent)
    value = {
        "format": FORMAT,
        "repository": entry.hub.repository,
        "revision": entry.hub.revision,
        "folder": entry.hub.folder,
        "files": [dataclasses.asdict(file) for file in found],
    }
    write_shared(path, value)
    return found


def _known(path: Path, folder: HubFolder) -> tuple[HubFile, ...] | None:
    """Return the stored listing; None if there is none of this revision, or it is damaged."""
    if not path.exists():
        return None
    try:
        value = read_json(path)
        same = value["format"] == FORMAT and (value["repository"], value["revision"], value["folder"]) == (
            folder.repository,
            folder.revision,
            folder.folder,
        )
        return (
            tuple(_file(entry["path"], entry["bytes"], entry["sha256"]) for entry in value["files"]) if same else None
        )
    except (LabError, KeyError, TypeError, ValueError):
        return None


def _listed(entry: CatalogueEntry, progress: Progress) -> tuple[HubFile, ...]:
    folder = entry.hub
    assert folder is not None
    address: str | None = (
        f"{endpoint()}/api/datasets/{folder.repository}/tree/{folder.revision}/{urllib.parse.quote(folder.folder)}"
    )
    found: list[HubFile] = []
    for _ in range(MOST_PAGES):
        if address is None:
            break
        page, following = get_json(address, f"the list of {entry.name}'s files", progress)
        try:
            found += [_of_hub(value) for value in page if _is_parquet(value)]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LabError(
                f"the list of {entry.name}'s files at {address} is not one ({error!r}): expected entries with type, path and size"
            ) from None
        address = following
    if not found:
        raise LabError(f"{folder.repository} has no {ENDING} files in {folder.folder} at revision {folder.revision}")
    return tuple(sorted(found, key=lambda file: file.path))


def _is_parquet(value: Any) -> bool:
    return value["type"] == "file" and str(value["path"]).endswith(ENDING)


def _of_hub(value: Any) -> HubFile:
    large = value.get("lfs") or {}
    return _file(value["path"], value["size"], large.get("oid"))


def _file(path: Any, size: Any, sha256: Any) -> HubFile:
    """Return the file; raises ValueError for values that can't be one's."""
    if not isinstance(path, str) or not PATH.fullmatch(path):
        raise ValueError("a path has other characters than letters, digits and ._-/")
    if type(size) is not int or not 0 < size < 1 << 50:
        raise ValueError("a size is not a number of bytes")
    if sha256 is not None and not (isinstance(sha256, str) and SHA256.fullmatch(sha256)):
        raise ValueError("a hash is not a SHA-256")
    return HubFile(path=path, bytes=size, sha256=sha256)
