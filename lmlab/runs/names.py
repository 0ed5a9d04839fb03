"""Run names, and references to runs on the command line: NAME, FOLDER or tag:TAG, with @best, @latest, @init or @STEP."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from lmlab import LabError
from lmlab.files import is_plain_name

NAME = re.compile(r"\w[\w.+-]*")
LONGEST = 100
WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
CHECKPOINT = re.compile(r"best|latest|init|[0-9]{1,12}")


def is_run_name(name: str) -> bool:
    """Return whether a run may have this name: letters, digits, and . _ + - after the first; valid as a folder's name on every
    system.
    """
    fits = NAME.fullmatch(name) is not None and len(name) <= LONGEST and is_plain_name(name)
    return fits and not WINDOWS_DEVICES.fullmatch(name)


def check_name(name: str) -> str:
    """Return `name`; raises LabError if it isn't a valid run name."""
    if not is_run_name(name):
        raise LabError(f"a run can't be named {name[:60]!r}: expected up to {LONGEST} letters, digits, and . _ + -")
    return name


def stem_of(recipe: str) -> str:
    """Return the prefix of the names of a recipe's runs: the recipe's name, made valid.

    >>> stem_of("my text (2)")
    'my-text-2'
    """
    stem = re.sub(r"[^\w.+-]+", "-", recipe)[: LONGEST - 10].strip("-._+")
    return stem if is_run_name(stem) else "run"


def numbered_names(stem: str, taken: Iterable[str]) -> Iterable[str]:
    """Yield STEM-N, STEM-(N+1), ... starting above the highest number in `taken`, so that no number is used twice."""
    pattern = re.compile(re.escape(stem) + r"-([0-9]{1,9})")
    numbers = (int(match[1]) for match in map(pattern.fullmatch, taken) if match)
    number = max(numbers, default=0)
    while True:
        number += 1
        yield f"{stem}-{number}"


def split_reference(reference: str) -> tuple[str, str | None]:
    """Split runs/x@250 into ("runs/x", "250"), and x into ("x", None); raises LabError if the part after @ isn't a checkpoint."""
    place, at, which = reference.rpartition("@")
    if not at or "/" in which or "\\" in which:
        return reference, None
    if not CHECKPOINT.fullmatch(which) or not place:
        hint = nearest(which, ("best", "latest", "init")) or "expected best, latest, init or a step"
        raise LabError(
            f"there is no checkpoint '@{which[:40]}': {hint}, as in {place or 'RUN'}@best or {place or 'RUN'}@250"
        )
    return place, which


def nearest(word: str, among: Sequence[str]) -> str:
    """Return "did you mean X?" if a name is similar, else an empty string."""
    close = difflib.get_close_matches(word, among, n=1)
    return f"did you mean {close[0]}?" if close else ""


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names in natural order: first-2 before first-10."""

    def parts(name: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]

    return sorted(names, key=parts)
