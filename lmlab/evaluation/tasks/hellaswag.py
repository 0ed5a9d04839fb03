"""HellaSwag (Zellers et al., 2019, arXiv 1905.07830): which of four endings follows.

Two forms are read. The original JSONL, whose texts are prepared as in lm-evaluation-harness 0.4.13 (the second part of the context
capitalised, remarks in brackets removed). And the text of github.com/klosax/hellaswag_text_data, six lines an item: the context,
the index of the right ending, four endings; there the context's second part begins in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lmlab import LabError
from lmlab.evaluation.tasks.item import Item, same_prompt
from lmlab.evaluation.tasks.records import Malformed, TaskFile, index_in, reader_of, text_in, texts_in
from lmlab.evaluation.tasks.task import Published, Task

ENDINGS = 4
LINES = 2 + ENDINGS
BRACKETS = re.compile(r"\[.*?\]")
BUILD_NANOGPT = "hellaswag.py of github.com/karpathy/build-nanogpt, per token"


def _original(record: dict[str, Any]) -> Item:
    endings = [_cleaned(ending) for ending in texts_in(record, "endings", ENDINGS)]
    begin, rest = text_in(record, "ctx_a"), text_in(record, "ctx_b")
    prompt = _cleaned(f"{text_in(record, 'activity_label')}: {begin} {rest.capitalize()}")
    cluster = record.get("source_id")
    gold = index_in(record, "label", len(endings))
    return same_prompt(prompt, endings, gold, cluster=cluster if isinstance(cluster, str) else "")


def _cleaned(text: str) -> str:
    """Return the text without WikiHow's remarks in brackets; [title] ends a sentence."""
    return BRACKETS.sub("", text.strip().replace(" [title]", ". ")).replace("  ", " ")


_original_items = reader_of(_original)


def read(file: TaskFile) -> Iterator[Item]:
    """Yield the items of a file in either form. LabError with the file and line of a malformed one."""
    if file.file.kind != "text":
        yield from _original_items(file)
        return
    lines = list(file.lines())
    if lines and not lines[-1][1]:
        lines.pop()
    for begin in range(0, len(lines), LINES):
        part = [line for _, line in lines[begin : begin + LINES]]
        try:
            yield _of_lines(part)
        except Malformed as error:
            raise LabError(f"{file.name}: item {begin // LINES + 1:,}, from line {begin + 1:,} on, {error}") from None


def _of_lines(lines: list[str]) -> Item:
    if len(lines) < LINES:
        raise Malformed(
            f"has {len(lines)} lines: expected {LINES}, a context, the right ending's number and four endings"
        )
    for place, line in enumerate(lines):
        if not line.strip():
            raise Malformed(f"is blank in its line {place + 1}: expected no blank lines")
    prompt, number, *endings = lines
    return same_prompt(prompt, endings, index_in({"number": number.strip()}, "number", ENDINGS))


HELLASWAG = Task(
    name="hellaswag",
    about="which of four endings follows",
    source="Zellers et al., 2019, arXiv 1905.07830",
    files=(
        "hellaswag_val.jsonl",
        "hellaswag_val_full.txt",
        "hellaswag.jsonl",
        "*--hellaswag/snapshots/*/data/validation-*.parquet",
    ),
    read=read,
    styles=("normalised per byte", "normalised per token", "completion"),
    published=(
        Published(model="GPT-2 124M", accuracy=0.2955, style="normalised per token", source=BUILD_NANOGPT),
        Published(model="GPT-2 124M", accuracy=0.2859, style="completion", source=BUILD_NANOGPT),
        Published(model="GPT-2 XL", accuracy=0.4893, style="normalised per token", source=BUILD_NANOGPT),
        Published(model="GPT-2 XL", accuracy=0.3842, style="completion", source=BUILD_NANOGPT),
    ),
)
