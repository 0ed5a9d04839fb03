"""Winograd schemas: two sentences that differ in what a pronoun refers to, and are scored by their common ending.

Only the ending's probability counts, not that of the inserted name ("partial evaluation", Trinh and Le, 2018, arXiv 1806.02847).
Three forms are read: that of github.com/mosaicml/llm-foundry (`context_options`, `continuation`, `gold`), WinoGrande's original
JSONL, and the JSON of the 273 schemas with `text`, `pronoun`, `pronoun_loc` and `options`. The two sentences of a schema are one
cluster.
"""

from __future__ import annotations

from typing import Any

from lmlab.evaluation.tasks.item import Item, same_answer
from lmlab.evaluation.tasks.records import Malformed, index_in, reader_of, text_in, texts_in
from lmlab.evaluation.tasks.task import Task

BLANK = "_"
POSSESSIVES = {"my", "his", "her", "our", "their"}
DETERMINERS = {"A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their"}


def _joined(record: dict[str, Any]) -> Item:
    """Return the item of a record in llm-foundry's form."""
    prompts = texts_in(record, "context_options")
    return _item(prompts, text_in(record, "continuation"), index_in(record, "gold", len(prompts)))


def _item(prompts: list[str], ending: str, gold: int) -> Item:
    """Return an item; schemas with the same two prompts, in either order, are one cluster."""
    return same_answer(prompts, ending, gold, cluster="\n".join(sorted(prompts)))


def _winogrande(record: dict[str, Any]) -> Item:
    if "context_options" in record:
        return _joined(record)
    before, blank, after = text_in(record, "sentence").partition(BLANK)
    if not blank or not after.strip():
        raise Malformed("has no _ with text after it in 'sentence': expected a sentence with a blank")
    options = [text_in(record, name) for name in ("option1", "option2")]
    return _item([before + option for option in options], after.strip(), index_in(record, "answer", 2, first=1))


def _winograd(record: dict[str, Any]) -> Item:
    if "context_options" in record:
        return _joined(record)
    text, pronoun = text_in(record, "text"), text_in(record, "pronoun")
    place = record.get("pronoun_loc")
    if type(place) is not int or text[place : place + len(pronoun)] != pronoun or place < 0:
        raise Malformed(f"has {str(place)[:20]} in 'pronoun_loc': expected where {pronoun[:20]!r} begins in 'text'")
    before, ending = (part.replace("  ", " ") for part in (text[:place], text[place + len(pronoun) :].strip()))
    options = texts_in(record, "options")
    starts = before.rstrip().endswith((".", "!", "?")) or not before.strip()
    filled = [before + _in_place_of(pronoun, option, starts) for option in options]
    return _item(filled, ending, index_in(record, "label", len(options)))


def _in_place_of(pronoun: str, option: str, starts_sentence: bool) -> str:
    """Return what stands for the pronoun: possessive for a possessive one, and within a sentence in lower case."""
    if pronoun.lower() in POSSESSIVES:
        option += "'s"
    first, space, rest = option.partition(" ")
    return option if starts_sentence or first not in DETERMINERS else first.lower() + space + rest


WINOGRANDE = Task(
    name="winogrande",
    about="which of two names fits a blank",
    source="Sakaguchi et al., 2019, arXiv 1907.10641",
    files=("winogrande.jsonl", "winogrande*/dev.jsonl", "*--winogrande/snapshots/*/winogrande_xl/validation-*.parquet"),
    read=reader_of(_winogrande),
    styles=("completion",),
    corruption="shuffled",
)
WINOGRAD = Task(
    name="winograd",
    about="what a pronoun refers to",
    source="Levesque et al., 2012, KR",
    files=("winograd_wsc.jsonl", "wsc273.jsonl", "*--winograd_wsc/snapshots/*/wsc273/test-*.parquet"),
    read=reader_of(_winograd),
    styles=("completion",),
    corruption="shuffled",
)
