"""A corpus that is small on the disk and expands without end: read as it streams, with little memory, or refused.

Nothing limits how much text a file may unpack to, since a large text of few words packs as well as a bomb does; what a
preparation writes is held against the room on the disk, and the tests hold its memory against a limit.
"""

import bz2
import gzip
import io
import json
import lzma
import struct
import tracemalloc
import zipfile

import pytest
import zstandard

from lmlab.data.documents import ReadingFindings, pieces, safe_cut
from lmlab.data.progress import Silent
from lmlab.data.readers import LONGEST_RECORD, SourceFile, describe_name
from lmlab.data.sources import _of_path as source_of
from lmlab.files import parse_json, read_json, strict_json
from tests.trust.support import assert_answers_one_line, assert_refused, computes_at_most, confined

MEGABYTE = 1 << 20
UNPACKED = 300 * MEGABYTE
WORDS = b"the rain in the old town " * 1000


def packed(packing, block, size):
    """`size` bytes of `block` again and again, packed as a stream, without ever being held whole."""
    times = size // len(block)
    if packing == "gz":
        content = io.BytesIO()
        with gzip.GzipFile(fileobj=content, mode="wb", compresslevel=1) as file:
            for _ in range(times):
                file.write(block)
        return content.getvalue()
    packer = {
        "xz": lambda: lzma.LZMACompressor(preset=0),
        "bz2": bz2.BZ2Compressor,
        "zst": zstandard.ZstdCompressor().compressobj,
    }[packing]()
    return b"".join(packer.compress(block) for _ in range(times)) + packer.flush()


def file_of(path):
    kind, packing = describe_name(path.name)
    return SourceFile(name=path.name, path=path, kind=kind, packing=packing)


def read(path):
    files = source_of(path, "x", "x").files
    return sum(len(piece.text) for piece in pieces(files, "marker:<|endoftext|>", "text", Silent(), ReadingFindings()))


@pytest.mark.parametrize("packing", ["gz", "xz", "zst"])
def test_text_that_unpacks_to_much_streams_with_little_memory(tmp_path, packing):
    path = tmp_path / f"bomb.txt.{packing}"
    path.write_bytes(packed(packing, WORDS, 150 * MEGABYTE))
    assert path.stat().st_size < 2 * MEGABYTE
    tracemalloc.start()
    assert read(path) == 150 * MEGABYTE // len(WORDS) * len(WORDS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * MEGABYTE  # 4 KiB of an .xz or .zst may be tens of megabytes of text


def test_bombs_without_a_line_end_are_refused_or_read_by_a_process_with_little_memory(tmp_path):
    record = b'{"text": "' + b"a" * 9990
    (tmp_path / "line.jsonl.gz").write_bytes(packed("gz", b"a" * MEGABYTE, UNPACKED))
    (tmp_path / "record.jsonl.zst").write_bytes(packed("zst", record, UNPACKED))
    with zipfile.ZipFile(tmp_path / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep/escape.jsonl", b"a" * (LONGEST_RECORD + 2))
        archive.writestr("../../../escape.jsonl", b"a")
    (tmp_path / "table.parquet.gz").write_bytes(packed("gz", b"PAR1" * 1000, 100 * MEGABYTE))
    names = ["line.jsonl.gz", "record.jsonl.zst", "archive.zip", "table.parquet.gz"]
    answers = confined([["data", "prepare", tmp_path / name, "--data.tokenizer", "bytes"] for name in names], tmp_path)
    for answer, words in zip(answers, [["line 1 has"], ["line 1 has"], ["line 1 has"], ["parquet"]], strict=True):
        assert_answers_one_line(answer, *words)
    assert not list(tmp_path.parent.glob("escape*")) and not list(tmp_path.glob("escape*"))


def test_an_xz_that_asks_for_gigabytes_is_refused(tmp_path):
    large = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20, "preset": 0}]
    content = bytearray(lzma.compress(b"some text " * 10, filters=large))
    # The dictionary's size is one byte in the block's header, which has a CRC32 of its own.
    size = (content[12] + 1) * 4
    place = content.index(bytes([0x21, 0x01]), 12, 12 + size) + 2
    content[place] = 40  # 4 GiB
    import zlib

    content[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(content[12 : 12 + size - 4]))
    path = tmp_path / "large.txt.xz"
    path.write_bytes(content)
    assert_refused(lambda: read(path), "large.txt.xz", "damaged", most_bytes=1 << 25)


def test_streams_of_xz_one_after_another_with_padding_between_are_all_read(tmp_path):
    path = tmp_path / "two.txt.xz"
    path.write_bytes(lzma.compress(b"one ") + b"\0" * 8 + lzma.compress(b"two"))
    assert read(path) == 7
    path.write_bytes(lzma.compress(b"one ") + b"rubbish at the end")
    assert_refused(lambda: read(path), "two.txt.xz", "damaged", most_bytes=1 << 25)


def test_a_zstandard_frame_that_asks_for_gigabytes_is_refused(tmp_path):
    path = tmp_path / "large.txt.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + b"\x00" + b"\xf8" + b"\x01\x00\x00")  # a window of 2 TB
    assert_refused(lambda: read(path), "large.txt.zst", "damaged")


def test_white_space_without_end_is_cut_in_time_that_grows_with_it(tmp_path):
    with computes_at_most(2):
        assert safe_cut("a" + " " * 8_000_000, 0, 8_000_001) is None
        assert safe_cut("one two" + "\t " * 4_000_000, 0, 8_000_007) == 3


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x05\x06" + b"\xff" * 18, "Bad offset for central directory"),
        (b"PK\x03\x04" + bytes(100), "File is not a zip file"),
        (b"", "File is not a zip file"),
        (b"rubbish" * 10, "File is not a zip file"),
    ],
    ids=["its end alone", "its beginning alone", "nothing", "something else"],
)
def test_an_archive_that_is_none_is_refused(tmp_path, content, why):
    path = tmp_path / "bad.zip"
    path.write_bytes(content)
    assert_refused(lambda: read(path), f"bad.zip can't be read as a zip archive ({why})")


def test_a_parquet_file_with_an_absurd_footer_is_refused(tmp_path):
    pytest.importorskip("pyarrow.parquet")  # its import alone may allocate more than a refusal may
    path = tmp_path / "bad.parquet"
    for length in (0, 7, 1 << 20, (1 << 32) - 1):
        path.write_bytes(b"PAR1" + b"\x15\x04" * 40 + struct.pack("<I", length) + b"PAR1")
        expected = "expected an intact parquet file"
        assert_refused(lambda: read(path), "bad.parquet is not readable as parquet (", expected)


NOT_JSON = (
    "line 2 (byte 17) is not JSON (nested too deeply, too many values, or a number of thousands of digits): expected one "
    "object a line"
)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[" * 100_000, NOT_JSON),
        (b'{"text": ' + b"9" * 10_000 + b"}", NOT_JSON),
        (b'{"text": "x", "more": [' + b"[]," * 1_050_000 + b"1]}", NOT_JSON),
        (b'{"text": "\\ud800"}', "'text' in line 2 has half a surrogate pair at character 0: expected text"),
        (b'{"text": {"a": 1}}', "'text' in line 2 is dict: expected text; --data.column names another"),
        (b"3", "line 2 is not a JSON object: expected one with a text in 'text'"),
        (b"\xff", "is not UTF-8: byte 17 (line 2) is 0xff (invalid start byte); convert the file to UTF-8"),
    ],
    ids=["deep nesting", "many digits", "many lists", "half a surrogate", "no text", "no object", "no UTF-8"],
)
def test_a_hostile_line_of_jsonl_is_refused(tmp_path, line, words):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(json.dumps({"text": "fine"}).encode() + b"\n" + line + b"\n")
    assert_refused(lambda: read(path), "bad.jsonl", words)


def test_an_entry_of_an_archive_without_a_name_is_none(tmp_path):
    path = tmp_path / "nameless.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"text")
    path.write_bytes(path.read_bytes().replace(b"x", b"\0"))  # zipfile cuts a name at NUL
    assert_refused(lambda: read(path), "nameless.zip", "no files")


GROWN = {
    "lists": (b"[],", 1 << 16, "lists and objects"),
    "objects": (b"{},", 1 << 16, "lists and objects"),
    "objects with a name": (b'{"a":1},', 1 << 16, "lists and objects"),
    "texts": (b'"ab",', 8 << 16, "values"),
    "numbers": (b"1000,", 8 << 16, "values"),
    "fractions": (b"1.5,", 8 << 16, "values"),
}
"""What is many times larger in memory than in a file: one of it, and of how many a file may consist, at a sixteenth."""


@pytest.fixture
def a_sixteenth(monkeypatch):
    """Limits that tests reach quickly."""
    for name in ("MOST_LISTS", "MOST_NAMES", "MOST_VALUES"):
        monkeypatch.setattr(strict_json, name, getattr(strict_json, name) // 16)


def names(count):
    return b"{" + b",".join(b'"%x":1000' % number for number in range(count)) + b"}"


@pytest.mark.parametrize("kind", GROWN)
def test_json_that_would_grow_in_memory_is_refused_before_it_is_parsed(tmp_path, a_sixteenth, kind):
    one, most, words = GROWN[kind]
    path = tmp_path / "grown.json"
    path.write_bytes(b"[" + one * (most + 1) + b"1]")
    words = f"it has more than {most:,} {words}"
    assert_refused(lambda: read_json(path), "grown.json", words, most_bytes=path.stat().st_size + 2 * MEGABYTE)


def test_json_with_too_many_names_is_refused_before_it_is_parsed(tmp_path, a_sixteenth):
    path = tmp_path / "names.json"
    path.write_bytes(names((1 << 16) + 1))
    room = path.stat().st_size + 2 * MEGABYTE
    assert_refused(lambda: read_json(path), "names.json", "it has more than 65,536 names", most_bytes=room)


def test_a_file_of_a_million_empty_lists_is_refused(tmp_path):
    path = tmp_path / "lists.json"
    path.write_bytes(b"[" + b"[]," * (1 << 20) + b"1]")
    assert_refused(lambda: read_json(path), "lists.json is damaged", "it has more than 1,048,576 lists and objects")


@pytest.mark.parametrize("kind", [*GROWN, "names"])
def test_json_that_is_just_small_enough_takes_no_more_memory_than_was_counted(a_sixteenth, kind):
    """Bytes for each list, name and value, and thrice the file."""
    if kind == "names":
        content = names(1 << 16)
    else:
        one, most, _ = GROWN[kind]
        content = b"[" + one * (most - 2) + b"1]"
    tracemalloc.start()
    assert len(parse_json(content)) > 60_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    most_bytes = {"texts": 80 << 19, "numbers": 56 << 19, "fractions": 56 << 19}.get(kind, 280 << 16)
    assert peak < most_bytes + 3 * len(content), peak / len(content)


def test_brackets_commas_and_colons_in_texts_are_no_values():
    text = '[],{}:"\\' * 2_000_000 + "\n"
    value = {"alphabet": text, text[:9]: ["\\", '"', '\\"[', text[:-1]], "end": [1, 2]}
    for ascii_only in (True, False):
        assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize("end", [b'"' * (20 << 20), b'"' + b'\\"' * (10 << 20), b'"' + b"\\" * (20 << 20)])
def test_texts_that_have_no_end_are_counted_in_time_that_grows_with_them(end):
    with computes_at_most(10), pytest.raises(ValueError, match="Expecting|Unterminated|delimiter"):
        parse_json(b"[" + b'"[[,,::",' * (1 << 19) + end)
