"""How fast text becomes token files: lmlab against a loop over documents, nanoGPT's `datasets.map`, and nanochat's batches.

    python -m benchmarks.tokenising --corpus FOLDER [--rounds 3] [--python VENV/bin/python] --out results/tokenising.json

Every side reads the same parquet shards, encodes them with GPT-2's merges, and writes the tokens of all documents, each with its
end of text, in a process of its own; their SHA-256 must be equal. lmlab is measured twice: its encoding alone, and the whole
preparation of a data set with hashes, tables and duplicates. A side whose package is missing is left out with a word; --python
names an interpreter that has it (datasets). What --out holds already isn't measured again: a benchmark that was stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import BUSY, context, load_average
from benchmarks.paired import paired_ratios, quartiles
from benchmarks.worker import ROOT
from lmlab import LabError
from lmlab.data.tokenizers.byte_level import END_OF_TEXT, PATTERN
from lmlab.data.tokenizers.gpt2 import load_gpt2
from lmlab.files import read_json, write_json
from lmlab.hardware.cpu import logical_cores

FORMAT = 1
COLUMN = "text"
NANOCHAT_DOCUMENTS, NANOCHAT_THREADS = 128, 4
"""nanochat's defaults: documents of a batch, and threads of its tokenizer."""
LONGEST_SECONDS = 3600.0


def shards_of(corpus: Path) -> list[Path]:
    """The parquet files of a folder, or the file itself."""
    return sorted(corpus.glob("**/*.parquet")) if corpus.is_dir() else [corpus]


def documents(corpus: Path) -> Iterator[str]:
    """Every document, in order."""
    import pyarrow.parquet

    for path in shards_of(corpus):
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=[COLUMN]):
            yield from (text for text in batch.column(0).to_pylist() if text and not text.isspace())


def tiktoken_encoding() -> Any:
    """GPT-2's encoding from its published merges, as tiktoken's own."""
    import tiktoken

    gpt2 = load_gpt2()
    ranks = {token: number for number, token in enumerate(gpt2.tokens) if number != gpt2.end_of_text}
    return tiktoken.Encoding(
        "gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: gpt2.end_of_text}
    )


def one_by_one(corpus: Path, target: Path) -> None:
    """A document after the other, in one thread."""
    encoding = tiktoken_encoding()
    with open(target, "wb") as file:
        for text in documents(corpus):
            file.write(np.array([*encoding.encode_ordinary(text), encoding.eot_token], dtype="<u2").tobytes())


def nanochat(corpus: Path, target: Path) -> None:
    """Batches of documents, each encoded by a pool of threads."""
    encoding = tiktoken_encoding()
    held: list[str] = []
    with open(target, "wb") as file:

        def write() -> None:
            for ids in encoding.encode_ordinary_batch(held, num_threads=NANOCHAT_THREADS):
                file.write(np.array([*ids, encoding.eot_token], dtype="<u2").tobytes())
            held.clear()

        for text in documents(corpus):
            held.append(text)
            if len(held) == NANOCHAT_DOCUMENTS:
                write()
        write()


def datasets_map(corpus: Path, target: Path) -> None:
    """`datasets.map` in as many processes as there are cores, then one array, as nanoGPT prepares OpenWebText."""
    import datasets

    datasets.disable_progress_bars()
    encoding = tiktoken_encoding()

    def encode(row: dict[str, str]) -> dict[str, Any]:
        ids = [*encoding.encode_ordinary(row[COLUMN]), encoding.eot_token]
        return {"ids": ids, "len": len(ids)}

    found = datasets.Dataset.from_parquet(
        [str(path) for path in shards_of(corpus)], cache_dir=str(target.parent / "hf")
    )
    found = found.filter(lambda row: bool(row[COLUMN]) and not row[COLUMN].isspace(), num_proc=logical_cores())
    found = found.map(encode, remove_columns=found.column_names, num_proc=logical_cores())
    with open(target, "wb") as file:
        for batch in found.with_format("numpy").iter(batch_size=1024):
            for ids in batch["ids"]:
                file.write(np.asarray(ids, dtype="<u2").tobytes())


def lmlab_encoding(corpus: Path, target: Path) -> None:
    """lmlab's batches in threads, in order."""
    from lmlab.data.encode import encoding_threads
    from lmlab.data.in_order import in_order
    from lmlab.data.shards.encoding import BATCH_CHARACTERS

    gpt2 = load_gpt2()
    end = np.array([gpt2.end_of_text], dtype="<u2")

    def batches() -> Iterator[list[str]]:
        held, characters = [], 0
        for text in documents(corpus):
            held.append(text)
            characters += len(text)
            if characters >= BATCH_CHARACTERS:
                yield held
                held, characters = [], 0
        if held:
            yield held

    with open(target, "wb") as file:
        for _, arrays in in_order(gpt2.encode_batch, batches(), encoding_threads(gpt2)):
            for ids in arrays:
                file.write(ids.astype("<u2").tobytes() + end.tobytes())


def lmlab_preparation(corpus: Path, target: Path) -> None:
    """A whole data set: the first document validates, and its tokens are put before those of the others."""
    from lmlab.data.preparation import prepare
    from lmlab.recipe import Data

    data = Data(corpus=str(corpus), tokenizer="gpt2", split="first", valid_documents=1)
    dataset = prepare(data, target.parent / "cache")
    with open(target, "wb") as file:
        for split in ("valid", "train"):
            dataset.tokens(split).tofile(file)


SIDES: dict[str, Callable[[Path, Path], None]] = {
    "lmlab": lmlab_encoding,
    "lmlab, whole data set": lmlab_preparation,
    "one by one": one_by_one,
    "datasets.map": datasets_map,
    "nanochat's batches": nanochat,
}


def run_side(name: str, corpus: Path) -> dict[str, Any]:
    """Seconds, tokens and their SHA-256 of one side, in this process; `missing` if its package is."""
    load_gpt2()  # no side is timed with finding the file
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tokens.bin"
        began = time.perf_counter()
        try:
            SIDES[name](corpus, target)
        except ImportError as error:
            return {"missing": error.name or str(error)}
        seconds = time.perf_counter() - began
        content = target.read_bytes()
    return {"seconds": seconds, "tokens": len(content) // 2, "sha256": hashlib.sha256(content).hexdigest()}


def in_a_process(name: str, corpus: Path, python: str) -> dict[str, Any]:
    """What `run_side` returns in a new process of that interpreter."""
    words = [python, "-m", "benchmarks.tokenising", "--side", name, "--corpus", str(corpus)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )
    if done.returncode:
        raise LabError(f"{name} failed: {done.stderr.strip().splitlines()[-1:] or ['no message']}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(options: argparse.Namespace, around: dict[str, Any]) -> dict[str, Any]:
    """The rounds, each side once in each, in turns; those that the file has already are kept, and each is stored when it's done."""
    settings = {"corpus": options.corpus.name, "bytes": sum(path.stat().st_size for path in shards_of(options.corpus))}
    value: dict[str, Any] = {"format": FORMAT, "part": "tokenising", **around, "settings": settings, "rounds": []}
    if options.out and options.out.exists():
        known = read_json(options.out)
        same = (
            known.get("settings") == settings and known["source"]["source_sha256"] == around["source"]["source_sha256"]
        )
        if not same:
            raise LabError(f"{options.out} is of another corpus or source: choose another --out, or remove it")
        value = known
    for number in range(options.rounds):
        if number == len(value["rounds"]):
            value["rounds"].append({})
        for name in SIDES:
            if name not in value["rounds"][number]:
                value["rounds"][number][name] = in_a_process(name, options.corpus, options.python)
                print(f"round {number + 1}: {name}: {value['rounds'][number][name]}", file=sys.stderr, flush=True)
                if options.out:
                    write_json(options.out, value)
    return value


def summary(value: dict[str, Any]) -> list[str]:
    """A line a side: tokens/s, and how many times as fast lmlab's encoding is, round by round; LabError for unequal tokens."""
    rounds = value["rounds"]
    hashes = {entry["sha256"] for one in rounds for entry in one.values() if "sha256" in entry}
    if len(hashes) > 1:
        raise LabError(f"the sides made different tokens: {sorted(hashes)}")
    rates = {
        name: [one[name]["tokens"] / one[name]["seconds"] for one in rounds if "seconds" in one[name]] for name in SIDES
    }
    lines = []
    for name, found in rates.items():
        if not found:
            lines.append(
                f"{name:<24} left out: {rounds[0][name]['missing']} is not installed (--python names one that has it)"
            )
            continue
        low, high = quartiles(found)
        ratios = sorted(paired_ratios(rates["lmlab"], found))
        against = "" if name == "lmlab" else f"; lmlab is {ratios[len(ratios) // 2]:.2f} times as fast"
        lines.append(
            f"{name:<24} {sorted(found)[len(found) // 2]:>12,.0f} tokens/s ({low:,.0f} to {high:,.0f}){against}"
        )
    return lines


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", required=True, type=Path, help="a folder of parquet shards, or one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the packages of all sides")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", choices=tuple(SIDES), help="measure this side alone, here, and print JSON")
    options = parser.parse_args()
    try:
        if options.side:
            print(json.dumps(run_side(options.side, options.corpus)))
            return 0
        around = context(None)
        load = around["machine"]["load_average_before"]
        if load and load[0] > BUSY:
            print(f"benchmarks: the machine is busy (load {load[0]:.2f}): figures will be noisy", file=sys.stderr)
        value = measured(options, around)
        value["machine"]["load_average_after"] = load_average()
        if options.out:
            write_json(options.out, value)
        print(f"{logical_cores()} cores, {value['rounds'][0]['lmlab']['tokens']:,} tokens", *summary(value), sep="\n")
    except LabError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
