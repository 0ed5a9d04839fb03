"""Parquet and JSONL shards in the layout of published corpora, with made-up text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

ROWS_A_GROUP = 1000
"""As in FineWeb's files."""
WORDS = "the of a and in to is on sun sea bird river stone sang ran über home it's 42 1999 quiet, walked. late;".split()


def web_documents(count: int, seed: int = 0, words: int = 40) -> list[str]:
    """`count` distinct documents of `words` words in the mean."""
    random = np.random.default_rng(seed)
    lengths = random.integers(words // 2, 2 * words - words // 2, count)
    return [
        f"Page {seed}-{number}: " + " ".join(random.choice(WORDS, length)) + ".\n"
        for number, length in enumerate(lengths)
    ]


def write_fineweb(path: Path, texts: list[str], rows: int = ROWS_A_GROUP, edu: bool = False) -> Path:
    """A shard with the columns of FineWeb (or FineWeb-Edu), in row groups of `rows` rows."""
    count = len(texts)
    columns = {
        "text": pyarrow.array(texts),
        "id": pyarrow.array([f"<urn:uuid:{number:032x}>" for number in range(count)]),
        "dump": pyarrow.array(["CC-MAIN-2013-20"] * count),
        "url": pyarrow.array([f"https://example.org/{number}" for number in range(count)]),
        **({} if edu else {"date": pyarrow.array(["2013-05-18T05:48:54Z"] * count)}),
        "file_path": pyarrow.array(["s3://example/warc.gz"] * count),
        "language": pyarrow.array(["en"] * count),
        "language_score": pyarrow.array([0.97] * count),
        "token_count": pyarrow.array([len(text) // 4 for text in texts], pyarrow.int64()),
        **({"score": pyarrow.array([3.1] * count), "int_score": pyarrow.array([3] * count)} if edu else {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=rows)
    return path


def write_texts(path: Path, texts: list[str], rows: int = ROWS_A_GROUP) -> Path:
    """A shard with one column `text`, as OpenWebText and WikiText have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path, row_group_size=rows)
    return path


def write_jsonl(path: Path, texts: list[str]) -> Path:
    """A JSONL shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def write_folder(
    folder: Path, shards: int = 3, count: int = 300, rows: int = 50, kind: str = "parquet", seed: int = 0
) -> list[str]:
    """A folder of shards; returns all texts in their order."""
    texts = []
    for number in range(shards):
        some = web_documents(count, seed=seed + number)
        texts += some
        if kind == "parquet":
            write_fineweb(folder / f"{number:03}_00000.parquet", some, rows)
        else:
            write_jsonl(folder / f"{number:03}.jsonl", some)
    return texts
