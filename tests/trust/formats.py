"""Every format that lmlab reads back, as something to damage: its bytes as written, and all that reads them.

A reader gets the bytes in place of the file's and does with them what the verbs do. It may return anything, or raise
LabError; whatever else it raises, warns of or takes is a fault.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lmlab.checkpoint.finding import find
from lmlab.checkpoint.opened import open_checkpoint
from lmlab.checkpoint.pointers import pointed
from lmlab.checkpoint.tensors import read_tensors
from lmlab.cli.report import described
from lmlab.data.cache import _recorded as remembered_hashes
from lmlab.data.catalogue_entry import CatalogueEntry, HubFolder
from lmlab.data.dataset import open_dataset
from lmlab.data.describe import describe
from lmlab.data.describe_lines import lines
from lmlab.data.documents import ReadingFindings, pieces
from lmlab.data.encode import read_journal
from lmlab.data.progress import Silent
from lmlab.data.scan import _open as open_scan
from lmlab.data.shards.existing import prepared_from
from lmlab.data.shards.hub import hub_files
from lmlab.data.shards.journal import ShardsJournal
from lmlab.data.shards.journal import read_journal as read_shards
from lmlab.data.shards.rows import ShardMark
from lmlab.data.sources import _of_path as source_of
from lmlab.data.tokenizers import load_tokenizer
from lmlab.evaluation.losses import most_frequent_token
from lmlab.evaluation.sample import choose_units
from lmlab.exchange.models.forms import read_model
from lmlab.exchange.models.pickled import write_pickle
from lmlab.exchange.models.tokenizer_files import find_tokenizer
from lmlab.exchange.models.tokenizers import definition_of
from lmlab.exchange.models.torch_file import read_torch_file
from lmlab.exchange.models.writing import Written, write_hf
from lmlab.experiment.parent import parent_again
from lmlab.experiment.verdict import verdict_on
from lmlab.files import Storage, read_json
from lmlab.model.build import build_model
from lmlab.native.build import _cached as remembered_build
from lmlab.planning.forecasts.score import score
from lmlab.planning.memory.check import needed_bytes
from lmlab.planning.trials.store import _known as known_figures
from lmlab.recipe import recipe_hash, to_toml
from lmlab.recipe.model import GPT, PRESETS
from lmlab.report import read_curves
from lmlab.runs import Journal, Run
from lmlab.runs.lock import _holder as holder
from lmlab.training.policy import read_policy
from lmlab.training.state import read_state
from tests.exchange.models import test_openai
from tests.exchange.models import test_other_forms as other_forms
from tests.exchange.models.made import characters, put_tokenizer, randomised


@dataclass(frozen=True)
class Format:
    """Bytes that are valid, and `read(changed bytes)`. `kind`: json, lines, toml or binary."""

    kind: str
    valid: bytes
    read: Callable[[bytes], Any]


class Unflushed(Storage):
    """A disk that is never asked to flush: ten thousand inputs would take an hour."""

    def flush(self, file: Any) -> None:
        pass

    def flush_folder(self, folder: Path) -> None:
        pass


def formats(made: SimpleNamespace, place: Path) -> dict[str, Format]:
    """Name -> format. `made` has a run and a data set, of which copies are put into the folder `place`."""
    found: dict[str, Format] = {}
    run = Path(shutil.copytree(made.run.folder, place / "run"))
    data = Path(shutil.copytree(made.dataset.folder, place / made.dataset.folder.name))
    _checkpoint_formats(found, run / "checkpoints")
    _data_formats(found, data)
    _tokenizer_formats(found, place)
    _run_formats(found, run)
    _cache_formats(found, place)
    _corpus_formats(found, place)
    _model_formats(found, place)
    return found


def _add(found: dict[str, Format], name: str, kind: str, path: Path, read: Callable[[], Any]) -> None:
    valid = path.read_bytes()

    def read_changed(content: bytes) -> Any:
        path.write_bytes(content)
        try:
            return read()
        finally:
            path.write_bytes(valid)

    found[name] = Format(kind, valid, read_changed)


def _checkpoint_formats(found: dict[str, Format], checkpoints: Path) -> None:
    folder = checkpoints / "step-00000006"
    _add(
        found,
        "weights.safetensors",
        "binary",
        folder / "weights.safetensors",
        lambda: read_tensors(folder / "weights.safetensors"),
    )
    manifest = json.loads((folder / "manifest.json").read_bytes())

    def read_changed_state(content: bytes) -> Any:
        (folder / "state.json").write_bytes(content)
        facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        changed = {**manifest, "files": {"state.json": facts}}
        (folder / "manifest.json").write_text(json.dumps(changed))
        return read_state(open_checkpoint(folder, 6).state)

    found["state.json"] = Format("json", (folder / "state.json").read_bytes(), read_changed_state)
    other = checkpoints / "step-00000003"
    _add(found, "manifest.json of a checkpoint", "json", other / "manifest.json", lambda: open_checkpoint(other, 3))
    pointer = checkpoints / "latest.json"
    _add(found, "latest.json", "json", pointer, lambda: (pointed(checkpoints, "latest"), find(checkpoints, "latest")))


def _model_formats(found: dict[str, Format], place: Path) -> None:
    """Files of other projects' models."""
    folders = {name: place / "models" / name for name in ("nanogpt", "llmc", "openai", "hf")}
    for folder in folders.values():
        folder.mkdir(parents=True)
        put_tokenizer(folder, other_forms.VOCABULARY)

    def add(form: str, file: str, kind: str, whole: bool = True) -> None:
        folder = folders[form]
        _add(found, f"{file} of {form}", kind, folder / file, lambda: read_model(folder if whole else folder / file))

    other_forms.checkpoint(folders["nanogpt"] / "ckpt.pt", *other_forms.nanogpt())
    add("nanogpt", "ckpt.pt", "binary", whole=False)
    with zipfile.ZipFile(folders["nanogpt"] / "ckpt.pt") as archive:
        pickled = archive.read("ckpt/data.pkl")
    found["data.pkl of nanogpt"] = Format("binary", pickled, lambda content: read_inside(content, place))
    alphabet = "abc\n"
    meta = write_pickle({"stoi": {sign: number for number, sign in enumerate(alphabet)}})
    (place / "meta.pkl").write_bytes(meta)
    _add(
        found, "meta.pkl of nanogpt", "binary", place / "meta.pkl", lambda: find_tokenizer(place, 4, place / "meta.pkl")
    )
    other_forms.llmc(folders["llmc"] / "model.bin", 3)
    add("llmc", "model.bin", "binary", whole=False)
    test_openai.put(folders["openai"], test_openai.weights())
    add("openai", "model.ckpt.index", "binary")
    add("openai", "hparams.json", "json")
    model = GPT(**{**PRESETS["llama"], "layers": 1, "heads": 2, "width": 8, "context": 8})
    tokenizer = characters(other_forms.VOCABULARY)
    weights = dict(randomised(build_model(model, tokenizer.vocabulary_size)).state_dict())
    facts: dict[str, Any] = {"name": "a", "step": 0, "loss": None, "vocabulary": tokenizer.vocabulary_size}
    write_hf(folders["hf"], Written(model=model, weights=weights, tokenizer=tokenizer, **facts))
    for file in ("config.json", "tokenizer.json"):
        add("hf", file, "json")


def read_inside(content: bytes, place: Path) -> Any:
    """Read a file of torch.save with another pickle in it."""
    whole = (place / "models" / "nanogpt" / "ckpt.pt").read_bytes()
    path = place / "changed.pt"
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(path, "w") as changed:
        for name in archive.namelist():
            changed.writestr(name, content if name.endswith("data.pkl") else archive.read(name))
    return read_torch_file(path)


def _data_formats(found: dict[str, Format], folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["shards"] = {
        "settings": "0" * 64,
        "place": [0, 1, 2],
        "complete": False,
        "files": [{"name": "000_00000.parquet", "bytes": 100, "sha256": "0" * 64}],
        "measured": {"tokens": 10, "documents": 2, "seconds": 0.5, "fetched_bytes": 0},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))

    def look() -> Any:
        dataset = open_dataset(folder)
        prepared_from(dataset)
        shown = lines(describe(dataset, 16))
        for split in dataset.splits:
            choose_units(dataset.units(split), len(dataset.tokens(split)), 50)
            dataset.document_bytes(split)
        return shown, most_frequent_token(dataset), dataset.token_bytes()

    _add(found, "manifest.json of a data set", "json", folder / "manifest.json", look)

    def reader_of(name: str) -> Callable[[bytes], Any]:
        whole = (folder / name).read_bytes()

        def read_changed(content: bytes) -> Any:
            (folder / name).write_bytes(content)
            changed = json.loads(json.dumps(manifest))
            changed["files"][name] = {"bytes": len(content), "sha256": "0" * 64}
            (folder / "manifest.json").write_text(json.dumps(changed))
            try:
                return look()
            finally:
                (folder / name).write_bytes(whole)

        return read_changed

    for name in ("documents-train.npy", "bytes-train.npy", "units-train.npy", "tokens-train.bin"):
        found[name] = Format("binary", (folder / name).read_bytes(), reader_of(name))


def _tokenizer_formats(found: dict[str, Format], place: Path) -> None:
    path = place / "tokenizer.json"
    values = {
        "characters": {
            "format": 1,
            "name": "characters",
            "alphabet": "\n aehté",
            "documents_end": True,
            "replace": False,
        },
        "bytes": {"format": 1, "name": "bytes", "documents_end": True},
        "words": {"format": 1, "name": "words", "words": ["the", "sea"], "lowercase": True, "replace": True},
        "bpe": {"format": 1, "name": "bpe", "merges": ["t h", "th e", "Ġ the"]},
    }
    definition = definition_of(load_tokenizer(values["bpe"]))
    ends = {"begin_of_text": None, "end_of_text": 0}
    values["imported"] = {"format": 1, "name": "imported", "vocabulary": 270, **ends, "definition": definition}

    def use() -> Any:
        tokenizer = load_tokenizer(read_json(path))
        assert tokenizer.vocabulary_size < 10_000
        everything = np.arange(tokenizer.vocabulary_size)
        spelt = tokenizer.decode_bytes(everything), tokenizer.decode(everything), tokenizer.token_bytes()
        return spelt, tokenizer.unknown_symbols("a the é"), tokenizer.to_json(), tokenizer.encode("a the é\n")

    for name, value in values.items():
        path.write_text(json.dumps(value))
        _add(found, f"tokenizer.json of {name}", "json", path, use)


def _run_formats(found: dict[str, Format], folder: Path) -> None:
    def add(name: str, kind: str, read: Callable[[Run], Any]) -> None:
        _add(found, f"{name} of a run", kind, folder / name, lambda: read(Run(folder)))

    def identity(run: Run) -> Any:
        return run.id, run.fact("data_id"), run.fact("recipe_hash"), run.fact("vocabulary_size"), parent_again(run)

    def experiment(run: Run) -> Any:
        recipe = run.recipe()
        return recipe_hash(recipe), to_toml(recipe), needed_bytes(recipe, 300)

    def curves(run: Run) -> Any:
        events, summary = run.read_lines("events"), run.summary()
        return described(read_curves("x", run.read_lines("metrics"), events=events, summary=summary)), run.status()

    def metrics(run: Run) -> Any:
        (folder / "discarded.jsonl").unlink(missing_ok=True)
        return curves(run), verdict_on(run), Journal(folder, "x", 1, Unflushed()).rewind({"metrics": 500})

    def policy(run: Run) -> Any:
        found = read_policy(run.read("policy.json"))
        return found.autocast_dtype, found.torch_device, found.exactness()

    add("origin.json", "json", identity)
    add("recipe.toml", "toml", experiment)
    add("policy.json", "json", policy)
    add(
        "forecast.json",
        "json",
        lambda run: score(run.read("forecast.json"), {"train_seconds": 1.0, "total_seconds": 2.0}),
    )
    add("summary.json", "json", curves)
    add("metrics.jsonl", "lines", metrics)
    add("events.jsonl", "lines", curves)
    add("samples.jsonl", "lines", lambda run: run.read_lines("samples"))
    add("segments.jsonl", "lines", lambda run: (run.read_lines("segments"), run.status()))
    add("units-valid.npy", "binary", lambda run: run.units())
    (folder / "lock").write_text('{"format": 1, "pid": 4711, "host": "here", "time": "2026-01-31T12:00:00.000Z"}\n')

    def who(run: Run) -> str:
        with open(folder / "lock", "rb", buffering=0) as file:
            return holder(file)

    add("lock", "json", who)


def _cache_formats(found: dict[str, Format], place: Path) -> None:
    def add(name: str, value: Any, read: Callable[[Path], Any]) -> None:
        path = place / "cached" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value))
        _add(found, f"{name} of the cache", "json", path, lambda: read(path))

    counts = {"documents": 0, "characters": 3, "bytes": 3, "empty_documents": 0, "forced_cuts": 0}
    texts = {"text_sha256": "0" * 64, "alphabet": "abc", "skipped_files": ["x"]}
    (place / "cached").mkdir()
    (place / "cached" / "documents.bin").write_bytes(b"")
    journal = {"pieces": 1, "characters": 2, "tokens": [3, 0, 0], "documents": [1, 0, 0], "done": False}
    add("scan.json", {"format": 1, **counts, **texts}, lambda path: open_scan(path.parent))
    add("journal.json", journal, lambda path: read_journal(path.parent))
    add("shards.json", ShardsJournal(marks=[ShardMark("a", 1, "0")]).to_json(), lambda path: read_shards(path.parent))
    listed = {"path": "sample/10BT/000_00000.parquet", "bytes": 7, "sha256": "0" * 64}
    hub = HubFolder(repository="a/b", revision="0" * 40, folder="sample/10BT")
    entry = CatalogueEntry(name="cached", about="", licence="", home="", hub=hub)
    listing = {
        "format": 1,
        "repository": hub.repository,
        "revision": hub.revision,
        "folder": hub.folder,
        "files": [listed],
    }
    (place / "corpora").mkdir()
    (place / "corpora" / "cached").symlink_to(place / "cached", target_is_directory=True)
    add("listing.json", listing, lambda path: hub_files(entry, place, Silent(), fetch=False))
    add("hashes.json", {"/x": [1, 2, 3, "0" * 64]}, remembered_hashes)
    add("build.json", {"format": 1, "compiler": "g++", "sha256": "0" * 64}, lambda path: remembered_build(path.parent))
    figures = {"format": 1, "busy": False, "figures": {"native on 2 threads": 0.1, "torch on 2 threads": 0.2}}
    add("measured.json", figures, lambda path: known_figures(path, list(figures["figures"]), False))  # type: ignore[call-overload]


def _corpus_formats(found: dict[str, Format], place: Path) -> None:
    import pyarrow
    import pyarrow.parquet
    import zstandard

    text = "The old lamp waits for the rain.\n<|endoftext|>\nNobody remembers “home”.\n" * 5
    records = "".join(json.dumps({"text": line, "n": [1, {"a": 2}]}) + "\n" for line in text.splitlines()).encode()
    table, archive = io.BytesIO(), io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": text.splitlines(), "n": range(len(text.splitlines()))}), table)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("one.txt", text)
        opened.writestr("folder/two.jsonl", records)
    contents = {
        "plain.txt": text.encode(),
        "records.jsonl": records,
        "packed.txt.gz": gzip.compress(text.encode()),
        "packed.jsonl.xz": lzma.compress(records),
        "packed.txt.bz2": bz2.compress(text.encode()),
        "packed.txt.zst": zstandard.ZstdCompressor().compress(text.encode()),
        "archive.zip": archive.getvalue(),
        "table.parquet": table.getvalue(),
    }

    def read(path: Path) -> int:
        source = source_of(path, "x", "x")
        return sum(
            len(piece.text)
            for piece in pieces(source.files, "marker:<|endoftext|>", "text", Silent(), ReadingFindings())
        )

    for name, content in contents.items():
        path = place / name
        path.write_bytes(content)
        _add(
            found,
            f"corpus {name}",
            "lines" if name == "records.jsonl" else "binary",
            path,
            lambda path=path: read(path),
        )
