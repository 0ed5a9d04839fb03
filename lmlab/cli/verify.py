"""`lmlab verify`: compute the numbers of a study, an explanation or a comparison again, from its runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json


@dataclass(frozen=True)
class Verify:
    """Compute every number of a file again from its runs; exit status 1 where one differs or a run is missing."""

    file: tyro.conf.Positional[str] = ""
    """The study.json of lmlab study, the explain.json of lmlab explain, or what lmlab compare --json printed."""
    runs: str = ""
    """Where the runs are, under whatever names; default: the folder that the study's is in, else LMLAB_RUNS or ./runs."""
    all: bool = False
    """Print those that hold too."""
    json: bool = False
    """Every number as JSON."""


def run(arguments: list[str]) -> int:
    """Parse, compute, print."""
    flags = parse(Verify, arguments, "lmlab verify")
    if not flags.file:
        raise UsageError("lmlab verify needs a file: lmlab verify runs/study-NAME/study.json")
    from lmlab.study.verification import runs_beside, verify

    path = Path(flags.file)
    beside = None if flags.runs else runs_beside(path)
    found = verify(path, beside or runs_folder(flags.runs))
    if flags.json:
        show_json(found.to_json())
    else:
        held = [claim.line() for claim in found.claims if claim.holds and flags.all]
        show(*held, *found.wrong(), found.line())
    return 0 if found.holds else 1
