"""A data set or tokenizer from elsewhere that lies: refused in one line, and nothing is allocated for what it claims."""

import json
import os

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.data.dataset import list_datasets, open_dataset
from lmlab.data.describe import describe
from lmlab.data.encode import read_journal
from lmlab.data.ids import require_ids
from lmlab.data.tokenizers import load_tokenizer
from lmlab.evaluation.losses import most_frequent_token
from lmlab.files import read_json
from lmlab.files.arrays import read_rows_header
from tests.trust.support import assert_one_line, assert_refused

BILLIONS = 4_000_000_000_000


def changed(folder, change):
    path = folder / "manifest.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


BILLION_WORDS = {
    "token_type": "uint32",
    "tokenizer": {"name": "bpe", "vocabulary": 4_000_000_000, "lossless": True, "end_of_text": 0},
}
MANIFESTS = {
    "a file above": lambda value: value["files"].update({"../secret": {"sha256": "0" * 64, "bytes": 1}}),
    "an absolute path": lambda value: value["files"].update({"/etc/passwd": {"sha256": "0" * 64, "bytes": 1}}),
    "a view above": lambda value: value.update(view_of="../../secret-0123456789abcdef", train_tokens=9),
    "a view of an absolute path": lambda value: value.update(view_of="/etc", train_tokens=9),
    "a view with NUL": lambda value: value.update(view_of="x\0-0123456789abcdef", train_tokens=9),
    "a view with a long name": lambda value: value.update(view_of="x" * 5000 + "-0123456789abcdef", train_tokens=9),
    "a view of itself": lambda value: value.update(view_of="missing-0123456789abcdef", train_tokens=9),
    "billions of tokens": lambda value: value["splits"]["train"].update(tokens=BILLIONS),
    "a count of 30 digits": lambda value: value["corpus"].update(documents=10**30),
    "a negative count": lambda value: value["corpus"].update(documents=-1),
    "a split that isn't one": lambda value: value["splits"].update({"../x": {}}),
    "a token type that is a list": lambda value: value.update(token_type=["uint16"]),
    "billions in the vocabulary": lambda value: value.update(BILLION_WORDS),
    "a name with a terminal's escapes": lambda value: value["corpus"].update(name="\x1b[2J\x1b]0;x\x07"),
    "a name with half a surrogate": lambda value: value["corpus"].update(name="\ud800"),
    "an id with a path": lambda value: value.update(id="../../../../etc"),
}  # fmt: skip

MANIFESTS_SAID = {
    "a file above": "expected the files tokenizer.json, tokens-train.bin",
    "an absolute path": "expected the files tokenizer.json, tokens-train.bin",
    "a view above": "expected the name of a data set's folder and a number of tokens; prepare the data again",
    "a view of an absolute path": "expected the name of a data set's folder and a number of tokens; prepare the data again",
    "a view with NUL": "expected the name of a data set's folder and a number of tokens; prepare the data again",
    "a view with a long name": "expected the name of a data set's folder and a number of tokens; prepare the data again",
    "a view of itself": "missing-0123456789abcdef/manifest.json is missing",
    "billions of tokens": "tokens-train.bin does not hold 4,000,000,000,000 tokens; prepare the data again",
    "a count of 30 digits": "expected in corpus: name, documents",
    "a negative count": "expected in corpus: name, documents",
    "a split that isn't one": "expected the splits train, valid and perhaps test; prepare the data again",
    "a token type that is a list": "its token type is not one of uint16, uint32; prepare the data again",
    "billions in the vocabulary": "a vocabulary of 4,000,000,000 is more than its tokenizer.json holds; prepare the data again",
    "a name with a terminal's escapes": "its corpus or its tokenizer has no plain name; prepare the data again",
    "a name with half a surrogate": "its corpus or its tokenizer has no plain name; prepare the data again",
    "an id with a path": "its id is not 16 hexadecimal digits; prepare the data again",
}
"""What is said to be wrong, or expected."""


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_hostile_manifest_is_refused(data_copy, kind):
    changed(data_copy, MANIFESTS[kind])
    assert_refused(lambda: open_dataset(data_copy), "manifest.json", MANIFESTS_SAID[kind])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"a":' * 100_000, "it is nested too deeply"),
        (b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", "it is nested too deeply"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "a whole number has 10,000 digits"),
        (b'{"format": NaN}', "NaN is not a JSON number"),
        (b'{"format": 1e999}', "a number is too large"),
        (b'{"format": 1, "format": 1}', "a name is repeated"),
        (b'{"format": "\xed\xa0\x80"}', "can't decode byte 0xed in position 12"),
        (b"\xff\xfe", "can't decode byte 0xff in position 0"),
        (b"", "Expecting value: line 1 column 1"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_manifest_that_is_no_plain_json_is_refused(data_copy, text, words):
    (data_copy / "manifest.json").write_bytes(text)
    assert_refused(lambda: open_dataset(data_copy), "manifest.json is damaged: expected JSON", words)


def test_a_sparse_file_of_a_terabyte_is_refused_unread(data_copy, tmp_path):
    for name in ("manifest.json", "tokenizer.json"):
        with open(data_copy / name, "r+b") as file:
            file.truncate(1 << 40)
        assert_refused(lambda name=name: read_json(data_copy / name), name, "larger than 134,217,728 bytes")


def test_a_journal_of_a_megabyte_is_refused_unread(tmp_path):
    (tmp_path / "journal.json").write_bytes(b"[" + b"1," * (1 << 19) + b"1]")
    assert_refused(lambda: read_journal(tmp_path), "journal.json is larger than 65,536 bytes", most_bytes=100_000)


@pytest.mark.parametrize("name", ["tokens-train.bin", "documents-valid.npy", "tokenizer.json"])
def test_a_link_in_a_data_set_is_refused(data_copy, tmp_path, name):
    outside = tmp_path / "outside"
    os.replace(data_copy / name, outside)
    try:
        (data_copy / name).symlink_to(outside)
    except OSError:
        pytest.skip("this system lets nobody make links")
    assert_refused(lambda: open_dataset(data_copy), name, "is a link")


def claims(folder, split, **facts):
    changed(folder, lambda value: value["splits"][split].update(facts))


def set_size(folder, name):
    size = (folder / name).stat().st_size
    changed(folder, lambda value: value["files"][name].update(bytes=size))


def test_billions_of_documents_and_units_that_the_manifest_claims_are_refused(data_copy):
    claims(data_copy, "train", documents=BILLIONS, units=BILLIONS)
    dataset = open_dataset(data_copy)
    for table in (dataset.document_starts, dataset.document_bytes, dataset.units):
        assert_refused(lambda table=table: table("train"), "rows of")


@pytest.mark.parametrize(
    "shape", ["(4000000000000,)", "(-1,)", "(2, 3)", "()", "(9999999999999999999999,)", "(1.5,)", "(True,)"]
)
def test_a_table_that_claims_another_shape_is_refused(data_copy, shape):
    path = data_copy / "documents-train.npy"
    content = path.read_bytes()
    begin = content.index(b"(", content.index(b"'shape'"))
    end = content.index(b")", begin) + 1
    padding = b" " * (128 - begin - len(shape) - 4)
    path.write_bytes(content[:begin] + shape.encode() + b", }" + padding + b"\n" + content[128:])
    set_size(data_copy, path.name)
    rows = int(shape[1:-2]) if shape == "(4000000000000,)" else 1
    claims(data_copy, "train", documents=max(1, rows - 1))
    assert end and content[128:] == path.read_bytes()[128:]
    wrong = "4,000,000,000,000 rows" if rows > 1 else "is damaged: expected an array of rows, as numpy.save writes it"
    assert_refused(lambda: open_dataset(data_copy).document_starts("train"), path.name, wrong)


@pytest.mark.parametrize(
    "kind", ["'|O'", "'<f8'", "'>i8'", "[('a', '<i8')]", "__import__('os').system('x')", "-" * 3000 + "1"]
)
def test_a_table_of_another_type_is_refused_and_nothing_of_its_header_is_evaluated(tmp_path, kind):
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': (2,), }}\n".encode()
    path = tmp_path / "rows.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16))
    found = read_rows_header(path)
    assert found.kind == kind and not found.holds(np.dtype("<i8"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"\x93NUMPY\x03\x00\x10\x00", b"\x93NUMPY\x02\x00" + b"\xff" * 4, b"PK\x03\x04" + bytes(60),
     b"\x80\x04\x95", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535],
)  # fmt: skip
def test_a_table_that_is_no_numpy_array_is_refused(tmp_path, content):
    path = tmp_path / "rows.npy"
    path.write_bytes(content)
    # Only two begin as a file of a known version does.
    known = content[:8] in (b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00")
    expected = "an array of rows, as numpy.save writes it" if known else "a numpy array (version 1.0 or 2.0)"
    assert_refused(lambda: read_rows_header(path), f"rows.npy is damaged: expected {expected}")


def test_first_tokens_that_fall_lie_outside_or_are_negative_are_refused(data_copy):
    path = data_copy / "documents-train.npy"
    whole = np.load(path)
    for place, value in ((0, 1), (3, 1 << 40), (5, -9), (len(whole) - 1, 7)):
        starts = whole.copy()
        starts[place] = value
        np.save(path, starts)
        assert_refused(lambda: describe(open_dataset(data_copy), 16), path.name, "out of order")


def test_a_token_beyond_the_vocabulary_is_refused_by_whatever_looks_it_up(data_copy):
    path = data_copy / "tokens-train.bin"
    tokens = np.fromfile(path, dtype="<u2")
    tokens[5] = 65_535
    tokens.tofile(path)
    dataset = open_dataset(data_copy)
    assert_refused(lambda: most_frequent_token(dataset), "token 65535")
    assert_refused(lambda: dataset.text("train", 0, 10), "65535")
    assert_refused(lambda: require_ids(np.array([-1]), 300), "token -1")
    require_ids(np.array([], dtype=np.int64), 300)


def test_a_training_on_tokens_beyond_the_vocabulary_is_refused(made, data_copy):
    from lmlab.model.build import build_model
    from lmlab.optim.build import build_optimizer
    from lmlab.training.policy import choose_policy
    from lmlab.training.state import State
    from lmlab.training.step import TrainingStep

    model = build_model(made.recipe.model, 30)
    torch.nn.init.zeros_(model.embedding.weight)
    optimizer = build_optimizer(model, made.recipe.optim, "cpu")
    tokens = np.full(1000, 4_000_000_000, dtype="<u4")
    step = TrainingStep(made.recipe, choose_policy(made.recipe), model, optimizer, tokens, 6)
    assert_refused(lambda: step.take(State()), "token 4000000000", "at most 29")


def test_a_tokenizer_of_another_size_than_the_manifest_says_is_refused(data_copy):
    value = json.loads((data_copy / "tokenizer.json").read_text())
    value["merges"] = value["merges"][:-1]
    (data_copy / "tokenizer.json").write_text(json.dumps(value))
    set_size(data_copy, "tokenizer.json")
    assert_refused(lambda: open_dataset(data_copy).tokenizer, "tokenizer.json", "the manifest states 300")


def test_a_hostile_data_set_is_left_out_of_the_list(tmp_path, data_copy, monkeypatch):
    folder = tmp_path / "root" / "datasets"
    folder.mkdir(parents=True)
    changed(data_copy, lambda value: value.update(splits={"train": BILLIONS}))
    data_copy.rename(folder / data_copy.name)
    assert list_datasets(tmp_path / "root") == []


def letters(alphabet):
    return {"format": 1, "name": "characters", "alphabet": alphabet, "documents_end": True, "replace": False}


TOKENIZERS = {
    "no object": [1],
    "a name that is a list": {"format": 1, "name": ["bpe"]},
    "another format": {"format": [[[1]]], "name": "bpe"},
    "a merge of what isn't there": {"format": 1, "name": "bpe", "merges": ["ab c"]},
    "merges in a circle": {"format": 1, "name": "bpe", "merges": ["abc d", "ab c", "a b"]},
    "a merge twice": {"format": 1, "name": "bpe", "merges": ["a b", "a b"]},
    "two merges to one token": {"format": 1, "name": "bpe", "merges": ["a b", "b c", "a bc", "ab c"]},
    "a merge of three": {"format": 1, "name": "bpe", "merges": ["a b c"]},
    "a merge outside the alphabet": {"format": 1, "name": "bpe", "merges": ["\u4e2d a"]},
    "a merge of a million signs": {"format": 1, "name": "bpe", "merges": ["a" * 1_000_000 + " b"]},
    "merges that are numbers": {"format": 1, "name": "bpe", "merges": [[1, 2]]},
    "an alphabet with half a surrogate": letters("a\ud800"),
    "an alphabet with a sign twice": letters("aa"),
    "no alphabet": letters(""),
    "a word with half a surrogate": {"format": 1, "name": "words", "words": ["a", "\udfff"], "lowercase": True, "replace": True},
    "a word twice": {"format": 1, "name": "words", "words": ["a", "a"], "lowercase": True, "replace": True},
    "a word with a space": {"format": 1, "name": "words", "words": ["a b"], "lowercase": True, "replace": True},
    "another file of GPT-2's": {"format": 1, "name": "gpt2", "sha256": "0" * 64},
}  # fmt: skip

TOKENIZERS_SAID = {
    "no object": "expected its format and name; take it from a copy or make it again",
    "a name that is a list": "expected its format and name; take it from a copy or make it again",
    "another format": "has format [[[1]]]: this version reads 1",
    "a merge of what isn't there": "the merge of b'ab' and b'c' joins a token that no earlier merge makes",
    "merges in a circle": "the merge of b'abc' and b'd' joins a token that no earlier merge makes",
    "a merge twice": "the merge of b'a' and b'b' makes a token that is there already",
    "two merges to one token": "the merge of b'ab' and b'c' makes a token that is there already",
    "a merge of three": "'a b c' is not a merge: expected two tokens in GPT-2's alphabet with a space between",
    "a merge outside the alphabet": "'中 a' is not a merge: expected two tokens in GPT-2's alphabet with a space between",
    "a merge of a million signs": "b'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' and b'b' joins a token that no earlier merge makes",
    "merges that are numbers": "merges must be a list of texts; take it from a copy or make it again",
    "an alphabet with half a surrogate": "alphabet holds half of a surrogate pair",
    "an alphabet with a sign twice": "alphabet must be a text of different characters",
    "no alphabet": "alphabet must be a text of different characters",
    "a word with half a surrogate": "a word holds half of a surrogate pair",
    "a word twice": "a word is repeated; take it from a copy or make it again",
    "a word with a space": "words must be a list of words without white space",
    "another file of GPT-2's": "sha256 must be that of vocab.bpe",
}
"""What is said to be wrong, or expected."""


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_hostile_tokenizer_is_refused(kind):
    assert_refused(lambda: load_tokenizer(TOKENIZERS[kind]), "tokenizer", TOKENIZERS_SAID[kind])


def test_a_gpt2_file_of_another_size_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_GPT2", str(tmp_path))
    with open(tmp_path / "vocab.bpe", "wb") as file:
        file.truncate(1 << 40)
    from lmlab.data.tokenizers.gpt2 import load_gpt2

    assert_refused(load_gpt2, "vocab.bpe", "bytes")


def test_an_error_that_quotes_a_file_stays_one_short_line():
    error = LabError("name \n\x1b[31m\u202e\ud800" + "x" * 100_000)
    assert_one_line(str(error), "\\n\\x1b[31m\\u202e\\ud800")


def test_the_middle_of_a_long_error_is_left_out_and_what_it_says_stays():
    error = LabError("x" * 100_000 + ".toml is no recipe: expected one")
    assert_one_line(str(error), "xxx...xxx", ".toml is no recipe: expected one")
