"""LAMBADA (Paperno et al., 2016, arXiv 1606.06031), in OpenAI's form: the last word of a passage is to be predicted.

An item has one option. It is right if the model's most probable token is the word's at each of its tokens, as in
lm-evaluation-harness; the passage is split at its last space.
"""

from __future__ import annotations

from typing import Any

from lmlab.evaluation.tasks.item import Item, same_prompt
from lmlab.evaluation.tasks.records import Malformed, reader_of, text_in
from lmlab.evaluation.tasks.task import Task


def _passage(record: dict[str, Any]) -> Item:
    text = text_in(record, "text")
    passage, space, word = text.rpartition(" ")
    if not space or not passage.strip() or not word.strip():
        raise Malformed(f"has {text[-40:]!r} at the end of 'text': expected a passage, a space and a last word")
    return same_prompt(passage, [word], 0)


LAMBADA = Task(
    name="lambada",
    about="the last word of a passage",
    source="Paperno et al., 2016, arXiv 1606.06031",
    files=("lambada_test.jsonl", "lambada_test_en.jsonl", "lambada.jsonl"),
    read=reader_of(_passage),
    styles=("last word",),
    corruption="shuffled",
    positions_mean=False,
)
