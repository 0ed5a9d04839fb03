"""`lmlab verify`: compute the numbers of a study again, from its runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.errors import UsageError


@dataclass(frozen=True)
class Verify:
    """Hold every number of a study.json against the runs that it comes from; 1 where one doesn't hold or a run is missing."""

    file: tyro.conf.Positional[str] = ""
    """The study.json."""
    runs: str = ""
    """Where the runs are, under whatever names; default: the folder that the study's is in."""
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
    found = verify(path, runs_beside(path) if not flags.runs else runs_folder(flags.runs))
    if flags.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        for line in [claim.line() for claim in found.claims if claim.holds and flags.all] + found.wrong():
            print(line)
        print(found.line())
    return 0 if found.holds else 1
