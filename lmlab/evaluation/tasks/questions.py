"""Questions with answers to choose from: ARC, OpenBookQA, PIQA, COPA and BoolQ.

Each is read in the form of github.com/mosaicml/llm-foundry (`query`, `choices`, `gold`) and in its original JSONL. Prompts are
those of lm-evaluation-harness 0.4.13 ("Question: ...\\nAnswer:"), but that BoolQ in llm-foundry's form begins with "Passage: ".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lmlab.evaluation.tasks.item import Item, same_prompt
from lmlab.evaluation.tasks.records import Malformed, TaskFile, index_in, reader_of, text_in, texts_in
from lmlab.evaluation.tasks.task import StyleName, Task

Convert = Callable[[dict[str, Any]], Item]
CONNECTORS = {"cause": "because", "effect": "therefore"}
ANSWER = "\nAnswer:"


def _either(original: Convert, ending: str = "") -> Convert:
    """Return a conversion of llm-foundry's form, whose query is followed by `ending`, and of the original one."""

    def convert(record: dict[str, Any]) -> Item:
        if "query" not in record:
            return original(record)
        choices = texts_in(record, "choices")
        return same_prompt(text_in(record, "query").rstrip() + ending, choices, index_in(record, "gold", len(choices)))

    return convert


def _choices(record: dict[str, Any]) -> tuple[str, list[str], int]:
    """Return (question, answers, index of the right one) of a record of ARC or OpenBookQA, in AI2's form or that of the hub."""
    question, choices = record.get("question"), record.get("choices")
    if isinstance(question, dict):
        stem, rows = text_in(question, "stem"), question.get("choices")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Malformed("has no list of objects in question.choices: expected each choice's 'text' and 'label'")
        answers, labels = ([text_in(row, name) for row in rows] for name in ("text", "label"))
    elif isinstance(choices, dict):
        stem = text_in(record, "question" if "question" in record else "question_stem")
        answers, labels = texts_in(choices, "text"), texts_in(choices, "label")
    else:
        raise Malformed("has neither a 'query' nor a question with choices: expected a form that docs/tasks.md lists")
    key = text_in(record, "answerKey").strip()
    if key not in labels or len(labels) != len(answers) or len(answers) < 2:
        raise Malformed(f"has {key[:20]!r} in 'answerKey': expected one of {', '.join(label[:20] for label in labels)}")
    return stem, answers, labels.index(key)


def _arc(record: dict[str, Any]) -> Item:
    question, answers, gold = _choices(record)
    return same_prompt(f"Question: {question}{ANSWER}", answers, gold)


def _open_book(record: dict[str, Any]) -> Item:
    return same_prompt(*_choices(record))


def _read_piqa(file: TaskFile) -> Iterator[Item]:
    """Yield the items of a file; the published one has its labels in another file beside it, a number a line."""
    labels = file.beside("-labels.lst")
    numbers = iter([] if labels is None else [line.strip() for _, line in labels.lines()])

    def convert(record: dict[str, Any]) -> Item:
        return _either(_piqa, ANSWER)(record if "label" in record else {**record, "label": next(numbers, "missing")})

    yield from reader_of(convert)(file)


def _piqa(record: dict[str, Any]) -> Item:
    answers = [text_in(record, name) for name in ("sol1", "sol2")]
    return same_prompt(f"Question: {text_in(record, 'goal')}{ANSWER}", answers, index_in(record, "label", 2))


def _copa(record: dict[str, Any]) -> Item:
    kind = text_in(record, "question")
    if kind not in CONNECTORS:
        raise Malformed(f"has {kind[:20]!r} in 'question': expected cause or effect")
    premise = text_in(record, "premise").strip()[:-1]
    answers = [text_in(record, name) for name in ("choice1", "choice2")]
    lowered = [answer[:1].lower() + answer[1:] for answer in answers]
    return same_prompt(f"{premise} {CONNECTORS[kind]}", lowered, index_in(record, "label", 2))


def _boolq(record: dict[str, Any]) -> Item:
    passage, question = text_in(record, "passage"), text_in(record, "question")
    label = record.get("answer", record.get("label"))
    gold = int(label) if isinstance(label, bool) else index_in(record, "label", 2)
    return same_prompt(f"{passage}\nQuestion: {question}?{ANSWER}", ["no", "yes"], gold, cluster=passage)


def _boolq_either(record: dict[str, Any]) -> Item:
    item = _either(_boolq, ANSWER)(record)
    passage = item.right.prompt.rpartition("\nQuestion:")[0]
    return Item(options=item.options, gold=item.gold, cluster=passage)


ARC_SOURCE = "Clark et al., 2018, arXiv 1803.05457"
LENGTHS: tuple[StyleName, ...] = ("normalised per byte", "normalised per token", "completion")

ARC_EASY = Task(
    name="arc-easy",
    about="school questions, the easy ones",
    source=ARC_SOURCE,
    files=("arc_easy.jsonl", "ARC-Easy-Test.jsonl", "*--ai2_arc/snapshots/*/ARC-Easy/test-*.parquet"),
    read=reader_of(_either(_arc, ANSWER)),
    styles=("completion", "normalised per byte", "normalised per token"),
)
ARC_CHALLENGE = Task(
    name="arc-challenge",
    about="school questions, the hard ones",
    source=ARC_SOURCE,
    files=("arc_challenge.jsonl", "ARC-Challenge-Test.jsonl", "*--ai2_arc/snapshots/*/ARC-Challenge/test-*.parquet"),
    read=reader_of(_either(_arc, ANSWER)),
    styles=LENGTHS,
)
PIQA = Task(
    name="piqa",
    about="which of two ways achieves a goal",
    source="Bisk et al., 2020, arXiv 1911.11641",
    files=("piqa.jsonl", "piqa*/valid.jsonl", "*--piqa/snapshots/*/data/validation-*.parquet"),
    read=_read_piqa,
    styles=LENGTHS,
)
OPENBOOKQA = Task(
    name="openbookqa",
    about="elementary science",
    source="Mihaylov et al., 2018, arXiv 1809.02789",
    files=(
        "openbook_qa.jsonl",
        "openbookqa.jsonl",
        "OpenBookQA*/Main/test.jsonl",
        "*--openbookqa/snapshots/*/main/test-*.parquet",
    ),
    read=reader_of(_either(_open_book)),
    styles=LENGTHS,
)
COPA = Task(
    name="copa",
    about="which of two is the cause or effect",
    source="Roemmele et al., 2011, AAAI Spring Symposium",
    files=("copa.jsonl", "COPA/val.jsonl", "*--super_glue/snapshots/*/copa/validation-*.parquet"),
    read=reader_of(_either(_copa)),
    styles=("completion", "normalised per byte", "normalised per token"),
)
BOOLQ = Task(
    name="boolq",
    about="a passage and a question with yes or no",
    source="Clark et al., 2019, arXiv 1905.10044",
    files=(
        "boolq.jsonl",
        "BoolQ/val.jsonl",
        "boolq*/dev.jsonl",
        "*--super_glue/snapshots/*/boolq/validation-*.parquet",
    ),
    read=reader_of(_boolq_either),
    styles=("completion",),
)
