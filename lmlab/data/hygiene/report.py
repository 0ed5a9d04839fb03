"""A check as text: lines for a terminal, or a Markdown file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmlab import LabError, printable
from lmlab.data.hygiene.text import KINDS

SPLITS = {"train": "training", "valid": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One statement of the report."""

    text: str
    examples: tuple[tuple[str, str], ...] = ()
    """(where, the excerpt)."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Items under one heading."""

    title: str
    items: tuple[Item, ...]


def lines(value: dict[str, Any]) -> list[str]:
    """Return the check as lines of text for a terminal."""
    found = [f"{value['name']}  {value['id']}", *(f"  {line}" for line in _about(value))]
    for section in sections(value):
        found += ["", f"  {section.title}"]
        for item in section.items:
            found.append(f"    {item.text}")
            for where, excerpt in item.examples:
                found.append(f"      {where}")
                found.append(f"        {excerpt}")
    return found


def markdown(value: dict[str, Any]) -> str:
    """Return the check as a Markdown document."""
    found = [f"# Check of {value['name']} `{value['id']}`", "", *(f"- {line}" for line in _about(value))]
    for section in sections(value):
        found += ["", f"## {section.title}", ""]
        for item in section.items:
            found.append(f"- {item.text}")
            found += [f"  - {where}: {_code(excerpt)}" for where, excerpt in item.examples]
    return printable("\n".join(found) + "\n", lines=True)


def sections(value: dict[str, Any]) -> list[Section]:
    """Return all sections of a check; raises LabError if the value is damaged."""
    try:
        duplicates = [_within(value, split) for split in value["within"]]
        across = [_across(value, split) for split in value["in_training"]]
        return [*across, *duplicates, *(_text(value, split) for split in value["text"])]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise LabError(
            f"the kept check of {value.get('name')} is damaged ({error!r}): delete its check.json and check again"
        ) from None


def _about(value: dict[str, Any]) -> list[str]:
    what = "documents" if value["compared"] == "document" else "blocks of 1,024 bytes"
    return [
        f"checked {value['created'][:10]} by lmlab {value['lmlab']} in {value['seconds']:.1f} s",
        f"{what} are compared: near means that {value['near_similarity']:.0%} of their {value['shingle_words']}-word "
        "sequences are the same (Jaccard similarity)",
        f"a repeated span is {value['span_tokens']} tokens or more that training has too, token for token",
    ]


def _across(value: dict[str, Any], split: str) -> Section:
    entry, name = value["in_training"][split], SPLITS[split]
    units, spans = entry["units"], entry["spans"]
    what = _plural(units["unit"])
    kinds = ", ".join(f"{kind} {units[kind]['units']:,}" for kind in ("exact", "near", "contained"))
    duplicates, repeated = f"none of {units['count']:,} {what} is a duplicate of training text", "no repeated spans"
    if units["any"]["units"]:
        duplicates = (
            f"{_of(units['any']['units'], units['count'], what)} are duplicates of training text ({kinds}): "
            f"{_percent(units['any'])} of the tokens"
        )
    if spans["tokens"]:
        repeated = (
            f"repeated spans cover {spans['tokens']:,} tokens, {_percent(spans)}; the longest run has "
            f"{spans['longest_run']:,} tokens"
        )
    examples = tuple(
        (
            f"{_where(one)}, {one['tokens']:,} tokens; in training: {_where(one['in_training'], short=True)}",
            one["excerpt"],
        )
        for one in entry["span_examples"]
    )
    items = [Item(text=duplicates), Item(text=repeated, examples=examples)]
    if entry["examples"]:
        items.append(
            Item(
                text=f"exact and near {_plural(value['compared'])}, the largest first",
                examples=tuple((_where_and_partner(one), one["excerpt"]) for one in entry["examples"]),
            )
        )
    return Section(title=f"{name} text that is also in training", items=tuple(items))


def _within(value: dict[str, Any], split: str) -> Section:
    entry, what = value["within"][split], _plural(value["compared"])
    text = f"none of {entry['passages']:,} {what} is equal or near to another"
    if entry["clusters"]:
        text = (
            f"{_of(entry['exact']['passages'], entry['passages'], what)} are copies of an earlier one "
            f"({_percent(entry['exact'])} of the tokens), {entry['near']['passages']:,} more are near one "
            f"({_percent(entry['near'])})"
        )
    items = [Item(text=text)]
    if entry["clusters"]:
        items.append(Item(text=f"{entry['clusters']:,} clusters, the largest of {entry['largest_cluster']:,} {what}"))
    for cluster in entry["examples"]:
        items.append(
            Item(
                text=f"{cluster['size']:,} {what} ({_copies(cluster['exact_copies'])})",
                examples=tuple((_where_and_partner(one), one["excerpt"]) for one in cluster["members"]),
            )
        )
    return Section(title=f"duplicates within the {SPLITS[split]} split", items=tuple(items))


def _text(value: dict[str, Any], split: str) -> Section:
    entry = value["text"][split]
    items = [
        Item(
            text=f"{KINDS[one['kind']]}: {one['count']:,}, in {one['documents']:,} document{'s' * (one['documents'] != 1)}",
            examples=tuple((_where(example) + _note(example), example["excerpt"]) for example in one["examples"]),
        )
        for one in entry["findings"]
    ]
    items += _boilerplate(entry["boilerplate"])
    sources = {example["source"] for one in entry["findings"] for example in one["examples"]} - {None}
    source = f" ({sources.pop()})" if sources else ""
    return Section(
        title=f"the {SPLITS[split]} split's text{source}",
        items=tuple(items) or (Item(text="no odd characters, boilerplate or likely secrets"),),
    )


def _boilerplate(entry: dict[str, Any] | None) -> Iterator[Item]:
    if entry is None:
        yield Item(text="the tokenizer loses line breaks: long and repeated lines are not looked for")
    elif entry["lines"]:
        where = "documents" if entry["counted"] == "documents" else "places"
        yield Item(
            text=f"{entry['lines']:,} line{'s' * (entry['lines'] != 1)} of boilerplate, each in {entry['at_least']:,} {where} "
            f"or more: {_percent({'share_of_tokens': entry['share_of_bytes']})} of the bytes",
            examples=tuple(
                (f"{_times(one, entry['counted'])}, first {_where(one)}", one["excerpt"]) for one in entry["examples"]
            ),
        )


def _times(line: dict[str, Any], counted: str) -> str:
    """Return how often a line occurs, and in how many documents if these are counted."""
    return f"{line['count']:,} times" + (f" in {line['documents']:,} documents" if counted == "documents" else "")


def _where(place: dict[str, Any], short: bool = False) -> str:
    """Return a place as text."""
    text = f"document {place['document']:,}, byte {place['offset']:,}"
    if place["split_offset"] is not None and place["document"] > 0 and not short:
        text += f" (of the split: {place['split_offset']:,})"
    return text


def _where_and_partner(member: dict[str, Any]) -> str:
    other = member["similar_to"]
    if other is None:
        return _where(member)
    split = "" if other["split"] == member["split"] else f"{SPLITS[other['split']]} "
    return f"{_where(member)}; similarity {member['similarity']:.2f} to {split}{_where(other, short=True)}"


def _note(example: dict[str, Any]) -> str:
    return f": {example['note']}" if example["note"] else ""


def _of(count: int, total: int, what: str) -> str:
    return f"{count:,} of {total:,} {what}"


def _copies(count: int) -> str:
    return f"{count:,} exact {'copy' if count == 1 else 'copies'}"


def _plural(unit: str) -> str:
    return {"document": "documents", "block": "blocks"}[unit]


def _percent(entry: dict[str, Any]) -> str:
    return f"{100 * entry['share_of_tokens']:.2f}%"


def _code(text: str) -> str:
    """Return a Markdown code span with enough backticks to contain the text."""
    fence = "`" * (text.count("`") + 1)
    return f"{fence} {text} {fence}"
