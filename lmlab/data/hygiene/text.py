"""One pass over all characters of a data set: hidden characters, very long lines, boilerplate, likely secrets."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmlab.data.dataset import Dataset
from lmlab.data.hygiene.characters import KINDS as CHARACTERS
from lmlab.data.hygiene.characters import name_of, odd_characters
from lmlab.data.hygiene.findings import AFTER_BYTES, EXAMPLES, Findings, visible
from lmlab.data.hygiene.lines import LONG_LINE_BYTES, Boilerplate, LongLines, fewest_repeats
from lmlab.data.hygiene.secrets import KINDS as SECRETS
from lmlab.data.hygiene.secrets import masked, secrets
from lmlab.data.hygiene.stretches import Places, stretches
from lmlab.data.progress import Progress

LINES = {"long_line": f"lines of {LONG_LINE_BYTES:,} bytes or more"}
KINDS = {**CHARACTERS, **LINES, **SECRETS}
"""The kinds of findings in the order of the report, with their descriptions."""
BOILERPLATE_LINES = 10
EXCERPT_BYTES = 2 * AFTER_BYTES


def look_at_text(dataset: Dataset, split: str, progress: Progress) -> dict[str, Any]:
    """Return the findings of a split as plain values: `findings` by kind, and `boilerplate` (None for tokenizers that lose line
    breaks).
    """
    size = int(dataset.units(split)["bytes"].sum())
    findings, long_lines = Findings(Places(dataset, split)), LongLines()
    boilerplate = Boilerplate(documents=len(dataset.document_starts(split)) - 1)
    progress.begin(f"reading {split}", size)
    for stretch in stretches(dataset, split):
        found = secrets(stretch.text)
        shown = masked(stretch.text, found)
        for kind, positions in odd_characters(stretch.text).items():
            named = positions[:EXAMPLES] if kind != "mojibake" else ()
            notes = [name_of(stretch.text, int(place)) for place in named]
            findings.add(kind, stretch, positions, shown, notes)
        for kind in SECRETS if found else ():
            chosen = [secret for secret in found if secret.kind == kind]
            findings.add(kind, stretch, np.array([secret.begin for secret in chosen], np.int64), shown)
        if dataset.lossless:
            positions, lengths = long_lines.find(stretch)
            findings.add("long_line", stretch, positions, shown, [f"{length:,} bytes" for length in lengths[:EXAMPLES]])
            boilerplate.sketch(stretch)
        progress.advance(len(stretch.text))
    return {
        "findings": findings.to_json(list(KINDS)),
        "boilerplate": _boilerplate(dataset, split, boilerplate, size, progress) if dataset.lossless else None,
    }


def _boilerplate(
    dataset: Dataset, split: str, boilerplate: Boilerplate, size: int, progress: Progress
) -> dict[str, Any]:
    if boilerplate.hopeful:
        progress.begin(f"counting lines of {split}", size)
        for stretch in stretches(dataset, split):
            boilerplate.count(stretch, masked(stretch.text, secrets(stretch.text)))
            progress.advance(len(stretch.text))
    found = boilerplate.found()
    places = Places(dataset, split)
    taken = sum(line.count * (len(line.line) + 1) for line in found)
    return {
        "counted": "documents" if boilerplate.by_document else "occurrences",
        "at_least": fewest_repeats(boilerplate.documents),
        "lines": len(found),
        "bytes": taken,
        "share_of_bytes": min(1.0, taken / size) if size else 0.0,
        "examples": [
            {
                "count": line.count,
                "documents": line.documents,
                **places.of_byte(line.document, line.offset),
                "excerpt": visible(line.line[:EXCERPT_BYTES]),
            }
            for line in found[:BOILERPLATE_LINES]
        ],
    }


def excerpt_of(text: bytes, before: bytes = b"") -> str:
    """Return the beginning of a text in one line with its secrets masked, including one that begins in `before`."""
    whole = before + text
    return visible(masked(whole, secrets(whole))[len(before) :][:EXCERPT_BYTES])
