"""An archive of what a file's figures are computed from: the plain files of its runs, without weights.

runs.tar.xz holds NAME/origin.json, NAME/metrics.jsonl, NAME/units-valid.npy and so on for each run. With it and a study.json every
figure can be computed again without the runs' checkpoints. The archive is untrusted: only plain files of these names and of a
bounded size are extracted.
"""

from __future__ import annotations

import io
import json
import lzma
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from lmlab import LabError, printable
from lmlab.files import is_plain_name, write_bytes
from lmlab.runs import Run, measures, task_results, text_scores

NAME = "runs.tar.xz"
FILES = (
    *("origin.json", "recipe.toml", "policy.json", "forecast.json", "summary.json", "tokenizer.json"),
    *("metrics.jsonl", "units-valid.npy"),
)
"""Files of each run, where they exist: all that figures are computed from. segments.jsonl names the machine, and isn't needed."""
FOLDERS: Mapping[str, re.Pattern[str]] = {
    name: re.compile(rf"(?:{pattern.pattern[: -len('json')]})(?:json|npy)")
    for name, pattern in (
        (task_results.FOLDER, task_results.FILE),
        (text_scores.FOLDER, text_scores.FILE),
        (measures.FOLDER, measures.FILE),
    )
}
"""Folders of each run whose files of these names belong to them, too: scores on tasks and on texts of others, and measures."""
MOST_BYTES, MOST_FILES = 1 << 30, 20_000
"""Limits of an unpacked archive."""


def runs_named_in(value: Any, runs: Mapping[str, Run]) -> list[Run]:
    """Return those of `runs` whose ids occur anywhere in the values of a file, in the order of occurrence."""
    found: dict[str, Run] = {}
    for text in _texts(value):
        if text in runs:
            found.setdefault(text, runs[text])
    return list(found.values())


def pack(runs: Iterable[Run], path: Path) -> int:
    """Write an archive of these runs to `path`, and return its size in bytes. The same runs give the same bytes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:xz", preset=9, format=tarfile.PAX_FORMAT) as archive:
        for run in sorted(runs, key=lambda run: run.name):
            for name in _files_of(run):
                data = (run.folder / name).read_bytes()
                entry = tarfile.TarInfo(f"{run.name}/{name}")  # no owner and no time
                data = _without_folders(data) if name == "origin.json" else data
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    write_bytes(path, content.getvalue())
    return len(content.getvalue())


def unpack(path: Path, folder: Path) -> None:
    """Extract the runs of the archive at `path` into `folder`; LabError where it isn't such an archive, or holds anything else."""
    size = count = 0
    try:
        with tarfile.open(path, mode="r:xz") as archive:
            for entry in archive:
                size, count = size + entry.size, count + 1
                if size > MOST_BYTES or count > MOST_FILES:
                    raise LabError(
                        f"{path} is too large: expected at most {MOST_BYTES >> 20} MiB in {MOST_FILES:,} files"
                    )
                place = PurePosixPath(entry.name)
                if not entry.isreg() or not _is_known(place):
                    raise LabError(
                        f"{path} holds {printable(entry.name[:80])}: expected only {FILES[0]} and the like, in a folder a run"
                    )
                data = archive.extractfile(entry)
                assert data is not None
                target = folder.joinpath(*place.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data.read())
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise LabError(f"{path} can't be read ({error}): expected an archive that lmlab verify --pack wrote") from None


def _files_of(run: Run) -> list[str]:
    """Return the files of a run that belong into an archive, relative to its folder."""
    found = [name for name in FILES if (run.folder / name).is_file()]
    for folder, pattern in FOLDERS.items():
        place = run.folder / folder
        names = sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []
        found += [f"{folder}/{name}" for name in names if pattern.fullmatch(name)]
    return found


def _is_known(place: PurePosixPath) -> bool:
    """Return whether an archive may hold a file at this place: RUN/FILE or RUN/FOLDER/FILE."""
    if not 2 <= len(place.parts) <= 3 or not is_plain_name(place.parts[0]):
        return False
    if len(place.parts) == 2:
        return place.name in FILES
    pattern = FOLDERS.get(place.parts[1])
    return pattern is not None and pattern.fullmatch(place.name) is not None


def _without_folders(origin: bytes) -> bytes:
    """Return origin.json without the folders in the command line, which may be private."""
    value = json.loads(origin)
    if isinstance(value, dict) and isinstance(value.get("command"), list):
        value["command"] = [Path(word).name if Path(str(word)).is_absolute() else word for word in value["command"]]
    return json.dumps(value).encode()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
