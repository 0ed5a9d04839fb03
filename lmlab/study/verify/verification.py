"""`lmlab verify`: recompute every number of a study, an explanation, a comparison, a table of evaluations or a run.

file -> ids of its runs -> the runs with these ids, whatever their names -> recomputed figures -> which hold

The runs are taken from the archive beside the file (`study.verify.bundle`), which has everything that figures are computed from
except the weights, or from a folder of runs. Where the weights exist, `rescore` computes each run's loss from them.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import read_json
from lmlab.files.durable import without_nan
from lmlab.runs import Run, open_run
from lmlab.runs.run import ORIGIN
from lmlab.study.grid.study_plan import PLAN
from lmlab.study.verify import bundle
from lmlab.study.verify.recomputing import RECOMPUTE, RunIndex
from lmlab.study.verify.recomputing_run import figures_of_run, rescored

FORMAT = 1
SUMMARY = "summary.json"
TOLERANCE = 1e-9
"""Relative: figures are computed in float64, and another machine may add in another order."""
RESCORED_TOLERANCE = 1e-4
"""Relative, of a loss from the weights: another processor, engine or precision rounds differently."""
CHOSEN = re.compile(r"(^|\.)(level|cells\.[^.]*|weight|spent|loss_interval_level)$|\.cells\.|^reach\[")
"""Places of numbers that were chosen, such as weights of cells: they are compared, but don't count as figures."""
KNOWN = (
    "expected the study.json of lmlab study, the explain.json of lmlab explain, the output of lmlab compare --json, with --table "
    "or without, or of lmlab report --to json, the judged.json of lmlab judge, the chain.json of lmlab chain, or a finished run"
)


@dataclass(frozen=True, kw_only=True)
class FileFigure:
    """One number or word of a file."""

    place: str
    """Its place in the file, such as effects[0].difference."""
    said: Any
    found: Any
    """The value from the runs; None where they give none."""
    tolerance: float = TOLERANCE

    @property
    def measured(self) -> bool:
        """Whether it is a measured figure: neither a word, nor a count, nor a chosen number."""
        return isinstance(self.said, float) and CHOSEN.search(self.place) is None

    @property
    def holds(self) -> bool:
        """Whether both are the same, numbers within the tolerance."""
        if _is_number(self.said) and _is_number(self.found):
            return math.isclose(self.said, self.found, rel_tol=self.tolerance, abs_tol=self.tolerance)
        return type(self.said) is type(self.found) and self.said == self.found

    def line(self) -> str:
        """Return the claim as a line of text."""
        if self.holds:
            return f"{self.place}: {_shown(self.said)} holds"
        return f"{self.place}: {_shown(self.said)} doesn't hold, the runs give {_shown(self.found)}"

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return {**dataclasses.asdict(self), "measured": self.measured, "holds": self.holds}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of checking a file's claims."""

    claims: tuple[FileFigure, ...]
    missing: tuple[str, ...]
    """A line for each run that isn't there."""

    @property
    def holds(self) -> bool:
        """Whether no run is missing, and every number holds."""
        return not self.missing and all(claim.holds for claim in self.claims)

    def wrong(self) -> list[str]:
        """Return a line for each missing run and for each claim that doesn't hold."""
        return [*self.missing, *(claim.line() for claim in self.claims if not claim.holds)]

    def line(self) -> str:
        """Return a summary line."""
        figures = [claim for claim in self.claims if claim.measured]
        others = [claim for claim in self.claims if not claim.measured]
        of = f"{sum(claim.holds for claim in figures):,} of {len(figures):,} figures hold"
        if others:
            of += f", and {sum(claim.holds for claim in others):,} of {len(others):,} words, counts and settings"
        return of if not self.missing else f"{of}; {len(self.missing)} runs are missing"

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return {
            "holds": self.holds,
            "missing": list(self.missing),
            "claims": [claim.to_json() for claim in self.claims],
        }


def runs_beside(path: Path) -> Path | None:
    """Return the folder of runs that contains a study's file, two levels up; None for a file elsewhere."""
    folder = path.resolve().parent
    return folder.parent if (folder / PLAN).exists() else None


def files_of(reference: str, runs: Path) -> list[Path]:
    """Return the files to verify: the file of that name, those with figures in the folder of that name, or the summary of the run
    of that name in `runs`; LabError where there is none.
    """
    path = Path(reference)
    if path.is_file():
        return [path]
    if path.is_dir() and not (path / ORIGIN).is_file():
        found = [one for one in sorted(path.glob("*.json")) if _kind(one) in RECOMPUTE]
        if not found:
            raise LabError(f"{path} holds no file with figures: {KNOWN}")
        return found
    if path.suffix == ".json":
        raise LabError(f"there is no file {path}: {KNOWN}")
    return [open_run(reference, runs)[0].folder / SUMMARY]


def runs_for(path: Path, runs: Path, asked: bool) -> Path | None:
    """Return the folder with the runs of the file at `path`: `runs` where it was `asked` for, else the folder that contains the
    study's folder, else None for the archive beside the file, else `runs`.
    """
    if asked:
        return runs
    archive = (path.parent / bundle.NAME).is_file()
    return runs_beside(path) or (None if archive else runs)


def verify(path: Path, runs: Path | None, rescore: bool = False) -> Verification:
    """Recompute the figures of the file at `path`; LabError where it has none.

    Its runs are those in the folder `runs`, or without one those of the archive beside the file. `rescore` computes the loss of
    each run from its weights, too.
    """
    if path.name == SUMMARY and (path.parent / ORIGIN).is_file():
        return _verify_run(Run(path.parent), rescore)
    value = read_json(path)
    again = RECOMPUTE.get(str(value.get("kind") if isinstance(value, dict) else None))
    if again is None:
        raise LabError(f"{path} has no figures that can be recomputed: {KNOWN}")
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    with index_for(path, runs) as index:
        try:
            found = again(value, str(path), index)
        except (KeyError, TypeError, AttributeError, IndexError):
            raise LabError(f"{path} is damaged: expected the runs that its figures come from") from None
        claims = [claim for place, said, now in found.figures for claim in _compared(place, said, without_nan(now))]
        if rescore:
            named = bundle.runs_named_in(value, index.runs)
            claims += [_rescored(run, f"runs.{run.name}") for run in named if run.summary() is not None]
    return Verification(claims=tuple(claims), missing=tuple(found.missing))


def pack(path: Path, runs: Path) -> tuple[Path, int]:
    """Write the archive beside the file at `path` from which its figures can be recomputed, and return its path and size in bytes.
    LabError where a figure doesn't hold, or a run is missing in the folder `runs`.
    """
    found = verify(path, runs)
    if not found.holds:
        raise LabError(f"{path} is not packed, since not all of it holds: {found.wrong()[0]}")
    index = RunIndex(runs)
    archive = path.parent / bundle.NAME
    return archive, bundle.pack(bundle.runs_named_in(read_json(path), index.runs), archive)


@contextmanager
def index_for(path: Path, runs: Path | None) -> Iterator[RunIndex]:
    """Yield the index of the runs that a file's figures come from."""
    archive = path.parent / bundle.NAME
    if runs is not None or not archive.is_file():
        yield RunIndex(runs or Path("runs"))
        return
    with tempfile.TemporaryDirectory() as folder:
        bundle.unpack(archive, Path(folder))
        yield RunIndex(Path(folder))


def _verify_run(run: Run, rescore: bool) -> Verification:
    run.require_trained()
    summary = run.summary()
    if summary is None:
        raise LabError(f"{run.name} is not finished, so it has no figures to recompute: lmlab resume {run.name}")
    try:
        found = list(figures_of_run(run, summary))
    except (KeyError, TypeError, AttributeError, IndexError):
        raise LabError(f"{run.folder / SUMMARY} is damaged: expected the summary of a finished run") from None
    claims = [claim for place, said, now in found for claim in _compared(place, said, without_nan(now))]
    return Verification(claims=(*claims, *([_rescored(run, "final")] if rescore else [])), missing=())


def _rescored(run: Run, place: str) -> FileFigure:
    summary = run.summary()
    said = None if summary is None else summary["final"]["loss"]
    return FileFigure(
        place=f"{place}.loss from the weights", said=said, found=rescored(run), tolerance=RESCORED_TOLERANCE
    )


def _kind(path: Path) -> str:
    try:
        value = read_json(path)
    except LabError:
        return ""
    return str(value.get("kind")) if isinstance(value, dict) else ""


def _compared(place: str, said: Any, found: Any) -> Iterator[FileFigure]:
    """Yield a claim for each value below `place`; values on only one side don't hold."""
    if isinstance(said, Mapping) and isinstance(found, Mapping):
        for name in dict.fromkeys([*said, *found]):
            yield from _compared(f"{place}.{name}", said.get(name), found.get(name))
    elif isinstance(said, list) and isinstance(found, list):
        for number in range(max(len(said), len(found))):
            pair = (values[number] if number < len(values) else None for values in (said, found))
            yield from _compared(f"{place}[{number}]", *pair)
    elif isinstance(said, (Mapping, list)) or isinstance(found, (Mapping, list)):
        yield FileFigure(place=place, said=_name_of(said), found=_name_of(found))
    else:
        yield FileFigure(place=place, said=said, found=found)


def _name_of(value: Any) -> Any:
    """Return a word for a table that only one side has."""
    return value.get("name", value.get("cell", "a table")) if isinstance(value, Mapping) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)[:80]
