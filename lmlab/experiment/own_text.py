"""The facts about a user's text from which `lmlab.planning.texts.choose` chooses a recipe."""

from __future__ import annotations

import re
from pathlib import Path

from lmlab.data.progress import Progress
from lmlab.data.scan import no_text
from lmlab.data.sources import Source
from lmlab.data.survey import Survey, survey
from lmlab.planning.texts.choose import TextFacts
from lmlab.recipe import Data

LOOKED_AT_CHARACTERS = 2_000_000
MOST_BYTES_A_TOKEN = 5


def facts_of(
    source: Source, data: Data, tokenizer: str | None, vocabulary: int | None, progress: Progress
) -> tuple[TextFacts, Survey]:
    """Return the facts about a text from its size and its first two million characters; LabError where it is empty.

    `tokenizer` and `vocabulary` are the requested ones, None for a choice.
    """
    seen = survey(source, data.column, progress, LOOKED_AT_CHARACTERS)
    if not seen.characters:
        raise no_text(source, seen.skipped_files, seen.skipped_bytes)
    text_bytes = seen.text_bytes
    if source.in_shards and data.tokens is not None:
        # No tokenizer's tokens have more bytes in the mean, so that no text is called too short for its budget.
        text_bytes = min(text_bytes, data.tokens * MOST_BYTES_A_TOKEN)
    facts = TextFacts(
        name=_name(data.corpus),
        corpus=data.corpus,
        bytes=text_bytes,
        distinct_characters=len(seen.alphabet),
        words=round(seen.words * text_bytes / max(1, seen.characters)),
        tokenizer=tokenizer,
        vocabulary=vocabulary,
    )
    return facts, seen


def _name(corpus: str) -> str:
    stem = "text" if corpus == "-" else Path(corpus).name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "text"
