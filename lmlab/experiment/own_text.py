"""From a file that someone has to a recipe for it: the facts that `lmlab.planning.choose` decides by."""

from __future__ import annotations

import re
from pathlib import Path

from lmlab import LabError
from lmlab.data import open_corpus
from lmlab.hardware import choose_device
from lmlab.planning.choose import Choice, TextFacts, choose_recipe
from lmlab.recipe import Data

LOOKED_AT_CHARACTERS = 2_000_000
COMPRESSION = 3.5
"""About how much larger text is than its compressed file."""


def recipe_for(
    corpus: str, device: str = "auto", size: str | None = None, steps: int | None = None, epochs: float | None = None
) -> Choice:
    """A recipe for the text at `corpus` on this machine; LabError where it can't be read or is too short."""
    return choose_recipe(look_at(corpus), choose_device(device).type, size, steps, epochs)


def look_at(corpus: str) -> TextFacts:
    """What is known of a text from its size and its first two million characters."""
    seen: set[str] = set()
    characters = documents = 0
    for document in open_corpus(Data(corpus=corpus)).documents(longest=LOOKED_AT_CHARACTERS):
        documents += 1
        seen.update(document.text)
        characters += len(document.text)
        if characters >= LOOKED_AT_CHARACTERS:
            break
    if not characters:
        raise LabError(f"{corpus} is empty: expected text")
    return TextFacts(
        name=_name(corpus),
        corpus=corpus,
        bytes=_bytes(corpus, characters),
        distinct_characters=len(seen),
        documents=documents,
    )


def _bytes(corpus: str, characters: int) -> int:
    path = Path(corpus)
    if corpus == "-" or not path.exists():
        return characters
    files = [entry for entry in path.rglob("*") if entry.is_file()] if path.is_dir() else [path]
    packed = (".gz", ".xz", ".zst", ".bz2", ".parquet")
    return int(sum(entry.stat().st_size * (COMPRESSION if entry.suffix in packed else 1) for entry in files))


def _name(corpus: str) -> str:
    stem = "text" if corpus == "-" else Path(corpus).name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "text"
