"""Where things that can be made again are kept between runs: downloads, prepared data sets, compiled code.

`LMLAB_CACHE` names the folder; without it, it's the system's place for such things.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lmlab import StorageError
from lmlab.files.storage import reason


def cache_folder() -> Path:
    """$LMLAB_CACHE, or `lmlab` in the user's cache folder of this system (not created here)."""
    chosen = os.environ.get("LMLAB_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lmlab"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "lmlab" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lmlab"


def make_folder(
    folder: Path, advice: str = "set LMLAB_CACHE to a folder that can be written", mode: int = 0o777
) -> Path:
    """`folder`, created with `mode` (less the umask) where it wasn't; StorageError, with the `advice`, where it can't be."""
    try:
        folder.mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} can't be created ({reason(error)}): {advice}") from None
    return folder
