"""The recipe that a text gets: one rule in all verbs, with the settings by which the text is read."""

import gzip
import json

import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.data.preparation import prepare
from lmlab.experiment.asked import data_asked, recipe_asked
from lmlab.recipe import Data
from tests.data.shard_files import write_folder

LINES = [f"{first}{second}{third}" for first in "bcdfg" for second in "aeiou" for third in ("lla", "nne", "rick", "mo")]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def records(tmp_path, tiny_text):
    """JSONL whose text stands in a column of its own name."""
    path = tmp_path / "d.jsonl.gz"
    lines = [json.dumps({"id": number, "body": line}) for number, line in enumerate(tiny_text.splitlines())]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return str(path)


@pytest.fixture
def names(tmp_path):
    """A sorted list of names, one a line."""
    path = tmp_path / "names.txt"
    path.write_text("\n".join(sorted(LINES * 4)) + "\n", encoding="utf-8")
    return str(path)


def quiet(line):
    """Where the reasons of a choice are of no interest."""


@pytest.mark.parametrize("verb", ["train", "plan", "bench", "tune", "study"])
def test_each_verb_reads_a_text_by_the_column_that_is_asked_for(verb, records, tmp_path, monkeypatch, capsys):
    found = []

    def remember(recipe, *words, **options):
        found.append(recipe.data.column)
        raise LabError("far enough")

    for name in (
        "experiment.start.train",
        "experiment.planned.plan",
        "experiment.benching.bench",
        "study.tune.tuning.tune",
    ):
        monkeypatch.setattr(f"lmlab.{name}", remember)
    monkeypatch.setattr("lmlab.study.grid.studying.plan_study", lambda definition, base: remember(base))
    words = ["--vary", "train.seed=1,2"] if verb == "study" else []
    runs = ["--runs", str(tmp_path / "runs")] if verb != "bench" else []
    for column in (["--data.column", "body"], ["--data.column=body"]):
        main([verb, records, *column, *words, *runs])
        assert "far enough" in capsys.readouterr().err
    assert found == ["body", "body"]


@pytest.mark.parametrize(
    "settings", [{}, {"data.tokenizer": "bytes"}, {"data.separator": "\\n"}, {"data.vocabulary": "300"}]
)
def test_data_prepare_makes_the_data_set_that_train_reads(settings, names):
    asked = data_asked(names, settings, quiet).data
    assert prepare(asked).id == prepare(recipe_asked(names, settings, say=quiet).data).id


def test_a_text_of_a_catalogue_corpus_is_chosen_for_as_any_other(tmp_path, monkeypatch):
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "a.py").write_text("def answer():\n    return 42\n" * 400)
    monkeypatch.setattr("lmlab.data.stdlib.stdlib_folder", lambda: tmp_path / "library")
    assert recipe_asked("stdlib", {}, say=quiet).data.tokenizer == "characters"


def test_words_need_no_more_than_their_name(names, tiny_text_file):
    for target in (str(tiny_text_file), names):
        data = recipe_asked(target, {"data.tokenizer": "words"}, say=quiet).data
        assert (data.tokenizer, data.vocabulary, data.unknown) == ("words", None, "replace")
    found = prepare(data_asked(str(tiny_text_file), {"data.tokenizer": "words"}, quiet).data)
    assert "waits" in found.tokenizer.words
    data = recipe_asked("first", {"data.tokenizer": "words"}).data
    assert (data.vocabulary, data.minimum_count, data.unknown) == (None, 2, "replace")
    assert recipe_asked("first", {"data.tokenizer": "words", "data.vocabulary": "500"}).data.vocabulary == 500


def test_a_vocabulary_alone_asks_for_a_bpe_of_that_size(names):
    data = recipe_asked(names, {"data.vocabulary": "300"}, say=quiet).data
    assert (data.tokenizer, data.vocabulary) == ("bpe", 300)


def test_how_a_text_was_prepared_is_found_again_and_told(names):
    lines = []
    prepare(data_asked(names, {"data.separator": "\\n", "data.tokenizer": "bytes"}, quiet).data)
    data = recipe_asked(names, {}, say=lines.append).data
    assert (data.separator, data.tokenizer) == ("\\n", "characters"), "how it is read, not by which tokenizer"
    assert any("--data.separator '\\n'" in line for line in lines)
    assert recipe_asked(names, {"data.separator": ""}, say=quiet).data.separator == "", (
        "what is typed has the last word"
    )


def test_a_text_that_was_prepared_plainly_too_is_read_plainly_and_the_other_way_is_named(names):
    lines = []
    for settings in ({"data.separator": "\\n"}, {"data.separator": ""}):
        prepare(data_asked(names, settings, quiet).data)
    assert recipe_asked(names, {}, say=lines.append).data.separator == ""
    assert any("also prepared with --data.separator '\\n'" in line for line in lines)


def test_where_it_is_in_doubt_how_a_text_is_read_the_verb_asks(names):
    for settings in ({"data.separator": "\\n"}, {"data.separator": "cerick"}):
        prepare(data_asked(names, settings, quiet).data)
    with pytest.raises(LabError, match=r"prepared with different settings: .*set how it is read"):
        recipe_asked(names, {}, say=quiet)


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        ({"train.stps": "5"}, None, "did you mean train.steps"),
        ({"train.batch": "many"}, None, "expected a whole number"),
        ({"train.until": "soon"}, None, "expected a time such as"),
        ({"train.device": "abacus"}, None, "the device 'abacus' is unknown"),
        ({"model.heads": "5", "model.width": "384"}, "10M", "must divide model.width 384"),
        ({"data.tokenizer": "bpe", "data.vocabulary": "20"}, None, "too small for bpe"),
        ({"data.stride": "8"}, None, "data.stride 8 is for windows of documents"),
        ({}, "7X", "expected parameters such as"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_the_text_is_read(settings, size, message, names, monkeypatch):
    def never(*words, **options):
        raise AssertionError("the text was read")

    monkeypatch.setattr("lmlab.experiment.asked.resolve", never)
    with pytest.raises(LabError, match=message):
        recipe_asked(names, settings, size, say=quiet)
    if all(name.startswith("data.") for name in settings) and settings:
        with pytest.raises(LabError, match=message):
            data_asked(names, settings, quiet)


def test_a_list_and_carriage_returns_are_named_before_training(tmp_path, names):
    lines = []
    recipe_asked(names, {}, say=lines.append)
    assert any("one document of many short lines, and they are sorted" in line for line in lines)
    assert any("--data.separator '\\n'" in line for line in lines)
    windows = tmp_path / "windows.txt"
    windows.write_bytes(("The first line.\r\n\r\nAnd another one.\r\n" * 300).encode())
    lines.clear()
    recipe_asked(str(windows), {}, say=lines.append)
    assert any("--data.newlines lf" in line for line in lines)
    assert not any("many short lines" in line for line in lines)
    lines.clear()
    recipe_asked(str(windows), {"data.newlines": "lf"}, say=lines.append)
    assert not any("newlines" in line for line in lines)


def test_the_default_of_newlines_changes_no_data_set(names):
    assert (
        prepare(Data(corpus=names, tokenizer="bytes")).id
        == prepare(Data(corpus=names, tokenizer="bytes", newlines="lf")).id
    ), "a text without carriage returns is the same either way"


def test_a_text_is_taken_by_the_other_family_of_models_too(names):
    lines = []
    assert recipe_asked(names, {"model.kind": "context"}, say=lines.append).model.kind == "context"
    assert not [line for line in lines if "--size" in line or "n-gram" in line]
    with pytest.raises(LabError, match="--size is for model.kind gpt"):
        recipe_asked(names, {"model.kind": "context"}, "2M", say=quiet)


def test_the_recipe_for_shards_with_a_budget_is_for_the_budget(tmp_path, monkeypatch):
    """And nothing but the beginning is read for the choice."""
    monkeypatch.setattr("lmlab.experiment.own_text.LOOKED_AT_CHARACTERS", 50_000)
    write_folder(tmp_path / "shards", shards=40, count=100)
    (tmp_path / "shards" / "039_00000.parquet").write_bytes(b"damaged")
    few, many = (
        recipe_asked(str(tmp_path / "shards"), {"data.tokens": tokens}, "300k", quiet) for tokens in ("30k", "3M")
    )
    assert few.data.tokenizer == "characters" and few.data.tokens == 30_000
    assert few.train.steps < many.train.steps
