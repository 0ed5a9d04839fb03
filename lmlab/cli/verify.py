"""`lmlab verify`: recompute the numbers of a study, an explanation, a comparison or a run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json

JUDGED, CHAIN = "judged.json", "chain.json"


@dataclass(frozen=True)
class Verify:
    """Recompute every number of a file from its runs; exit status 1 where one differs or a run is missing.

    The runs are taken from runs.tar.xz beside the file, which --pack writes and which needs no weights, or from a folder of runs.
    """

    file: tyro.conf.Positional[str] = ""
    """The study.json of lmlab study, the explain.json of lmlab explain, the judged.json of lmlab judge, the chain.json of lmlab
    chain, the output of lmlab compare --json or of lmlab report --to json, a folder with such files, or a finished run."""
    runs: str = ""
    """Where the runs are, under any names; default: the folder that a study's folder is in, the archive beside the file, else
    LMLAB_RUNS or ./runs."""
    rescore: bool = False
    """Compute each run's loss from its weights, too."""
    pack: bool = False
    """Write runs.tar.xz beside the file: everything that its figures are computed from, without weights."""
    all: bool = False
    """Also print those that hold."""
    json: bool = False
    """Every number as JSON."""


def run(arguments: list[str]) -> int:
    """Parse, recompute, print; return the exit status."""
    flags = parse(Verify, arguments, "lmlab verify")
    if not flags.file:
        raise UsageError("lmlab verify needs a file: lmlab verify runs/study-NAME/study.json")
    if Path(flags.file).name == JUDGED:
        return _judged(flags)
    if Path(flags.file).name == CHAIN:
        return _chain(flags)
    from lmlab.recipe.quantities import byte_count
    from lmlab.study.verify.verification import files_of, pack, runs_for, verify

    root = runs_folder(flags.runs)
    files = files_of(flags.file, root)
    results = {}
    for path in files:
        runs = runs_for(path, root, asked=bool(flags.runs) or flags.rescore)
        results[path] = verify(path, runs, flags.rescore)
        if flags.pack:
            archive, size = pack(path, runs or root)
            show(f"{archive} ({byte_count(size)})", file=sys.stderr if flags.json else None)
    if flags.json:
        values = [{"file": str(path), **found.to_json()} for path, found in results.items()]
        show_json(values[0] if len(values) == 1 else {"holds": all(one["holds"] for one in values), "files": values})
    else:
        for path, found in results.items():
            held = [claim.line() for claim in found.claims if claim.holds and flags.all]
            title = f"{path.name}: " if len(files) > 1 else ""
            show(*held, *found.wrong(), f"{title}{found.line()}")
    return 0 if all(found.holds for found in results.values()) else 1


def _judged(flags: Verify) -> int:
    """Verify the file of lmlab judge, which holds all that its figures follow from."""
    from lmlab.judge.verifying import MOST_SHOWN, verify_judged

    if flags.rescore or flags.pack:
        raise UsageError(f"--rescore and --pack are for files about runs' losses: {JUDGED} holds what it follows from")
    path = Path(flags.file)
    found = verify_judged(path, runs_folder(flags.runs))
    if flags.json:
        show_json({"file": str(path), **found.to_json()})
    else:
        show(*found.wrong[:MOST_SHOWN], found.line())
    return 0 if found.holds else 1


def _chain(flags: Verify) -> int:
    """Verify the file of lmlab chain, with the comparison of answers beside it."""
    from lmlab.chain.verifying import pack_chain, verify_chain
    from lmlab.judge.verifying import MOST_SHOWN

    path = Path(flags.file)
    if flags.rescore:
        raise UsageError("--rescore is for files about runs' losses: verify the chain's runs one by one")
    if flags.pack:
        archive, _ = pack_chain(path, runs_folder(flags.runs))
        show(archive, file=sys.stderr if flags.json else None)
    found = verify_chain(path, runs_folder(flags.runs))
    if flags.json:
        show_json({"file": str(path), **found.to_json()})
    else:
        show(*found.wrong[:MOST_SHOWN], found.line())
    return 0 if found.holds else 1
