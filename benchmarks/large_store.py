"""Training from a token store that is larger than memory: tokens/s against the same training from one that fits.

    python -m benchmarks.large_store --folder DIR --store 8GB --memory 2GB [--steps 300] [--rounds 3] --out results/large-store.json

Two stores of random tokens are made in --folder: one of --store, and one of an eighth of --memory. The same small model is trained
on each in turns, in a process that a control group (Linux, cgroup v2) allows --memory of, page cache included. Where no control
group can be made, the process's private memory is limited instead (RLIMIT_DATA), which leaves the page cache to the machine: the
result says which. The order is `shuffle`, so that every batch reads windows from anywhere in the store. What --out holds isn't
measured again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import BUSY, context, load_average
from benchmarks.paired import paired_ratios
from benchmarks.worker import ROOT
from lmlab import LabError
from lmlab.data import manifest as shape
from lmlab.data.finish import file_entry, save_array
from lmlab.data.token_files import tokens_file
from lmlab.data.tokenizers.bytes import Bytes
from lmlab.data.units import UNIT
from lmlab.files import new_file, read_json, require_free_bytes, write_json
from lmlab.recipe.quantities import bytes_in

FORMAT = 1
BLOCK = 1 << 24
DOCUMENT = 1024
"""Tokens of a document."""
VALID_DOCUMENTS = 300
CGROUPS = Path("/sys/fs/cgroup")
SIDES = ("fits", "larger")
SETTINGS = {
    "model.layers": "2",
    "model.heads": "4",
    "model.width": "64",
    "model.context": "256",
    "train.batch": "32",
    "train.device": "cpu",
    "evaluate.every": "1000000",
    "evaluate.final": "sample",
    "evaluate.tokens": "4096",
    "data.tokenizer": "bytes",
}


def make_store(folder: Path, size: int) -> Path:
    """A data set of random bytes whose training split takes `size` bytes on the disk; one that exists is kept."""
    tokens = size // 2 // DOCUMENT * DOCUMENT
    identity = f"{tokens:016x}"
    place = folder / f"random-{identity}"
    if (place / shape.NAME).exists():
        return place
    place.mkdir(parents=True, exist_ok=True)
    require_free_bytes(place, size, "the store")
    random = np.random.default_rng(1)
    entries = {}
    for split, count in (("train", tokens), ("valid", VALID_DOCUMENTS * DOCUMENT)):
        with new_file(place / tokens_file(split)) as file:
            for begin in range(0, count, BLOCK):
                file.write(random.integers(0, 256, min(BLOCK, count - begin), dtype=np.uint16).tobytes())
        starts = np.arange(0, count + 1, DOCUMENT, dtype="<i8")
        units = np.zeros(len(starts) - 1, UNIT)
        units["bytes"], units["start"] = DOCUMENT, starts[:-1]
        units["key"] = np.array([number.to_bytes(32, "big") for number in range(len(units))], "V32")
        save_array(place / shape.documents_file(split), starts)
        save_array(place / shape.bytes_file(split), np.full(len(units), DOCUMENT, "<i8"))
        save_array(place / shape.units_file(split), units)
        documents = len(units)
        sizes = {"tokens": count, "documents": documents, "bytes": count, "units": documents, "unit": "document"}
        entries[split] = sizes
    tokenizer = Bytes(documents_end=True)
    write_json(place / shape.TOKENIZER, tokenizer.to_json())
    write_json(place / shape.NAME, _manifest(place, identity, tokenizer, entries))
    return place


def _manifest(place: Path, identity: str, tokenizer: Bytes, entries: dict[str, Any]) -> dict[str, Any]:
    characters = sum(entry["bytes"] for entry in entries.values())
    documents = sum(entry["documents"] for entry in entries.values())
    return {
        "format": shape.FORMAT,
        "id": identity,
        "corpus": {
            "name": "random",
            "documents": documents,
            "characters": characters,
            "bytes": characters,
            "alphabet": None,
            "documents_rule": "records",
            "empty_documents": 0,
            "forced_cuts": 0,
            "skipped_files": [],
            "left_out_files": [],
        },
        "split": {"rule": "first", "valid_share": 0.0, "cut_characters": None, "valid_documents": VALID_DOCUMENTS},
        "tokenizer": {
            "name": tokenizer.name,
            "vocabulary": tokenizer.vocabulary_size,
            "lossless": True,
            "end_of_text": tokenizer.end_of_text,
        },
        "token_type": "uint16",
        "splits": entries,
        "duplicates": {
            "documents": 0,
            "of_documents": VALID_DOCUMENTS,
            "share_of_tokens": 0.0,
            "lines": None,
            "of_lines": None,
        },
        "files": {name: file_entry(place / name) for name in shape.files_of(list(entries))},
    }


def limited(memory: int) -> str:
    """Limit this process's memory; return how: `control group`, or `private memory` where none can be made."""
    group = group_of(os.getpid())
    if has_control_groups():
        try:
            group.mkdir()
            (group / "memory.max").write_text(str(memory))
            (group / "memory.swap.max").write_text("0")
            (group / "cgroup.procs").write_text(str(os.getpid()))
            return "control group"
        except OSError:
            remove_group(group)
    try:
        import resource
    except ImportError:
        raise LabError("this system limits no process's memory: run it on Linux or macOS") from None
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    return "private memory"


def has_control_groups() -> bool:
    """Whether cgroup v2 limits memory here: its folder is not any file system's."""
    try:
        return "memory" in (CGROUPS / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def group_of(process: int) -> Path:
    """The control group of a process of this benchmark."""
    return CGROUPS / f"lmlab-large-store-{process}"


def remove_group(group: Path) -> None:
    """Remove a control group without processes."""
    with contextlib.suppress(OSError):
        group.rmdir()


def run_side(store: Path, memory: int, steps: int) -> dict[str, Any]:
    """Train in this process, with its memory limited; tokens/s of its steps."""
    how = limited(memory)
    from lmlab.experiment.start import train
    from lmlab.recipe import Recipe, override
    from lmlab.training.display import Quiet

    recipe = override(Recipe(), {**SETTINGS, "data.corpus": str(store), "train.steps": str(steps)})
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(recipe, runs=folder, display=Quiet(), say=lambda line: None)
    return {
        "limit": how,
        "tokens_per_second": outcome.summary["score"]["tokens_per_second"]["measured"],
        "store_bytes": (store / tokens_file("train")).stat().st_size,
    }


def in_a_process(store: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What `run_side` returns, in a new process; its control group is removed after it."""
    words = [sys.executable, "-m", "benchmarks.large_store", "--side", str(store), "--memory", options.memory]
    words += ["--steps", str(options.steps)]
    started = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, complaint = started.communicate()
    remove_group(group_of(started.pid))
    if started.returncode:
        last = complaint.strip().splitlines()[-1:] or [f"status {started.returncode}"]
        raise LabError(f"the training from {store.name} failed: {last[0]}")
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def measured(options: argparse.Namespace, around: dict[str, Any]) -> dict[str, Any]:
    """The rounds; each side is stored when it's done, and what the file has already is kept."""
    memory = bytes_in(options.memory)
    sizes = {"fits": memory // 8, "larger": bytes_in(options.store)}
    settings = {"memory": memory, "stores": sizes, "steps": options.steps, "recipe": SETTINGS}
    value: dict[str, Any] = {"format": FORMAT, "part": "large store", **around, "settings": settings, "rounds": []}
    if options.out and options.out.exists():
        known = read_json(options.out)
        if known.get("settings") != settings or known["source"]["source_sha256"] != around["source"]["source_sha256"]:
            raise LabError(f"{options.out} has other settings or another source: choose another --out, or remove it")
        value = known
    stores = {name: make_store(options.folder, sizes[name]) for name in SIDES}
    for number in range(options.rounds):
        if number == len(value["rounds"]):
            value["rounds"].append({})
        for name in SIDES:
            if name not in value["rounds"][number]:
                value["rounds"][number][name] = in_a_process(stores[name], options)
                print(f"round {number + 1}: {name}: {value['rounds'][number][name]}", file=sys.stderr, flush=True)
                if options.out:
                    write_json(options.out, value)
    return value


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the stores are made")
    parser.add_argument("--store", default="8GB", help="size of the larger one, such as 8GB")
    parser.add_argument("--memory", default="2GB", help="what the training's process may use")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", type=Path, help="train on this store alone, here, and print JSON")
    options = parser.parse_args()
    try:
        if options.side:
            print(json.dumps(run_side(options.side, bytes_in(options.memory), options.steps)))
            return 0
        if options.folder is None:
            raise LabError("--folder is missing: where the stores are made")
        around = context(None)
        load = around["machine"]["load_average_before"]
        if load and load[0] > BUSY:
            print(f"benchmarks: the machine is busy (load {load[0]:.2f}): figures will be noisy", file=sys.stderr)
        value = measured(options, around)
        value["machine"]["load_average_after"] = load_average()
        if options.out:
            write_json(options.out, value)
        rates = {name: [one[name]["tokens_per_second"] for one in value["rounds"]] for name in SIDES}
        ratios = sorted(paired_ratios(rates["larger"], rates["fits"]))
        how = value["rounds"][0]["larger"]["limit"]
        print(
            f"{options.store} in {options.memory} ({how}): {ratios[len(ratios) // 2]:.2f} times the speed of one that fits"
        )
    except LabError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
