"""Write the tables of a document from results: `python -m benchmarks.render results/*.json [--into docs/performance.md]`.

A table of part `speed` goes between the lines `<!-- begin: speed -->` and `<!-- end: speed -->`; `targets` gathers what is
promised over all parts. What stands outside of such lines is left alone, and so is the table of a part without results.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.results import Results, read_results
from benchmarks.tables import tables, targets_table
from lmlab import LabError
from lmlab.files import write_text

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
TARGETS = "targets"
PLACE = re.compile(r"(<!-- begin: (?P<name>[a-z]+) -->\n)(?P<old>.*?)(?P<last><!-- end: (?P=name) -->)", re.DOTALL)


def render(results: Sequence[Results]) -> dict[str, str]:
    """Part -> its Markdown, several results of a part in the order of their dates; and `targets`."""
    parts: dict[str, list[Results]] = {}
    for one in sorted(results, key=lambda one: str(one.context["date"])):
        parts.setdefault(one.part, []).append(one)
    return {TARGETS: targets_table(results), **{part: "\n\n".join(tables(same)) for part, same in parts.items()}}


def fill(document: str, texts: Mapping[str, str]) -> str:
    """`document` with each text in its place; LabError where one has none."""
    places = {match["name"] for match in PLACE.finditer(document)}
    missing = sorted(set(texts) - places)
    if missing:
        raise LabError(
            f"the document has no place for {missing[0]}: expected the lines <!-- begin: {missing[0]} --> and "
            f"<!-- end: {missing[0]} -->"
        )

    def filled(match: re.Match[str]) -> str:
        text = texts.get(match["name"])
        return match[0] if text is None else f"{match[1]}\n{text}\n\n{match['last']}"

    return PLACE.sub(filled, document)


def main() -> int:
    """Read, render, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="files that benchmarks.cpu wrote")
    parser.add_argument("--into", type=Path, default=DOCUMENT)
    flags = parser.parse_args()
    try:
        results = [read_results(path) for path in flags.results]
        smoke = [str(path) for path, one in zip(flags.results, results, strict=True) if one.quick]
        if smoke:
            raise LabError(f"{smoke[0]} is of a smoke run, whose figures mean nothing: expected a run without --quick")
        write_text(flags.into, fill(flags.into.read_text(encoding="utf-8"), render(results)))
    except (LabError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
