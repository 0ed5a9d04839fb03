"""`manifest.json` of a prepared data set, validated before anything in it is used.

A data set may come from another machine, so nothing in the manifest is used as a path or for an allocation before it's
checked: names are from a fixed list, and sizes must be those of the existing files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.split import SPLITS
from lmlab.data.token_files import tokens_file
from lmlab.files import is_link, read_json
from lmlab.recipe.template import TEMPLATES

FORMAT = 1
NAME = "manifest.json"
TOKENIZER = "tokenizer.json"
LARGEST_BYTES = 64_000_000
ID = re.compile(r"[0-9a-f]{16}")
SHA256 = re.compile(r"[0-9a-f]{64}")
FOLDER = re.compile(r"[a-z0-9][a-z0-9-]{0,59}-[0-9a-f]{16}")
PLAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
UNWRITTEN_TOKENS = 50_257
"""Tokens that a tokenizer may have besides those that its file lists: GPT-2's file lists none."""
TOKEN_TYPES = {"uint16": 2, "uint32": 4}

SECTIONS: dict[str, dict[str, Any]] = {
    "corpus": {
        "name": str,
        "documents": int,
        "characters": int,
        "bytes": int,
        "alphabet": int | None,
        "documents_rule": str,
        "empty_documents": int,
        "minimum_words": int | None,
        "short_documents": int | None,
        "forced_cuts": int,
        "skipped_files": list,
        "skipped_bytes": int | None,
        "left_out_files": list,
        "carriage_returns": bool | None,
        "newlines": str | None,
        "column": str | None,
        "sources_sha256": str | None,
    },
    "split": {"rule": str, "valid_share": float, "cut_characters": int | None, "valid_documents": int | None},
    "tokenizer": {
        "name": str,
        "vocabulary": int,
        "lossless": bool,
        "begin_of_text": int | None,
        "end_of_text": int | None,
    },
    "duplicates": {
        "documents": int,
        "of_documents": int,
        "share_of_tokens": float,
        "lines": int | None,
        "of_lines": int | None,
    },
}
"""Fields of the manifest other than sizes: section -> name -> type."""


def documents_file(split: str) -> str:
    """Return the name of the file with int64 [documents + 1]: the first token of each document, and the number of tokens."""
    return f"documents-{split}.npy"


def bytes_file(split: str) -> str:
    """Return the name of the file with int64 [documents]: the bytes of text in each document."""
    return f"bytes-{split}.npy"


def units_file(split: str) -> str:
    """Return the name of the file with the units that losses are compared by."""
    return f"units-{split}.npy"


def responses_file(split: str) -> str:
    """Return the name of the file with a byte for each token of conversations: 1 where the model writes it, else 0."""
    return f"responses-{split}.bin"


def files_of(splits: list[str], *, conversations: bool = False) -> list[str]:
    """Return every file of a data set with these splits, besides its manifest."""
    makers = [tokens_file, documents_file, bytes_file, units_file, *([responses_file] if conversations else [])]
    return [TOKENIZER, *(make(split) for split in splits for make in makers)]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the data set in `folder`, or of a view of another; raises LabError if it is invalid."""
    path = folder / NAME
    value: dict[str, Any] = read_json(path, LARGEST_BYTES)
    problem = _problem(value, folder)
    if problem:
        raise LabError(f"{path} is not a valid manifest: {problem}; prepare the data again")
    return value


def _problem(value: Any, folder: Path) -> str:
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        return f"expected format {FORMAT}"
    if not _matches(ID, value.get("id")):
        return "its id is not 16 hexadecimal digits"
    if "view_of" in value:
        fits = _matches(FOLDER, value["view_of"]) and _count(value.get("train_tokens"), 2)
        return "" if fits else "expected the name of a data set's folder and a number of tokens"
    if not isinstance(value.get("token_type"), str) or value["token_type"] not in TOKEN_TYPES:
        return f"its token type is not one of {', '.join(TOKEN_TYPES)}"
    splits = value.get("splits")
    if not isinstance(splits, dict) or not {"train", "valid"} <= set(splits) <= set(SPLITS):
        return "expected the splits train, valid and perhaps test"
    names = files_of(list(splits), conversations="conversations" in value)
    files = value.get("files")
    if not isinstance(files, dict) or set(files) != set(names):
        return f"expected the files {', '.join(names)}"
    for section, kinds in SECTIONS.items():
        entries = value.get(section)
        if not isinstance(entries, dict) or not all(_is(entries.get(key), kind) for key, kind in kinds.items()):
            return f"expected in {section}: {', '.join(kinds)}"
    for name in ("skipped_files", "left_out_files"):
        if not all(isinstance(entry, str) for entry in value["corpus"][name]):
            return f"expected names of files in {name}"
    if not _matches(PLAIN, value["corpus"]["name"]) or not _matches(PLAIN, value["tokenizer"]["name"]):
        return "its corpus or its tokenizer has no plain name"
    if not 0 < value["tokenizer"]["vocabulary"] <= 1 << 8 * TOKEN_TYPES[value["token_type"]]:
        return "its vocabulary is larger than its token type holds"
    # In this order: each relies on the checks before it.
    return (
        _file_problem(value, files, folder)
        or _vocabulary_problem(value, files)
        or _split_problem(value, files)
        or _conversations_problem(value, files)
        or _extends_problem(value)
    )


def _file_problem(value: dict[str, Any], files: dict[str, Any], folder: Path) -> str:
    for name, entry in files.items():
        if (
            not isinstance(entry, dict)
            or not _count(entry.get("bytes"), 0)
            or not _matches(SHA256, entry.get("sha256"))
        ):
            return f"expected bytes and sha256 of {name}"
        if is_link(folder / name):
            return f"{name} is a link, expected the file itself"
        if not (folder / name).is_file():
            return f"{name} is missing"
        size = (folder / name).stat().st_size
        if size != entry["bytes"]:
            return f"{name} has {size:,} bytes, expected {entry['bytes']:,}"
    return ""


def _vocabulary_problem(value: dict[str, Any], files: dict[str, Any]) -> str:
    """Return what is wrong with the size of the vocabulary, for which memory is allocated: the tokenizer's file must hold it, at
    a byte a token.
    """
    size, most = value["tokenizer"]["vocabulary"], files[TOKENIZER]["bytes"] + UNWRITTEN_TOKENS
    return f"a vocabulary of {size:,} is more than its {TOKENIZER} holds" if size > most else ""


def _split_problem(value: dict[str, Any], files: dict[str, Any]) -> str:
    width = TOKEN_TYPES[value["token_type"]]
    for split, entry in value["splits"].items():
        if not isinstance(entry, dict) or not all(
            _count(entry.get(key), 1) for key in ("tokens", "documents", "units")
        ):
            return f"expected tokens, documents and units of {split}"
        if not _count(entry.get("bytes"), 0) or entry.get("unit") not in ("document", "block"):
            return f"expected bytes and unit of {split}"
        if entry["tokens"] * width != files[tokens_file(split)]["bytes"]:
            return f"{tokens_file(split)} does not hold {entry['tokens']:,} tokens"
    return ""


def _conversations_problem(value: dict[str, Any], files: dict[str, Any]) -> str:
    if "conversations" not in value:
        return ""
    facts = value["conversations"]
    counts = ("unanswered", "several_turns")
    if not isinstance(facts, dict) or not all(_count(facts.get(name), 0) for name in counts):
        return f"expected of conversations {' and '.join(counts)}"
    if facts.get("template") not in TEMPLATES:
        return f"its template is not one of {', '.join(TEMPLATES)}"
    for split, entry in value["splits"].items():
        if files[responses_file(split)]["bytes"] != entry["tokens"]:
            return f"{responses_file(split)} does not hold {entry['tokens']:,} marks"
    return ""


def _extends_problem(value: dict[str, Any]) -> str:
    """Return what is wrong with the extended data sets, the newest first: each must fit into the one before it."""
    larger = value["splits"]
    extended = value.get("extends", [])
    if not isinstance(extended, list):
        return "expected a list of the data sets that it extends"
    for entry in extended:
        splits = entry.get("splits") if isinstance(entry, dict) and _matches(ID, entry.get("id")) else None
        if not isinstance(splits, dict) or not {"train", "valid"} <= set(splits) <= set(larger):
            return "expected the id and the splits of each data set that it extends"
        for split, part in splits.items():
            if not isinstance(part, dict) or not _matches(SHA256, part.get("sha256")):
                return f"expected the sha256 of {split} in each data set that it extends"
            if not all(_count(part.get(key), 1) and part[key] <= larger[split][key] for key in ("tokens", "documents")):
                return f"a data set that it extends does not fit into its {split}"
        larger = splits
    return ""


def _is(value: Any, kind: Any) -> bool:
    """Like isinstance, but a boolean is no number, an integer is accepted as a float, and numbers must be at least 0."""
    if isinstance(value, bool):
        return kind in (bool, bool | None)
    if isinstance(value, (int, float)) and not 0 <= value < 1 << 62:
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _count(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < 1 << 62
