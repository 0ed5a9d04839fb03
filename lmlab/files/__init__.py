"""Crash-safe files: written to a temporary file, flushed to the disk, then renamed over the target."""

from lmlab.files.blocks import BlockWriter, new_file
from lmlab.files.cache import cache_folder, make_folder, place_for_folder
from lmlab.files.durable import (
    json_bytes,
    read_json,
    remove_temporaries,
    require_free_bytes,
    sha256_of_file,
    without_nan,
    write_bytes,
    write_json,
    write_text,
)
from lmlab.files.leftovers import (
    TemporaryFolder,
    file_system_time,
    remove_dead,
    remove_old_temporaries,
    temporary_folder,
    write_shared,
)
from lmlab.files.links import is_link
from lmlab.files.lock import FileLock, try_lock
from lmlab.files.names import is_plain_name
from lmlab.files.storage import DISK, Owned, Storage, advice, flush_folder, reason, remove_tree, writing_failed
from lmlab.files.strict_json import parse_json, require_few

__all__ = [
    "DISK",
    "BlockWriter",
    "FileLock",
    "Owned",
    "Storage",
    "TemporaryFolder",
    "advice",
    "cache_folder",
    "file_system_time",
    "flush_folder",
    "is_link",
    "is_plain_name",
    "json_bytes",
    "make_folder",
    "new_file",
    "parse_json",
    "place_for_folder",
    "read_json",
    "reason",
    "remove_dead",
    "remove_old_temporaries",
    "remove_temporaries",
    "remove_tree",
    "require_few",
    "require_free_bytes",
    "sha256_of_file",
    "try_lock",
    "without_nan",
    "temporary_folder",
    "write_bytes",
    "write_json",
    "write_shared",
    "write_text",
    "writing_failed",
]
