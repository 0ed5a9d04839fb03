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

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT = DOCS / "performance.md"
ELSEWHERE = {"signal": DOCS / "studies" / "context-propagation.md"}
"""Parts whose table isn't in DOCUMENT."""
TARGETS = "targets"
PLACE = re.compile(
    r"(<!-- begin: (?P<name>[a-z-]+) -->(?P<line>\n?))(?P<old>.*?)(?P<last><!-- end: (?P=name) -->)", re.DOTALL
)
"""A block where a line ends behind its first marker, else a place within a line."""


def render(results: Sequence[Results]) -> dict[str, str]:
    """Part -> its Markdown, several results of a part in the order of their dates; and `targets`."""
    parts: dict[str, list[Results]] = {}
    for one in sorted(results, key=lambda one: str(one.context["date"])):
        parts.setdefault(one.part, []).append(one)
    made = {part: "\n\n".join(tables(same)) for part, same in parts.items()}
    return {TARGETS: targets_table(results), **made} if set(made) - set(ELSEWHERE) else made


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
        if text is None:
            return match[0]
        return f"{match[1]}\n{text}\n\n{match['last']}" if match["line"] else f"{match[1]}{text}{match['last']}"

    return PLACE.sub(filled, document)


def by_document(texts: Mapping[str, str], into: Path | None = None) -> dict[Path, dict[str, str]]:
    """Document -> the parts that go into it; all into `into` where that is given."""
    found: dict[Path, dict[str, str]] = {}
    for part, text in texts.items():
        found.setdefault(into or ELSEWHERE.get(part, DOCUMENT), {})[part] = text
    return found


def main() -> int:
    """Read, render, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="files that benchmarks wrote")
    parser.add_argument("--into", type=Path, help="one document for all tables")
    flags = parser.parse_args()
    try:
        results = [read_results(path) for path in flags.results]
        smoke = [str(path) for path, one in zip(flags.results, results, strict=True) if one.quick]
        if smoke:
            raise LabError(f"{smoke[0]} is of a smoke run, whose figures mean nothing: expected a run without --quick")
        for document, texts in by_document(render(results), flags.into).items():
            write_text(document, fill(document.read_text(encoding="utf-8"), texts))
    except (LabError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
