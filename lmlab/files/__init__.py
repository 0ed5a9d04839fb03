"""Files that survive a crash: written beside, flushed to the disk, then renamed over what was there."""

from lmlab.files.durable import (
    flush_folder,
    read_json,
    require_free_bytes,
    sha256_of_file,
    write_bytes,
    write_json,
    write_text,
)

__all__ = ["flush_folder", "read_json", "require_free_bytes", "sha256_of_file", "write_bytes", "write_json", "write_text"]
