"""Files of every format, damaged in every way that hypothesis finds: read, or refused in one line, and never worse.

Each format gets some hundred inputs; with `-m fuzz` it gets 10,000 (LMLAB_FUZZ says another number). Half of them are a
valid file with bits flipped, bytes put in, cut or moved, or values replaced; half are built from the format's own words.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.hardware.memory import peak_memory_bytes
from tests.trust.formats import Format, formats
from tests.trust.support import assert_one_line

QUICK = 100
LONG = int(os.environ.get("LMLAB_FUZZ", "10000"))
SLOWEST_SECONDS = 5.0
MOST_BYTES = 100 << 20
"""By which the reading of one file may raise this process's peak."""

FAULTS = (
    *("expected", " is damaged", "can't be", "this version reads", "is not valid TOML"),
    *("prepare the data again", "take it from a copy", "convert the file to UTF-8", "is missing"),
    *("to name one of these", "must be", "did you mean", ", got ", "start it again"),
)
"""What a refusal says: what the fault is, or what helps."""
NAMES = [
    *("weights.safetensors", "manifest.json of a checkpoint", "state.json", "latest.json"),
    *("manifest.json of a data set", "documents-train.npy", "bytes-train.npy", "units-train.npy", "tokens-train.bin"),
    *("tokenizer.json of characters", "tokenizer.json of bytes", "tokenizer.json of words", "tokenizer.json of bpe"),
    "tokenizer.json of imported",
    *("origin.json of a run", "recipe.toml of a run", "policy.json of a run", "forecast.json of a run"),
    *("summary.json of a run", "metrics.jsonl of a run", "events.jsonl of a run", "samples.jsonl of a run"),
    *("segments.jsonl of a run", "units-valid.npy of a run", "lock of a run"),
    *(
        "scan.json of the cache",
        "journal.json of the cache",
        "listing.json of the cache",
        "shards.json of the cache",
        "hashes.json of the cache",
    ),
    *("build.json of the cache", "measured.json of the cache"),
    *("corpus plain.txt", "corpus records.jsonl", "corpus packed.txt.gz", "corpus packed.jsonl.xz"),
    *("corpus packed.txt.bz2", "corpus packed.txt.zst", "corpus archive.zip", "corpus table.parquet"),
    *("ckpt.pt of nanogpt", "data.pkl of nanogpt", "meta.pkl of nanogpt", "model.bin of llmc"),
    *("model.ckpt.index of openai", "hparams.json of openai", "config.json of hf", "tokenizer.json of hf"),
]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, -1, 2**31, 2**63 - 1, 2**63, 10**39, 10**400, -(10**30)]),
    st.floats(),
    st.sampled_from([1e308, 5e-324, -0.0]),
    st.text(max_size=8),
    st.sampled_from(["", "..", "../x", "/etc/passwd", "C:\\x", "\0", "\ud800", "\x1b[2J", "none", "x" * 3000, "a\nb"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
DEEP = [
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"[" * 900 + b"]" * 900,
    b'{"format": 1, "a": ' + b"[" * 200 + b"]" * 200 + b"}",
]
WORDS = [
    *(
        b"",
        b"\0",
        b"\n",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"[]",
        b"{}",
        b"null",
        b"NaN",
        b"-Infinity",
        b"1e999",
    ),
    *(
        b"9" * 5000,
        b"0x" + b"f" * 5000,
        b'"\\ud800"',
        b'"\\u0000"',
        b"\x1b[31m",
        b"\x93NUMPY\x01\0",
        b"PK\x03\x04",
        b"\x80\x04.",
    ),
    *((1 << 63).to_bytes(8, "little"), ((1 << 64) - 1).to_bytes(8, "little"), (1 << 40).to_bytes(8, "little")),
    *(b"(9999999999999,)", b"(-1,)", b"(1, 2)", b"'|O'", b"'<f8'", b"a.b.c.d.e.f.g.h.i.j = 1\n", b"[[claims]]\n"),
    *(b"1979-05-27T07:32:00Z", b'"""', b"'''", b"inf", b"true"),
]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "drop", "double", "move", "put", "end"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
        st.sampled_from(WORDS),
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list[tuple[str, float, int, bytes]]) -> bytes:
    """`content` after these changes, each at a share of its length."""
    found = bytearray(content)
    for kind, share, number, word in edits:
        at = int(share * len(found))
        if kind == "flip" and found:
            found[at] ^= 1 << number % 8
        elif kind == "set" and found:
            found[at] = number
        elif kind == "cut":
            del found[at:]
        elif kind == "drop":
            del found[at : at + number]
        elif kind == "double":
            found[at:at] = found[at : at + number]
        elif kind == "move":
            found[at : at + len(word)] = found[: len(word)]
        elif kind == "put":
            found[at:at] = word
        elif kind == "end":
            found += word
    return bytes(found)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value in a JSON value stands."""
    found = [path]
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        found += paths_in(entry, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """`value` with `new` where `path` leads."""
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: replaced(value[key], tuple(rest), new)}
    return [replaced(entry, tuple(rest), new) if index == key else entry for index, entry in enumerate(value)]


def texts_of(value: Any) -> bytes:
    """JSON as json.dumps writes it, NaN and infinities included; digits beyond Python's limit by hand."""
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value).encode()
    finally:
        sys.set_int_max_str_digits(4300)


def changed_json(content: bytes) -> st.SearchStrategy[bytes]:
    """A JSON file with one or two of its values replaced, or taken out."""
    value = json.loads(content)
    paths = paths_in(value)

    def change(changes: list[tuple[tuple[Any, ...], Any]]) -> bytes:
        found = value
        for path, new in changes:
            if path in paths_in(found):
                found = replaced(found, path, new)
        return texts_of(found)

    return st.lists(st.tuples(st.sampled_from(paths), VALUES), min_size=1, max_size=2).map(change)


def changed_lines(content: bytes) -> st.SearchStrategy[bytes]:
    """A file of JSON lines with one of them changed, and perhaps torn."""
    lines = [line for line in content.split(b"\n") if line]

    def change(number: int) -> st.SearchStrategy[bytes]:
        return changed_json(lines[number]).map(
            lambda new: b"".join(line + b"\n" for line in [*lines[:number], new, *lines[number + 1 :]])
        )

    return st.integers(0, len(lines) - 1).flatmap(change)


def changed_toml(content: bytes) -> st.SearchStrategy[bytes]:
    """A recipe with the value of a setting replaced by any that JSON has, which TOML mostly has too."""
    lines = content.decode().split("\n")
    settings_at = [number for number, line in enumerate(lines) if " = " in line]

    def change(number: int, new: Any) -> bytes:
        name = lines[number].partition(" = ")[0]
        line = f"{name} = {texts_of(new).decode()}"
        return "\n".join([*lines[:number], line, *lines[number + 1 :]]).encode("utf-8", errors="surrogatepass")

    return st.builds(change, st.sampled_from(settings_at), VALUES)


def inputs(format: Format) -> st.SearchStrategy[bytes]:
    """What the format's reader is given."""
    edits = EDITS.map(lambda edits: edited(format.valid, edits))
    garbage = (
        st.binary(max_size=200) | st.lists(st.sampled_from(WORDS), max_size=8).map(b"".join) | st.sampled_from(DEEP)
    )
    if format.kind == "json":
        return st.one_of(edits, changed_json(format.valid), VALUES.map(texts_of), garbage)
    if format.kind == "lines":
        return st.one_of(edits, changed_lines(format.valid), garbage)
    if format.kind == "toml":
        return st.one_of(edits, changed_toml(format.valid), garbage)
    return st.one_of(edits, edits, garbage)


@pytest.fixture(scope="module")
def grounds(made, tmp_path_factory):
    return formats(made, tmp_path_factory.mktemp("fuzz"))


def assert_read_or_refused(format: Format, examples: int) -> None:
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(inputs(format))
    def read(content: bytes) -> None:
        began, before = time.thread_time(), peak_memory_bytes()
        try:
            format.read(content)
        except LabError as error:
            # A change at random may be any fault; each is said in one of these ways.
            assert any(words in str(error) for words in FAULTS), str(error)
            assert_one_line(str(error), " ")
        assert time.thread_time() - began < SLOWEST_SECONDS
        assert peak_memory_bytes() - before < MOST_BYTES

    format.read(format.valid)
    read()


def test_every_format_is_in_the_list(grounds):
    assert set(grounds) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_refused_in_one_line(grounds, name):
    assert_read_or_refused(grounds[name], QUICK)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_damaged_files_are_read_or_refused_in_one_line(grounds, name):
    assert_read_or_refused(grounds[name], LONG)
