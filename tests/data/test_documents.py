"""Reading files as documents: every format, every compression, every boundary, and errors with the place."""

import json
import zipfile

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.data import documents as module
from lmlab.data.documents import ReadingFindings, pieces, rule_of, safe_cut
from lmlab.data.progress import Silent
from lmlab.data.tokenizers import build_tokenizer
from lmlab.recipe import Data
from tests.data.support import PACKERS, documents_and_findings, documents_in, source_file

TEXTS = ["One.\n\n  Two – drei.", "Zwei", "  lead and trail \t"]


def packed(path, packing, content):
    path = path.with_name(path.name + (f".{packing}" if packing else ""))
    path.write_bytes(PACKERS[packing](content) if packing else content)
    return path


@pytest.mark.parametrize("packing", ["", *PACKERS])
class TestEveryPacking:
    def test_text_file_with_markers(self, tmp_path, packing):
        text = "\n<|endoftext|>\n".join(TEXTS)
        assert documents_in(packed(tmp_path / "a.txt", packing, text.encode())) == TEXTS

    def test_jsonl(self, tmp_path, packing):
        lines = "\n".join(json.dumps({"id": 1, "body": text}) for text in TEXTS)
        assert documents_in(packed(tmp_path / "a.jsonl", packing, lines.encode()), column="body") == TEXTS

    def test_parquet(self, tmp_path, packing):
        path = tmp_path / "plain.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"n": [1, 2, 3], "body": TEXTS}), path)
        assert documents_in(packed(tmp_path / "a.parquet", packing, path.read_bytes()), column="body") == TEXTS

    def test_not_utf8_names_file_and_byte_of_the_unpacked_text(self, tmp_path, packing):
        content = "grüße ".encode() * 100_000 + b"\xff" + b"tail"
        with pytest.raises(LabError, match=r"a\.txt\S* is not UTF-8: byte 800,000.* is 0xff") as caught:
            documents_in(packed(tmp_path / "a.txt", packing, content))
        assert "\n" not in str(caught.value)

    def test_several_packed_streams_in_a_row_are_one_text(self, tmp_path, packing):
        parts = [f"part {number}\n".encode() * 1000 for number in range(3)]
        path = tmp_path / f"a.txt{packing and '.'}{packing}"
        path.write_bytes(b"".join(PACKERS[packing](part) if packing else part for part in parts))
        assert documents_in(path) == [b"".join(parts).decode()]


@pytest.mark.parametrize("packing", PACKERS)
def test_packed_file_that_is_cut_short_or_changed_is_refused(tmp_path, packing):
    whole = PACKERS[packing](bytes(range(32, 127)) * 1000)
    path = tmp_path / f"a.txt.{packing}"
    for broken in (whole[: len(whole) // 2], b"not packed at all"):
        path.write_bytes(broken)
        with pytest.raises(LabError, match=rf"a\.txt\.{packing} is damaged or cut short") as caught:
            documents_in(path)
        assert "\n" not in str(caught.value)


def test_character_cut_at_the_end_of_the_file_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("ab€".encode()[:-1])
    with pytest.raises(LabError, match="byte 2 is 0xe2"):
        documents_in(path)


def test_byte_order_mark_is_no_text_and_offsets_still_count_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert documents_in(path) == ["abc"]
    path.write_bytes(b"\xef\xbb\xbfabc\xff")
    with pytest.raises(LabError, match="byte 6 "):
        documents_in(path)


class TestMarkers:
    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    def test_marker_lines_and_the_line_breaks_around_them_belong_to_no_document(self, tmp_path, ending):
        text = (
            f"One{ending}two{ending}{ending}<|endoftext|>{ending}{ending}three{ending}<|endoftext|>{ending}four{ending}"
        )
        path = tmp_path / "a.txt"
        path.write_bytes(text.encode())
        assert documents_in(path) == [f"One{ending}two", "three", f"four{ending}"]

    def test_marker_inside_a_line_is_ordinary_text(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("say <|endoftext|> here\n <|endoftext|>\n<|endoftext|>x\n")
        assert documents_in(path) == [path.read_text()]

    def test_documents_without_ink_are_dropped_and_counted(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text(
            "<|endoftext|>\nfirst\n<|endoftext|>\n \n\t\n<|endoftext|>\n<|endoftext|>\nlast\n<|endoftext|>\n"
        )
        found, findings = documents_and_findings(path)
        assert found == ["first", "last"]
        assert findings.empty_documents == 3

    def test_a_file_without_marker_is_one_document_to_the_byte(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_bytes(b"\n\n one\r\n\ttwo\n\n")
        assert documents_in(path) == ["\n\n one\r\n\ttwo\n\n"]

    def test_own_separator_replaces_the_marker(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("one\n=== next ===\ntwo\n<|endoftext|>\nstill two\n")
        assert documents_in(path, separator="=== next ===") == ["one", "two\n<|endoftext|>\nstill two\n"]

    def test_separator_of_two_lines_is_refused(self):
        with pytest.raises(LabError, match="expected one line"):
            rule_of("a\nb", "marker")


@pytest.mark.parametrize("separator", ["\n", "\\n"])
def test_a_line_break_as_separator_makes_a_document_of_every_line(tmp_path, separator):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\n\n  \ntwo words\nthree")
    found, findings = documents_and_findings(path, separator=separator)
    assert found == ["one", "two words", "three"]
    assert findings.empty_documents == 2


def test_articles_begin_at_titles_between_blank_lines(tmp_path):
    path = tmp_path / "wiki.raw"
    path.write_text(
        " \n = First = \n \n Text . \n \n = = Section = = \n \n a = b \n = no title \n \n"
        " = Second thing = \n \n More . \n = Not one = \n text\n"
    )
    found = documents_in(path, default="articles")
    assert [text.split("\n")[0] for text in found] == [" = First = ", " = Second thing = "]
    assert "".join(found) == path.read_text()[2:]


class TestRecords:
    def test_jsonl_line_that_is_no_json_names_its_line_and_byte(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "x"}\n\n{"text": \n')
        with pytest.raises(LabError, match=r"a\.jsonl: line 3 \(byte 15\) is not JSON"):
            documents_in(path)

    @pytest.mark.parametrize("line", ["[1]", '"text"', "3"])
    def test_jsonl_line_that_is_no_object_is_refused(self, tmp_path, line):
        path = tmp_path / "a.jsonl"
        path.write_text(line)
        with pytest.raises(LabError, match="line 1 is not a JSON object"):
            documents_in(path)

    def test_missing_field_names_the_fields_there_are(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"body": "x", "n": 1}')
        with pytest.raises(
            LabError, match="has no 'text' but 'body', 'n': expected --data.column to name one of these"
        ):
            documents_in(path)

    def test_a_number_where_text_is_expected_is_refused(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": 5}')
        with pytest.raises(LabError, match="'text' in line 1 is int: expected text"):
            documents_in(path)

    def test_half_a_surrogate_pair_is_refused(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "ab\\ud800"}')
        with pytest.raises(LabError, match="half a surrogate pair at character 2"):
            documents_in(path)

    def test_jsonl_bytes_that_are_not_utf8_name_byte_and_line(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"text": "ok"}\n{"text": "\xe9"}\n')
        with pytest.raises(LabError, match=r"byte 25 \(line 2\) is 0xe9"):
            documents_in(path)

    def test_line_breaks_of_a_record_are_its_own(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "\\n a \\n"}\n{"text": "<|endoftext|>"}')
        assert documents_in(path) == ["\n a \n", "<|endoftext|>"]

    def test_null_is_an_empty_document(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": null}\n{"text": "x"}')
        found, findings = documents_and_findings(path)
        assert (found, findings.empty_documents) == (["x"], 1)

    def test_parquet_without_the_column_names_those_there_are(self, tmp_path):
        path = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"n": [1], "body": ["x"]}), path)
        with pytest.raises(LabError, match="has no column 'text' but 'n', 'body'"):
            documents_in(path)
        with pytest.raises(LabError, match="column 'n' holds int64: expected text"):
            documents_in(path, column="n")

    def test_file_that_is_no_parquet_is_refused_in_one_line(self, tmp_path):
        path = tmp_path / "a.parquet"
        path.write_text("not parquet at all")
        with pytest.raises(LabError, match="not readable as parquet") as caught:
            documents_in(path)
        assert "\n" not in str(caught.value)


def test_member_of_a_zip_archive_is_read_in_place(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/one.txt", "text of one")
    file = source_file(tmp_path / "a.zip", member="in/one.txt", kind="text", packing="")
    assert [piece.text for piece in pieces([file], "file", "text", Silent(), ReadingFindings())] == ["text of one"]
    missing = source_file(tmp_path / "a.zip", member="nope", kind="text", packing="")
    with pytest.raises(LabError, match="can't be read"):
        list(pieces([missing], "file", "text", Silent(), ReadingFindings()))


@pytest.mark.parametrize("separator", ["", "\n"])
def test_documents_do_not_depend_on_how_the_text_is_chunked(tmp_path, monkeypatch, separator):
    path = tmp_path / "a.txt"
    path.write_text("\n<|endoftext|>\n".join(f"{'word ' * (number % 7)}\nline {number} é\n\n" for number in range(200)))
    whole = documents_in(path, separator=separator)
    monkeypatch.setattr("lmlab.data.readers.CHUNK_BYTES", 7)
    monkeypatch.setattr(module, "PIECE_CHARACTERS", 16)
    assert documents_in(path, separator=separator) == whole
    with_words = sum(number % 7 > 0 for number in range(200))
    assert len(whole) == (200 if not separator else 200 + 199 + with_words)


class TestPieces:
    def pieces_of(self, path, monkeypatch, size):
        monkeypatch.setattr(module, "PIECE_CHARACTERS", size)
        findings = ReadingFindings()
        return list(pieces([source_file(path)], rule_of("", "marker"), "text", Silent(), findings)), findings

    def test_long_document_comes_in_pieces_that_join_to_it(self, tmp_path, monkeypatch):
        path = tmp_path / "a.txt"
        path.write_text("some words\nand lines  \n\n\tof text " * 500)
        found, findings = self.pieces_of(path, monkeypatch, 100)
        assert len(found) > 50
        assert [piece.last for piece in found] == [False] * (len(found) - 1) + [True]
        assert "".join(piece.text for piece in found) == path.read_text()
        assert max(len(piece.text) for piece in found) <= 200
        assert findings.forced_cuts == 0

    def test_text_without_white_space_is_cut_at_last_and_counted(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "UNCUT_CHARACTERS", 1000)
        path = tmp_path / "a.txt"
        path.write_text("x" * 3500)
        found, findings = self.pieces_of(path, monkeypatch, 100)
        assert [len(piece.text) for piece in found] == [1000, 1000, 1000, 500]
        assert findings.forced_cuts == 3

    def test_text_without_white_space_below_the_limit_stays_whole(self, tmp_path, monkeypatch):
        monkeypatch.setattr("lmlab.data.readers.CHUNK_BYTES", 64)
        path = tmp_path / "a.txt"
        path.write_text("x" * 3500 + "\n<|endoftext|>\nend")
        found, findings = self.pieces_of(path, monkeypatch, 100)
        assert [len(piece.text) for piece in found] == [3500, 3]
        assert findings.forced_cuts == 0


UGLY = st.text(
    alphabet=st.one_of(
        st.sampled_from(" \n\t\r'’.,;-asdté日9٣\u3000\x85\u2028\x1c\u200b"), st.characters(codec="utf-8")
    ),
    max_size=60,
)


@given(UGLY, st.integers(1, 59))
def test_encoding_the_pieces_gives_the_tokens_of_the_whole(text, end):
    cut = safe_cut(text, 0, min(end, len(text)))
    if cut is None:
        return
    for tokenizer in TOKENIZERS:
        whole = tokenizer.encode(text).tolist()
        assert [*tokenizer.encode(text[:cut]).tolist(), *tokenizer.encode(text[cut:]).tolist()] == whole


SAMPLE = ["the cat's  sat.\n\n\tAnd it'll 99 times\r\n go é日本 on   and on ... don't\n" * 3]
TOKENIZERS = [
    build_tokenizer(Data(tokenizer="bpe", vocabulary=300), SAMPLE, documents_end=True),
    build_tokenizer(Data(tokenizer="words", vocabulary=9, unknown="replace"), SAMPLE, documents_end=True),
    build_tokenizer(Data(tokenizer="bytes"), SAMPLE, documents_end=True),
]


@given(
    st.lists(st.sampled_from(["", "one", "two words", "a b  c", " d\te f g ", "ä ö"]), max_size=12), st.integers(0, 5)
)
def test_documents_with_too_few_words_are_left_out_and_counted(tmp_path_factory, texts, minimum):
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    path.write_bytes("\n".join(texts).encode())
    found, findings = documents_and_findings(path, separator="\\n", minimum_words=minimum)
    written = [text for text in texts if text.strip()]
    assert found == [text for text in written if len(text.split()) >= minimum]
    assert findings.short_documents == len(written) - len(found)


@pytest.mark.parametrize("minimum, kept", [(4, True), (5, False)])
def test_words_are_counted_over_the_pieces_of_a_document(tmp_path, monkeypatch, minimum, kept):
    monkeypatch.setattr(module, "PIECE_CHARACTERS", 8)
    text = f"{'a' * 20} {'b' * 20} {'c' * 20} {'d' * 20}"
    path = tmp_path / "long.txt"
    path.write_text(text)
    found, findings = documents_and_findings(path, default="file", minimum_words=minimum)
    assert (found, findings.short_documents) == ([text] if kept else [], int(not kept))
