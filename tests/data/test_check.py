"""A data set's check: planted duplicates counted by hand, storing it, the report, the command line."""

import json
import tracemalloc

import numpy as np
import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.data.dataset import open_dataset
from lmlab.data.hygiene import check as check_module
from lmlab.data.hygiene import lines as lines_module
from lmlab.data.hygiene import passages as passages_module
from lmlab.data.hygiene import spans as spans_module
from lmlab.data.hygiene import stretches as stretches_module
from lmlab.data.hygiene.check import checked, duplicate_units, is_quick, kept
from lmlab.data.hygiene.report import lines, markdown
from lmlab.data.preparation import prepare
from lmlab.recipe import Data
from tests.data.support import Listener

EXACT, NEAR, CONTAINED = (3, 77), (5, 40, 200), (9,)


@pytest.fixture(autouse=True)
def small_tables(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lines_module, "CELLS", 1 << 12)


def texts_of(seed, count, words=50):
    """Texts of words drawn at random, so that no two have a sequence of five in common."""
    random = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return [" ".join("".join(word) for word in random.choice(letters, (words, 6))) for _ in range(count)]


def planted():
    """(training texts, validation texts): validation documents 3 and 77 are training's, 5, 40 and 200 nearly, 9 is part
    of a longer one; training has a copy and a near copy within itself."""
    train, valid = texts_of(0, 230), texts_of(1, 220)
    for number in EXACT:
        valid[number] = train[number + 1]
    for number in NEAR:
        valid[number] = f"{train[number + 2]} and so on"
    for number in CONTAINED:
        train[20] = f"{texts_of(2, 1, 200)[0]} {valid[number]} {texts_of(3, 1, 200)[0]}"
    train[100], train[101] = train[50], f"Well: {train[60]}"
    return train, valid


def write(folder, train, valid):
    folder.mkdir(exist_ok=True)
    for name, texts in (("train", train), ("valid", valid)):
        (folder / f"{name}.txt").write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    return str(folder)


@pytest.fixture
def dataset(tmp_path):
    return prepare(Data(corpus=write(tmp_path / "corpus", *planted()), tokenizer="bytes"))


def test_planted_duplicates_are_counted(dataset):
    value = checked(dataset)
    assert (value["compared"], value["span_tokens"]) == ("document", 201)
    units = value["units"]["valid"]
    assert (tuple(units["exact"]), tuple(units["near"]), tuple(units["contained"])) == (EXACT, NEAR, CONTAINED)
    entry, lengths = value["in_training"]["valid"], np.diff(dataset.document_starts("valid"))
    assert entry["exact"] == {"passages": 2, "tokens": 2 * 350, "share_of_tokens": 700 / lengths.sum()}
    assert entry["near"]["tokens"] == 3 * (350 + len(" and so on"))
    assert entry["units"]["any"]["units"] == 6
    assert entry["units"]["any"]["share_of_tokens"] == lengths[[3, 5, 9, 40, 77, 200]].sum() / lengths.sum()
    # 349 bytes of each text stand in training, and of some the end of text before or after it too.
    assert 6 * 349 <= entry["spans"]["tokens"] <= 6 * 351
    assert 349 <= entry["spans"]["longest_run"] <= 351
    within = value["within"]["train"]
    assert (within["exact"]["passages"], within["near"]["passages"], within["clusters"]) == (1, 1, 2)
    assert value["within"]["valid"]["clusters"] == 0
    flags = duplicate_units(value, dataset, "valid")
    assert np.flatnonzero(flags).tolist() == sorted(EXACT + NEAR + CONTAINED)


def test_examples_say_where_their_text_stands(dataset):
    train, valid = planted()
    value = checked(dataset)
    for one in value["in_training"]["valid"]["examples"]:
        assert valid[one["document"]].startswith(one["excerpt"]) and one["offset"] == 0
        partner = one["similar_to"]
        assert partner["split"] == "train" and train[partner["document"]][:300] == valid[one["document"]][:300]
        assert one["source"] == "valid.txt" and partner["source"] == "train.txt"
    texts = {split: "".join(texts).encode() for split, texts in (("train", train), ("valid", valid))}
    for one in value["in_training"]["valid"]["span_examples"]:
        there = one["in_training"]
        here = texts["valid"][one["split_offset"] :][:300]
        assert here == texts["train"][there["split_offset"] :][:300] and here.decode().startswith(one["excerpt"])
        assert valid[one["document"]].encode()[one["offset"] :][:300] == here
    (copies, near) = sorted(value["within"]["train"]["examples"], key=lambda cluster: -cluster["exact_copies"])
    assert [one["document"] for one in copies["members"]] == [50, 100] and copies["members"][1]["similarity"] == 1.0
    assert [one["document"] for one in near["members"]] == [60, 101] and 0.8 <= near["members"][1]["similarity"] < 1.0


def test_the_same_text_in_small_portions_gives_the_same_check(dataset, monkeypatch):
    first = checked(dataset)
    (dataset.folder / check_module.NAME).unlink()
    for module in (passages_module, spans_module, stretches_module):
        monkeypatch.setattr(module, "TOKENS_A_TIME", 1000)
    monkeypatch.setattr(spans_module, "WINDOWS_A_TIME", 5000)
    again = checked(dataset)
    for value in (first, again):
        value.pop("seconds"), value.pop("created")
    assert again == first


def test_one_long_document_is_compared_by_blocks(tmp_path):
    random = texts_of(4, 1, 6000)[0]
    # The validation half repeats 5,000 characters of the training half, beginning inside a block.
    text = random[:20_000] + random[20_000:30_000] + random[3_000:8_000] + random[30_000:35_000]
    path = tmp_path / "one.txt"
    path.write_text(text)
    dataset = prepare(Data(corpus=str(path), tokenizer="characters", split="tail", valid_share=0.5))
    value = checked(dataset)
    assert value["compared"] == "block" and len(dataset.units("valid")) == 20
    assert value["in_training"]["valid"]["spans"]["tokens"] == 5000
    # 10,000 to 15,000: block 9 begins at 9,216, block 14 at 14,336 and has 664 of 1,024.
    assert value["units"]["valid"]["contained"] == [10, 11, 12, 13]
    assert value["units"]["valid"]["exact"] == value["units"]["valid"]["near"] == []


def test_blocks_of_a_split_with_few_documents_follow_their_documents(tmp_path):
    train, valid = texts_of(5, 230), texts_of(6, 3, 400)
    train[7], valid[1] = valid[1], f"{valid[1]} and so on"
    dataset = prepare(Data(corpus=write(tmp_path / "corpus", train, valid), tokenizer="bytes"))
    value = checked(dataset)
    assert (value["compared"], value["in_training"]["valid"]["units"]["unit"]) == ("document", "block")
    per_document = [-(-len(text) // 1024) for text in valid]
    assert value["units"]["valid"]["near"] == list(range(per_document[0], per_document[0] + per_document[1]))


def test_a_tokenizer_that_loses_text_is_checked_too(tmp_path):
    data = Data(corpus=write(tmp_path / "corpus", *planted()), tokenizer="words", unknown="replace", vocabulary=None)
    value = checked(prepare(data))
    assert tuple(value["units"]["valid"]["exact"]) == EXACT
    assert set(NEAR) <= set(value["units"]["valid"]["near"])


def test_a_view_is_checked_as_what_it_is(tmp_path, dataset):
    tokens = int(dataset.document_starts("train")[10]) + 7
    data = Data(corpus=str(tmp_path / "corpus"), tokenizer="bytes", tokens=tokens)
    value = checked(prepare(data))
    assert value["id"] != dataset.id and value["within"]["train"]["tokens"] == tokens
    assert (value["units"]["valid"]["exact"], value["units"]["valid"]["near"]) == ([3], [5])


def test_a_check_is_made_once_and_kept_beside_the_data(dataset):
    assert kept(dataset) is None
    listener = Listener()
    value = checked(dataset, listener)
    assert {task for task, _ in listener.tasks} >= {"reading train", "comparing passages", "looking for repeated spans"}
    assert listener.ended
    again = Listener()
    assert checked(dataset, again) == value == kept(dataset) == json.loads((dataset.folder / "check.json").read_bytes())
    assert again.tasks == []
    dataset.verify()
    assert open_dataset(dataset.folder).id == dataset.id


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: value.update(format=99),
        lambda value: value.update(id="0" * 16),
        lambda value: value.pop("units"),
        lambda value: value["units"]["valid"].update(count=5),
        lambda value: value["units"]["valid"].update(exact=[10**9]),
        lambda value: value["units"]["valid"].update(exact=[-1]),
        lambda value: value["units"]["valid"].update(near="all"),
    ],
)
def test_a_kept_check_that_does_not_fit_is_made_anew(dataset, damage):
    value = checked(dataset)
    path = dataset.folder / check_module.NAME
    damage(changed := json.loads(path.read_bytes()))
    path.write_text(json.dumps(changed))
    assert kept(dataset) is None
    assert checked(dataset)["units"] == value["units"]


def test_a_folder_that_can_not_be_written_to_keeps_no_check(dataset, monkeypatch):
    def refuse(path, value):
        raise LabError(f"{path} can't be written: it's read-only")

    monkeypatch.setattr(check_module, "write_shared", refuse)
    listener = Listener()
    assert tuple(checked(dataset, listener)["units"]["valid"]["exact"]) == EXACT
    assert "not kept" in listener.lines[0] and kept(dataset) is None


def test_what_is_quick_is_a_matter_of_bytes(dataset, monkeypatch):
    assert is_quick(dataset)
    monkeypatch.setattr(check_module, "QUICK_BYTES", 1000)
    assert not is_quick(dataset)


def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch):
    for module in (passages_module, spans_module, stretches_module):
        monkeypatch.setattr(module, "TOKENS_A_TIME", 1 << 12)
    monkeypatch.setattr(spans_module, "WINDOWS_A_TIME", 1 << 12)
    peaks = []
    for number, count in enumerate((40, 160)):
        text = write(tmp_path / f"corpus-{number}", texts_of(number, count, 400), texts_of(9, 2, 400))
        dataset = prepare(Data(corpus=text, tokenizer="bytes"))
        assert dataset.tokenizer is not None, "made here: it is no part of what is measured"
        tracemalloc.start()
        checked(dataset)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_the_report_says_what_was_found_and_shows_no_secret(tmp_path):
    train, valid = planted()
    train[0] += "\nghp_9aF3kQ0zLw71VbXc52RtYp84HsJd06MnGu4e\n\u202e hidden `code` <b>"
    valid[3] = train[4] = "ghp_9aF3kQ0zLw71VbXc52RtYp84HsJd06MnGu4e " + train[4]
    value = checked(prepare(Data(corpus=write(tmp_path / "corpus", train, valid), tokenizer="bytes")))
    for text in ("\n".join(lines(value)), markdown(value), json.dumps(value)):
        assert "9aF3kQ0z" not in text and "\u202e" not in text
        assert "ghp_****" in text
    text = "\n".join(lines(value))
    assert "6 of 220 documents are duplicates of training text (exact 2, near 3, contained 1)" in text
    assert "tokens of GitHub: 2, in 2 documents" in text and "U+202E" in text
    assert "the training split's text (train.txt)" in text
    assert "## duplicates within the training split" in markdown(value)


def test_a_span_that_begins_inside_a_secret_shows_nothing_of_it(tmp_path):
    train, valid = planted()
    secret = "ghp_9aF3kQ0zLw71VbXc52RtYp84HsJd06MnGu4e"
    train[7], valid[7] = f"{secret} {train[7]}", f"{secret[:8]}X{secret[9:]} {train[7]}"
    value = checked(prepare(Data(corpus=write(tmp_path / "corpus", train, valid), tokenizer="bytes")))
    longest = value["in_training"]["valid"]["span_examples"][0]
    assert (longest["document"], longest["offset"]) == (7, 9) and longest["excerpt"].startswith("*" * 31)
    assert secret[12:30] not in json.dumps(value)


def test_a_damaged_check_is_one_line(dataset):
    value = checked(dataset)
    del value["text"]["train"]["findings"]
    with pytest.raises(LabError, match="damaged"):
        lines(value)


def lmlab(capsys, *words):
    status = main(["data", *map(str, words)])
    output = capsys.readouterr()
    return status, output.out, output.err


def test_check_on_the_command_line(capsys, tmp_path):
    corpus = write(tmp_path / "corpus", *planted())
    status, out, err = lmlab(capsys, "check", corpus, "--data.tokenizer", "bytes", "--out", tmp_path / "report.md")
    assert (status, err) == (0, "")
    assert "are duplicates of training text" in out and "has the SHA-256 of its manifest" in out
    assert out.splitlines()[-1] == str(tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# Check of corpus")
    status, out, _ = lmlab(capsys, "check", corpus, "--data.tokenizer", "bytes", "--json")
    value = json.loads(out)
    assert (status, value["units"]["valid"]["exact"]) == (0, list(EXACT))
    status, out, _ = lmlab(capsys, "check", value["id"])
    assert status == 0 and out.splitlines()[-1] == value["folder"]
    assert lmlab(capsys, "prepare", corpus, "--out", "x.md")[0] == 2
    assert lmlab(capsys, "check", "--out", "x.md")[0] == 2
    status, _, err = lmlab(capsys, "check", corpus, "--data.tokenizer", "bytes", "--out", tmp_path / "no" / "a.md")
    assert status == 1 and err.count("\n") == 1
