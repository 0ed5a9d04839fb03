"""Computes a chain.json again, from its runs and, where it is there, the judged.json beside it, which has the answers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.chain.result import JUDGED, judged_beside, read_chain, recomputed
from lmlab.files import without_nan
from lmlab.judge.verifying import differences, leaves, verify_judged
from lmlab.runs import Run
from lmlab.study.verify.bundle import NAME, pack, runs_named_in, unpack
from lmlab.study.verify.recomputing import RunIndex


@dataclass(frozen=True, kw_only=True)
class ChainCheck:
    """What was found."""

    figures: int
    """Those of chain.json and of judged.json."""
    wrong: tuple[str, ...]
    """A line for each that differs."""

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.wrong

    def line(self) -> str:
        """Return the result in words."""
        return f"{self.figures:,} figures {'hold' if self.holds else f'do not all hold: {len(self.wrong)} differ'}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json."""
        return {"holds": self.holds, "figures": self.figures, "wrong": list(self.wrong)}


def verify_chain(path: Path, runs: Path) -> ChainCheck:
    """Return whether every figure follows from the runs, which are those of the archive beside the file or else of `runs`.

    LabError where the file is damaged, or a run isn't there.
    """
    with _runs_of(path, runs) as folder:
        index = RunIndex(folder)

        def find(number: str) -> Run:
            if number not in index.runs:
                raise LabError(index.missing("of the chain", number))
            return index.runs[number]

        said = read_chain(path)
        computed = without_nan(recomputed(said, find, judged_beside(path)))
    count, wrong = sum(1 for _ in leaves(computed)), list(differences(said, computed, ""))
    if (path.parent / JUDGED).exists():
        judged = verify_judged(path.parent / JUDGED, runs)
        count, wrong = count + judged.figures, [*wrong, *(f"{JUDGED}: {line}" for line in judged.wrong)]
    return ChainCheck(figures=count, wrong=tuple(wrong))


def pack_chain(path: Path, runs: Path) -> tuple[Path, int]:
    """Write the archive beside the file from which its models can be recomputed; return its path and size in bytes.

    LabError where something doesn't hold, or a run isn't in `runs`.
    """
    value = read_chain(path)
    archive = path.parent / NAME
    archive.unlink(missing_ok=True)
    found = verify_chain(path, runs)
    if not found.holds:
        raise LabError(f"{path} is not packed, since not all of it holds: {found.wrong[0]}")
    return archive, pack(runs_named_in(value, RunIndex(runs).runs), archive)


@contextmanager
def _runs_of(path: Path, runs: Path) -> Iterator[Path]:
    archive = path.parent / NAME
    if not archive.exists():
        yield runs
        return
    with tempfile.TemporaryDirectory() as folder:
        unpack(archive, Path(folder))
        yield Path(folder)
