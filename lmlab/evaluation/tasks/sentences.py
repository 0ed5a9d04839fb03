"""Pairs of sentences of which one is acceptable: BLiMP (Warstadt et al., 2020, arXiv 1912.00582) and COMPS (Misra et al., 2023,
arXiv 2210.01963).

BLiMP scores whole sentences. COMPS scores a property phrase after each of two subjects, whose own probabilities don't count.
"""

from __future__ import annotations

from typing import Any

from lmlab.evaluation.tasks.item import Item, Option, same_answer
from lmlab.evaluation.tasks.records import reader_of, text_in
from lmlab.evaluation.tasks.task import Published, Task

BLIMP_SOURCE = "raw_results/summary/models_summary.jsonl of github.com/alexwarstadt/blimp"


def _blimp(record: dict[str, Any]) -> Item:
    sentences = [text_in(record, name) for name in ("sentence_good", "sentence_bad")]
    # One set of the published files has the field with a slash.
    field = text_in(record, "field").replace("/", "_")
    return Item(
        options=tuple(Option("", sentence) for sentence in sentences),
        gold=0,
        groups=(field, text_in(record, "linguistics_term"), text_in(record, "UID")),
    )


def _comps(record: dict[str, Any]) -> Item:
    subjects = [text_in(record, name) for name in ("prefix_acceptable", "prefix_unacceptable")]
    phrase = text_in(record, "property_phrase")
    item = same_answer(subjects, phrase, 0, cluster=phrase)
    return Item(options=item.options, gold=0, cluster=phrase, groups=(str(record.get("negative_sample_type", "")),))


BLIMP = Task(
    name="blimp",
    about="which of two sentences is grammatical",
    source="Warstadt et al., 2020, arXiv 1912.00582",
    files=("blimp.jsonl", "blimp/*.jsonl", "blimp/data/*.jsonl", "*--blimp/snapshots/*/*/train-*.parquet"),
    read=reader_of(_blimp),
    styles=("whole sentence",),
    groupings=("field", "term", "set"),
    corruption="none",
    positions_mean=False,
    published=(
        Published(model="5-gram", accuracy=0.6124, style="whole sentence", source=BLIMP_SOURCE),
        Published(model="LSTM", accuracy=0.6981, style="whole sentence", source=BLIMP_SOURCE),
        Published(model="Transformer-XL", accuracy=0.6963, style="whole sentence", source=BLIMP_SOURCE),
        Published(model="GPT-2", accuracy=0.8302, style="whole sentence", source=BLIMP_SOURCE),
    ),
)
COMPS = Task(
    name="comps",
    about="which of two subjects has the property",
    source="Misra et al., 2023, arXiv 2210.01963",
    files=("comps.jsonl", "comps_base.jsonl", "comps/*.jsonl"),
    read=reader_of(_comps),
    styles=("completion",),
    groupings=("negative sample",),
    corruption="shuffled",
    positions_mean=False,
)
