"""note.json: what a person wrote about a run, to read when it is looked at again."""

from __future__ import annotations

from pathlib import Path

from lmlab import LabError
from lmlab.files import read_json, write_json
from lmlab.runs.lines import FORMAT

NAME = "note.json"
LONGEST = 10_000
"""Characters."""
LARGEST_BYTES = 1 << 18


def check_note(note: str) -> str:
    """`note` without space around it, or LabError."""
    if len(note) > LONGEST:
        raise LabError(f"the note has {len(note):,} characters: expected at most {LONGEST:,}; put the rest into a file")
    return note.strip()


def read_note(folder: Path) -> str:
    """The note of the run in `folder`; empty where it has none, LabError where the file is damaged."""
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
    """Give the run in `folder` this note in place of the one that it has; the note. A run that trains can be given one too."""
    text = check_note(note)
    write_json(folder / NAME, {"format": FORMAT, "note": text})
    return text
