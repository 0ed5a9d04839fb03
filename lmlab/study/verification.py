"""`lmlab verify`: every number of a study, an explanation or a comparison, computed again from its runs.

file -> ids of its runs -> the runs with these ids, whatever they are called by now -> the figures once more -> which hold
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import read_json
from lmlab.files.durable import without_nan
from lmlab.study.plan import PLAN
from lmlab.study.recomputing import RECOMPUTE, Shelf

FORMAT = 1
TOLERANCE = 1e-9
"""Relative: figures are computed in float64, and another machine may add in another order."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One number or word of a file."""

    place: str
    """Where it stands, such as effects[0].difference."""
    said: Any
    found: Any
    """What the runs give; None where they give nothing."""

    @property
    def holds(self) -> bool:
        """Whether both are the same, numbers to nine digits."""
        if _is_number(self.said) and _is_number(self.found):
            return math.isclose(self.said, self.found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return type(self.said) is type(self.found) and self.said == self.found

    def line(self) -> str:
        """In words."""
        if self.holds:
            return f"{self.place}: {_shown(self.said)} holds"
        return f"{self.place}: {_shown(self.said)} doesn't hold, the runs give {_shown(self.found)}"

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {**dataclasses.asdict(self), "holds": self.holds}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What became of a file's claims."""

    claims: tuple[Claim, ...]
    missing: tuple[str, ...]
    """A line for each run that isn't there."""

    @property
    def holds(self) -> bool:
        """Whether all is there, and every number holds."""
        return not self.missing and all(claim.holds for claim in self.claims)

    def wrong(self) -> list[str]:
        """A line for each missing run and for each claim that doesn't hold."""
        return [*self.missing, *(claim.line() for claim in self.claims if not claim.holds)]

    def line(self) -> str:
        """All of it in a line."""
        held = sum(claim.holds for claim in self.claims)
        of = f"{held:,} of {len(self.claims):,} figures hold"
        return of if not self.missing else f"{of}, {len(self.missing)} runs are missing"

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "holds": self.holds,
            "missing": list(self.missing),
            "claims": [claim.to_json() for claim in self.claims],
        }


def runs_beside(path: Path) -> Path | None:
    """The folder of runs that a study's file lies in, two floors up; None for a file that lies elsewhere."""
    folder = path.resolve().parent
    return folder.parent if (folder / PLAN).exists() else None


def verify(path: Path, runs: Path) -> Verification:
    """Hold the figures of the file at `path` against the runs in the folder `runs`; LabError where it has no such figures."""
    if not path.is_file():
        raise LabError(
            f"there is no file {path}: expected the study.json of lmlab study, the explain.json of lmlab explain, or what "
            "lmlab compare --json printed"
        )
    value = read_json(path)
    kind = value.get("kind") if isinstance(value, dict) else None
    again = RECOMPUTE.get(str(kind))
    if again is None:
        raise LabError(
            f"{path} has no figures that can be computed again: expected the study.json of lmlab study, the explain.json of lmlab "
            "explain, or what lmlab compare --json printed"
        )
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    try:
        found = again(value, str(path), Shelf(runs))
    except (KeyError, TypeError, AttributeError, IndexError):
        raise LabError(f"{path} is damaged: expected the runs that its figures come from") from None
    claims = [claim for place, said, now in found.figures for claim in _compared(place, said, without_nan(now))]
    return Verification(claims=tuple(claims), missing=tuple(found.missing))


def _compared(place: str, said: Any, found: Any) -> Iterator[Claim]:
    """A claim for each value below `place`; those that only one side has don't hold."""
    if isinstance(said, Mapping) and isinstance(found, Mapping):
        for name in dict.fromkeys([*said, *found]):
            yield from _compared(f"{place}.{name}", said.get(name), found.get(name))
    elif isinstance(said, list) and isinstance(found, list):
        for number in range(max(len(said), len(found))):
            pair = (values[number] if number < len(values) else None for values in (said, found))
            yield from _compared(f"{place}[{number}]", *pair)
    elif isinstance(said, (Mapping, list)) or isinstance(found, (Mapping, list)):
        yield Claim(place=place, said=_name_of(said), found=_name_of(found))
    else:
        yield Claim(place=place, said=said, found=found)


def _name_of(value: Any) -> Any:
    """A table that only one side has, in a word."""
    return value.get("name", value.get("cell", "a table")) if isinstance(value, Mapping) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)[:80]
