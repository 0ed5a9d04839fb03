"""Publish a study or an explanation in docs/studies: its values, pictures and tables, and the archive that it is verified from.

    python -m benchmarks.published_studies width-and-rate --runs RUNS      # from RUNS/study-width-and-rate
    python -m benchmarks.published_studies width-and-rate                  # `context` once more, from the archive that is there

The tables go into docs/studies/NAME/README.md between the lines <!-- begin: study --> and <!-- end: study -->; the text around them
is written by people, and left alone. A study that isn't finished, or of which a figure doesn't hold, is refused.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from benchmarks.study_sources import context_of_runs
from benchmarks.worker import ROOT
from lmlab import LabError
from lmlab.files import read_json, write_json, write_text
from lmlab.study.verify.bundle import NAME
from lmlab.study.verify.verification import pack, verify

DOCS = ROOT / "docs" / "studies"
PICTURES = ("effects.png", "cells.png", "shares.png")
BEGIN, END = "<!-- begin: study -->", "<!-- end: study -->"


def main() -> int:
    """Copy, pack, verify, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="+", help="studies in RUNS")
    parser.add_argument(
        "--runs", type=Path, help="default: none; only `context` is written, from the archives in docs/studies"
    )
    flags = parser.parse_args()
    try:
        for name in flags.names:
            if flags.runs is None:
                print(f"{name}: {add_context(DOCS / name)}")
            else:
                print(publish(flags.runs / f"study-{name}", DOCS / name, flags.runs))
    except LabError as error:
        print(f"published_studies: {error}", file=sys.stderr)
        return 1
    return 0


def publish(made: Path, place: Path, runs: Path) -> str:
    """What became of it, in a line."""
    values = "explain.json" if (made / "explain.json").exists() else "study.json"
    found = read_json(made / values)
    if not found.get("complete", True):
        raise LabError(f"{made.name} is not finished: run its command again")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(made / values, place / values)
    for picture in PICTURES:
        if (made / picture).exists():
            shutil.copy(made / picture, place / picture)
    archive, size = pack(place / values, runs)
    add_context(place)
    checked = verify(place / values, None)
    text = (made / values).with_suffix(".md").read_text(encoding="utf-8")
    page = place / "README.md"
    before = page.read_text(encoding="utf-8") if page.exists() else f"# {place.name}\n\n{BEGIN}\n{END}\n"
    write_text(page, filled(before, tables_of(text, [one for one in PICTURES if (place / one).exists()])))
    return f"{place.relative_to(ROOT)}: {checked.line()}; {archive.name} {size:,} bytes"


def add_context(place: Path) -> str:
    """Write into the values in the folder `place` which command and which source made them; the source in words."""
    explained = (place / "explain.json").exists()
    path = place / ("explain.json" if explained else "study.json")
    values = read_json(path)
    words = ["explain", place.name] if explained else ["study", place.name, "--seeds", str(values["plan"]["seeds"])]
    context = context_of_runs(place / NAME, ["python", "-m", "lmlab", *words])
    write_json(path, {**{name: value for name, value in values.items() if name != "context"}, "context": context})
    source = context["source"]
    return (
        f"source {source['commit'][:10]}{', which is not what its runs were trained with' if source['dirty'] else ''}"
    )


def tables_of(text: str, pictures: list[str]) -> str:
    """The part of study.md or explain.md that a page shows: without its title, and without the list of runs."""
    body = re.split(r"\n#+ Runs\n", text.partition("\n")[2])[0].strip()
    body = re.sub(r"!\[[a-z]+\]\([a-z]+\.png\)\n*", "", body)
    shown = "\n".join(f"![{Path(one).stem}]({one})" for one in pictures)
    return f"{shown}\n\n{body}"


def filled(page: str, tables: str) -> str:
    """The page with these tables in their place; LabError where it has none."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise LabError(f"the page has no place for its tables: expected the lines {BEGIN} and {END}")
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{tables}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    sys.exit(main())
