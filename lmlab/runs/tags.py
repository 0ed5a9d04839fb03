"""tags.json: words that a person gave to a run, to find it by."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lmlab import LabError
from lmlab.files import read_json, write_json
from lmlab.runs.lines import FORMAT

NAME = "tags.json"
LARGEST_BYTES = 1 << 16
MOST = 100
TAG = re.compile(r"\w[\w.:/+-]{0,49}")


def check_tag(tag: str) -> str:
    """Return `tag`; raises LabError if it isn't valid."""
    if not TAG.fullmatch(tag):
        raise LabError(
            f"{tag[:60]!r} can't be a tag: expected up to 50 letters, digits, and . _ : / + - after the first"
        )
    return tag


def read_tags(folder: Path) -> tuple[str, ...]:
    """Return the tags of the run in `folder`, sorted; () if it has none; raises LabError if the file is damaged."""
    path = folder / NAME
    if not path.exists():
        return ()
    value = read_json(path, LARGEST_BYTES)
    tags = value.get("tags") if isinstance(value, dict) else None
    if not isinstance(tags, list) or not all(isinstance(tag, str) and TAG.fullmatch(tag) for tag in tags):
        raise LabError(f"{path} is damaged: expected a list of tags; remove it and give the tags again")
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    return tuple(sorted(set(tags)))


def change_tags(folder: Path, add: Iterable[str] = (), remove: Iterable[str] = ()) -> tuple[str, ...]:
    """Add tags to the run in `folder` and remove others; return the resulting tags. Allowed while the run trains."""
    tags = {*read_tags(folder), *map(check_tag, add)} - set(remove)
    if len(tags) > MOST:
        raise LabError(f"a run has at most {MOST} tags: take some away with --remove")
    write_json(folder / NAME, {"format": FORMAT, "tags": sorted(tags)})
    return tuple(sorted(tags))
