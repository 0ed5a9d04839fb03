"""The tables of docs/corpora.md and docs/serving.md: tokenising, stores that memory can't hold, many clients at once.

python -m benchmarks.tokenising --corpus FOLDER --python VENV/bin/python --out docs/tokenising.json
python -m benchmarks.large_store --folder DIR --store 32GB --memory 4GB --out docs/large-store.json
python -m benchmarks.serving RUN --to docs/serving.json
python -m benchmarks.measured_pages
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.paired import paired_ratios
from benchmarks.render import fill
from benchmarks.serving import table as clients_table
from benchmarks.serving import verdict
from benchmarks.tokenising import SIDES
from benchmarks.worker import ROOT
from lmlab.files import read_json, write_text
from lmlab.recipe.quantities import byte_count

DOCS = ROOT / "docs"
DESCRIBED = {
    "lmlab": "lmlab, encoding alone",
    "lmlab, whole data set": "lmlab, the whole data set with hashes, tables and duplicates",
    "one by one": "tiktoken, one document after the other",
    "datasets.map": "`datasets.map` in two processes, then one array, as nanoGPT does",
    "nanochat's batches": "tiktoken's own threads on batches, as nanochat does",
}


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        write_text(path, text)


def pages() -> dict[Path, str]:
    """Each page with the tables of what was measured."""
    made = {
        DOCS / "corpora.md": {
            "tokenising": (DOCS / "tokenising.json", tokenising_table),
            "large-store": (DOCS / "large-store.json", store_table),
        },
        DOCS / "serving.md": {"serving": (DOCS / "serving.json", serving_table)},
    }
    return {
        page: fill(
            page.read_text(encoding="utf-8"),
            {name: table(read_json(path)) for name, (path, table) in tables.items() if path.is_file()},
        )
        for page, tables in made.items()
    }


def tokenising_table(value: Mapping[str, Any]) -> str:
    """A row a side: tokens/s, and how many times as fast lmlab's encoding is."""
    rates = {name: [one[name]["tokens"] / one[name]["seconds"] for one in value["rounds"]] for name in SIDES}
    lines = ["| | tokens/s | speed of lmlab's encoding as a multiple |", "|---|---:|---:|"]
    for name, found in rates.items():
        ratio = "-" if name == "lmlab" else f"{statistics.median(paired_ratios(rates['lmlab'], found)):.2f}"
        lines.append(f"| {DESCRIBED[name]} | {statistics.median(found) / 1e6:.2f}M | {ratio} |")
    tokens = value["rounds"][0]["lmlab"]["tokens"]
    return "\n".join([*lines, "", f"{tokens / 1e6:.1f}M GPT-2 tokens of web text; {_machine(value)}."])


def store_table(value: Mapping[str, Any]) -> str:
    """A row a store."""
    rates = {name: [one[name]["tokens_per_second"] for one in value["rounds"]] for name in ("fits", "larger")}
    ratio = statistics.median(paired_ratios(rates["larger"], rates["fits"]))
    sizes = {name: byte_count(value["rounds"][0][name]["store_bytes"]) for name in rates}
    return "\n".join(
        [
            "| store | tokens/s | of the speed of the small one |",
            "|---|---:|---:|",
            f"| {sizes['fits']} | {statistics.median(rates['fits']):,.0f} | |",
            f"| {sizes['larger']} | {statistics.median(rates['larger']):,.0f} | {ratio:.2f} |",
            "",
            f"A model of 2 layers and width 64, windows of 256 tokens in the order `shuffle`; {_machine(value)} with "
            f"{byte_count(value['machine']['memory'])} of memory, of which the process may have "
            f"{byte_count(value['settings']['memory'])} of its own.",
        ]
    )


def serving_table(value: Mapping[str, Any]) -> str:
    """A row a number of clients, and what batching trades."""
    found = value["context"]["machine"]
    where = f"{found['logical_cores']} cores of an {found['cpu']}"
    return f"{clients_table(value['results'])}\n\n{verdict(value['results'])}; {where}."


def _machine(value: Mapping[str, Any]) -> str:
    found = value["machine"]
    return f"{found['logical_cores']} cores of an {found['cpu']}, medians of {len(value['rounds'])} rounds in turns"


if __name__ == "__main__":
    main()
