"""Extending a data set: old tokens are unchanged, byte for byte, and only new documents are appended."""

import json
import shutil

import numpy as np
import pytest

from lmlab import LabError
from lmlab.data import extending as module
from lmlab.data.dataset import open_dataset
from lmlab.data.extending import extend
from lmlab.data.preparation import prepare
from lmlab.data.split import hash_positions
from lmlab.data.token_files import tokens_file
from lmlab.data.usage import shared_tokens
from lmlab.recipe import Data
from tests.data.support import Listener, documents_in

HELD = ("tokens", "document_starts", "document_bytes", "units")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


def stories(folder, name, count, first):
    """The stories number `first` to `first + count - 1`, each the same in whichever file."""
    path = folder / name
    path.write_text(
        "\n<|endoftext|>\n".join(f"Story {number}: {text(number)}." for number in range(first, first + count))
    )
    return path


def text(number):
    return " ".join(np.random.default_rng(number).choice(["sun", "sea", "a", "the", "über", "home,", "42"], 40))


def prepared(path, root, **settings):
    return prepare(Data(corpus=str(path), **{"tokenizer": "bytes", **settings}), root)


def read_documents(dataset, split):
    tokens, starts = dataset.tokens(split), dataset.document_starts(split)
    return [dataset.tokenizer.decode(tokens[begin:end]) for begin, end in zip(starts, starts[1:], strict=False)]


def check_begins_with(extended, old):
    """Every file of every split goes on from the old one's very bytes, and the manifest is believed."""
    for split in old.splits:
        content = (old.folder / tokens_file(split)).read_bytes()
        assert (extended.folder / tokens_file(split)).read_bytes()[: len(content)] == content
        for name in HELD:
            before, after = getattr(old, name)(split), getattr(extended, name)(split)
            shared = len(before) - (name == "document_starts")
            assert np.array_equal(after[:shared], before[:shared]), (split, name)
    assert extended.tokenizer.to_json() == old.tokenizer.to_json()
    assert shared_tokens(old.ancestry, extended.ancestry) == len(old.tokens("train"))
    extended.verify()
    open_dataset(extended.folder)


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe", "characters", "words"])
def test_old_tokens_and_splits_stay_and_new_documents_follow_by_their_own_hash(tmp_path, root, tokenizer):
    old_path, new_path = stories(tmp_path, "old.txt", 120, 0), stories(tmp_path, "new.txt", 90, 500)
    settings = {"tokenizer": tokenizer, "vocabulary": 300, "unknown": "replace", "valid_share": 0.3}
    old = prepared(old_path, root, **settings)
    found = extend(old, [str(new_path)], folder=root)
    check_begins_with(found.dataset, old)
    assert (sum(found.added.values()), found.there_already) == (90, 0)
    # The same documents, prepared together from the first, go to the same sides.
    together = prepare(Data(corpus=str(new_path), split="hash", **settings), root, tokenizer=old.tokenizer)
    for split in ("train", "valid"):
        added = read_documents(found.dataset, split)[len(old.document_starts(split)) - 1 :]
        assert added == read_documents(together, split)
        assert found.added[split] == len(added)
    keys = found.dataset.units("valid")["key"]
    if found.dataset.facts["splits"]["valid"]["unit"] == "document":
        assert (hash_positions(keys) < 0.3).all()


def test_documents_that_are_there_already_are_passed_over(tmp_path, root):
    folder = tmp_path / "texts"
    folder.mkdir()
    stories(folder, "a.txt", 60, 0)
    old = prepared(folder, root)
    stories(folder, "b.txt", 30, 50)  # ten of them are in a.txt
    again = (folder / "b.txt").read_text()
    (folder / "c.txt").write_text(again)
    found = extend(old, [str(folder)], folder=root)
    assert (sum(found.added.values()), found.there_already) == (20, 60 + 10 + 30)
    assert "20 documents added" in found.line() and "100 were there already" in found.line()
    texts = read_documents(found.dataset, "train") + read_documents(found.dataset, "valid")
    assert sorted(texts) == sorted(set(documents_in(folder / "a.txt", folder / "b.txt")))
    nothing = extend(found.dataset, [str(folder)], folder=root)
    assert nothing.dataset is found.dataset and not nothing.added
    assert "nothing is new" in nothing.line()


def test_extending_again_finds_what_is_there_and_extends_what_was_extended(tmp_path, root):
    paths = [stories(tmp_path, f"{number}.txt", 60, 100 * number) for number in range(3)]
    old = prepared(paths[0], root)
    first = extend(old, [str(paths[1])], folder=root).dataset
    assert extend(old, [str(paths[1])], folder=root).dataset.folder == first.folder
    second = extend(first, [str(paths[2])], folder=root).dataset
    check_begins_with(second, first)
    check_begins_with(second, old)
    sizes = [len(one.tokens("train")) for one in (second, first, old)]
    assert second.ancestry == tuple(zip((second.id, first.id, old.id), sizes, strict=True))
    both = extend(old, [str(path) for path in paths[1:]], folder=root).dataset
    assert (both.tokens("train") == second.tokens("train")).all()
    assert len({old.id, first.id, second.id, both.id}) == 4


def test_a_text_in_one_piece_keeps_its_border_and_all_that_is_new_trains(tmp_path, root, tiny_text):
    path, more = tmp_path / "book.txt", tmp_path / "more.txt"
    path.write_text(tiny_text)
    more.write_text(tiny_text[: len(tiny_text) // 2])
    old = prepared(path, root, tokenizer="characters")
    found = extend(old, [str(more)], folder=root)
    check_begins_with(found.dataset, old)
    assert found.added == {"train": 1}
    assert (found.dataset.tokens("valid") == old.tokens("valid")).all()
    assert (found.dataset.units("valid") == old.units("valid")).all(), "so scores stay comparable"
    begin = len(old.tokens("train"))
    assert found.dataset.tokenizer.decode(found.dataset.tokens("train")[begin:]) == more.read_text()
    # The book itself, whose one document lies on both sides of the border, is there already; also once more was added.
    assert not extend(old, [str(path)], folder=root).added
    assert not extend(found.dataset, [str(path), str(more)], folder=root).added


def test_lines_of_the_validation_text_that_now_train_are_counted(tmp_path, root):
    path, more = tmp_path / "book.txt", tmp_path / "more.txt"
    path.write_text("".join(f"{number:04d} {'word ' * 9}\n" for number in range(400)))
    more.write_text("".join(path.read_text().splitlines(keepends=True)[380:390]))
    old = prepared(path, root)
    assert old.facts["duplicates"]["lines"] == 0
    assert extend(old, [str(more)], folder=root).dataset.facts["duplicates"]["lines"] == 10


def test_a_published_split_stays_as_published(tmp_path, root):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, part in enumerate(("train", "valid", "test")):
        stories(folder, f"{part}.txt", 20, 100 * number)
    old = prepared(folder, root)
    found = extend(old, [str(stories(tmp_path, "more.txt", 70, 900))], folder=root)
    check_begins_with(found.dataset, old)
    assert found.added == {"train": 70}
    with pytest.raises(LabError, match="split of its own"):
        extend(old, [str(folder)], folder=root)


def test_units_stay_of_the_sort_that_they_were(tmp_path, root):
    old = prepared(stories(tmp_path, "few.txt", 100, 0), root)
    assert old.facts["splits"]["train"]["unit"] == "block"
    found = extend(old, [str(stories(tmp_path, "many.txt", 300, 500))], folder=root).dataset
    assert found.facts["splits"]["train"]["unit"] == "block"
    assert found.units("train")["bytes"].sum() == found.document_bytes("train").sum()
    check_begins_with(found, old)


@pytest.mark.parametrize(("tokenizer", "symbol"), [("characters", "'ж'"), ("words", "'жar.'")])
def test_symbols_that_the_tokenizer_refuses_are_named_before_anything_is_made(tmp_path, root, tokenizer, symbol):
    (tmp_path / "old.txt").write_text("Story 0: and so on. " * 100)
    old = prepared(tmp_path / "old.txt", root, tokenizer=tokenizer, unknown="refuse", vocabulary=None)
    more = tmp_path / "more.txt"
    more.write_text("Story 0: жar.")
    before = sorted(root.rglob("*"))
    with pytest.raises(LabError, match=symbol) as caught:
        extend(old, [str(more)], folder=root)
    assert "\n" not in str(caught.value) and "data.unknown" not in str(caught.value)
    assert [path for path in sorted(root.rglob("*")) if "datasets" in path.parts] == [
        path for path in before if "datasets" in path.parts
    ]
    more.write_text("Story 0: жar.\n<|endoftext|>\nStory 0: on.")
    found = extend(old, [str(more)], skip_unknown=True, folder=root)
    assert (found.added, found.unknown, found.there_already) == ({"train": 1}, 1, 0)
    assert "1 left out for unknown symbols" in found.line()


def test_the_new_text_is_read_as_the_old_was(tmp_path, root):
    lines, records = tmp_path / "old.txt", tmp_path / "new.jsonl"
    lines.write_text("\n".join(f"line {number}" for number in range(100)))
    old = prepared(lines, root, separator="\\n")
    more = tmp_path / "more.txt"
    more.write_text("\n".join(f"another {number}" for number in range(10)))
    assert sum(extend(old, [str(more)], folder=root).added.values()) == 10
    assert sum(extend(old, [str(more)], separator="<|endoftext|>", folder=root).added.values()) == 1
    records.write_text("\n".join(json.dumps({"body": f"record {number}"}) for number in range(7)))
    assert sum(extend(old, [str(records)], column="body", folder=root).added.values()) == 7


def test_a_view_and_a_prepared_data_set_are_no_texts_to_extend_with(tmp_path, root):
    path = stories(tmp_path, "old.txt", 60, 0)
    old = prepared(path, root)
    with pytest.raises(LabError, match=f"beginning .* of data set {old.id}"):
        extend(prepared(path, root, tokens=500), [str(path)], folder=root)
    with pytest.raises(LabError, match="is a prepared data set"):
        extend(old, [str(old.folder)], folder=root)
    with pytest.raises(LabError, match="no corpus"):
        extend(old, [str(tmp_path / "nothing.txt")], folder=root)


def test_an_extension_that_was_killed_is_finished_by_the_next(tmp_path, root, monkeypatch):
    old = prepared(stories(tmp_path, "old.txt", 60, 0), root)
    more = stories(tmp_path, "more.txt", 60, 500)
    whole = extend(old, [str(more)], folder=tmp_path / "elsewhere").dataset

    class Killed(BaseException):
        pass

    for name in ("encode", "_join", "write_json", "publish"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, _killing(getattr(module, name), Killed))
            with pytest.raises(Killed):
                extend(old, [str(more)], folder=root)
    listener = Listener()
    made = extend(old, [str(more)], folder=root, progress=listener).dataset
    assert listener.tasks and listener.ended
    assert made.id == whole.id
    check_begins_with(made, old)
    for name in made.manifest["files"]:
        assert (made.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert not list((root / "datasets").glob(".building-*"))


def _killing(real, error):
    def killed(*arguments, **options):
        real(*arguments, **options)
        raise error

    return killed


def test_a_damaged_data_set_is_not_extended_and_another_beginning_is_found(tmp_path, root):
    old = prepared(stories(tmp_path, "old.txt", 60, 0), root)
    more = str(stories(tmp_path, "more.txt", 60, 500))
    made = extend(old, [more], folder=root).dataset
    value = json.loads((made.folder / "manifest.json").read_text())
    value["extends"][0]["splits"]["train"]["sha256"] = "0" * 64
    (made.folder / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(LabError, match=f"does not begin with .* of data set {old.id}"):
        open_dataset(made.folder).verify()
    shutil.rmtree(made.folder)
    path = old.folder / "tokens-train.bin"
    content = bytearray(path.read_bytes())
    content[6] ^= 1
    path.write_bytes(content)
    with pytest.raises(LabError, match="tokens-train.bin is damaged"):
        extend(open_dataset(old.folder), [more], folder=root)


@pytest.mark.parametrize(
    "value",
    [
        3,
        [3],
        [{"id": "x", "splits": {}}],
        [{"id": "0" * 16, "splits": {"train": {"tokens": 1, "documents": 1, "sha256": "0" * 64}}}],
        [
            {
                "id": "0" * 16,
                "splits": dict.fromkeys(("train", "valid"), {"tokens": 10**9, "documents": 1, "sha256": "0" * 64}),
            }
        ],
        [
            {
                "id": "0" * 16,
                "splits": dict.fromkeys(("train", "valid"), {"tokens": 1, "documents": 1, "sha256": "../x"}),
            }
        ],
    ],
)
def test_a_manifest_that_lies_about_what_it_extends_is_refused(tmp_path, root, value):
    old = prepared(stories(tmp_path, "old.txt", 60, 0), root)
    manifest = json.loads((old.folder / "manifest.json").read_text())
    (old.folder / "manifest.json").write_text(json.dumps({**manifest, "extends": value}))
    with pytest.raises(LabError, match="is not a valid manifest") as caught:
        open_dataset(old.folder)
    assert "\n" not in str(caught.value)


def test_a_recipe_can_name_a_data_set_itself(tmp_path, root):
    old = prepared(stories(tmp_path, "old.txt", 60, 0), root)
    for corpus in (old.id, str(old.folder)):
        assert prepared(corpus, root).id == old.id
        assert len(prepared(corpus, root, tokens=100).tokens("train")) == 100
    view = prepared(old.id, root, tokens=100)
    assert len(prepared(view.id, root, tokens=50).tokens("train")) == 50
    with pytest.raises(LabError, match="expected --data.tokenizer bytes"):
        prepared(old.id, root, tokenizer="characters")
    with pytest.raises(LabError, match="another tokenizer than the model's"):
        prepare(
            Data(corpus=old.id), root, tokenizer=prepared(tmp_path / "old.txt", root, tokenizer="characters").tokenizer
        )
