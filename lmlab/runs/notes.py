"""note.json: a person's note on a run."""

from __future__ import annotations

from pathlib import Path

from lmlab import LabError
from lmlab.files import read_json, write_json
from lmlab.runs.lines import FORMAT

NAME = "note.json"
LONGEST = 10_000
"""In characters."""
LARGEST_BYTES = 1 << 18


def check_note(note: str) -> str:
    """Return `note` without surrounding white space; raises LabError if it is too long."""
    if len(note) > LONGEST:
        raise LabError(f"the note has {len(note):,} characters: expected at most {LONGEST:,}; put the rest into a file")
    return note.strip()


def read_note(folder: Path) -> str:
    """Return the note of the run in `folder`; empty if it has none; raises LabError if the file is damaged."""
    path = folder / NAME
    if not path.exists():
        return ""
    value = read_json(path, LARGEST_BYTES)
    note = value.get("note") if isinstance(value, dict) else None
    if not isinstance(note, str) or len(note) > LONGEST:
        raise LabError(
            f"{path} is damaged: expected a note of at most {LONGEST:,} characters; remove it, or write another one"
        )
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    return note


def write_note(folder: Path, note: str) -> str:
    """Replace the note of the run in `folder` and return the stored text. Allowed while the run trains."""
    text = check_note(note)
    write_json(folder / NAME, {"format": FORMAT, "note": text})
    return text
