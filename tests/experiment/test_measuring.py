"""Texts of runs measured beside real text: what is measured, stored, shown, and refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.data.dataset import find_dataset
from lmlab.data.preparation import prepare
from lmlab.evaluation.measures.real import PROMPT_CHARACTERS, real_passages
from lmlab.experiment.loaded import load
from lmlab.experiment.measuring import AskedMeasures, measure
from lmlab.experiment.start import train
from lmlab.generation.settings import Sampling
from lmlab.recipe import Data, Recipe, override
from lmlab.runs import open_run
from lmlab.runs.measures import read_measures
from lmlab.training.display import Quiet
from tests.experiment.test_scored_text import SMALL

SAMPLING = Sampling(tokens=40, seed=3, temperature=0.8)
ASKED = AskedMeasures(count=4, sampling=SAMPLING)


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_text):
    """A folder with two runs on one text."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "text.txt").write_text(tiny_text, encoding="utf-8")
    for name, seed in (("one", "1"), ("two", "2")):
        recipe = override(Recipe(), {**SMALL, "data.corpus": str(folder / "text.txt"), "train.seed": seed})
        train(recipe, run=name, runs=folder, display=Quiet(), say=lambda line: None)
    return folder


@pytest.fixture(scope="module")
def dataset(place):
    return find_dataset(open_run("one", place)[0].fact("data_id"))


@pytest.fixture(scope="module")
def found(place):
    return measure(["one", "two"], AskedMeasures(count=4, sampling=SAMPLING, reference="two"), runs=place)


def test_real_passages_are_the_splits_own_text_and_divided_at_white_space(dataset):
    text = dataset.text("valid", 0, len(dataset.tokens("valid")))
    passages = real_passages(dataset, "valid", 4, 40)
    assert len(passages) == 4
    for passage in passages:
        assert len(passage.prompt) >= PROMPT_CHARACTERS - 1
        assert passage.prompt + passage.text in text
        assert passage.text[0].isspace()
    assert passages == real_passages(dataset, "valid", 4, 40)


def test_models_continue_the_prompts_of_real_text_as_they_do_alone(place, found, dataset):
    prompts = [passage.prompt for passage in real_passages(dataset, "valid", 4, 40)]
    alone = load("one", place).complete(prompts, SAMPLING)
    assert [passage.text for passage in found.models[0].passages] == [one.text for one in alone]
    assert found.real is not None
    assert [passage.prompt for passage in found.real.passages] == prompts


def test_real_text_has_the_known_words_and_copies_that_a_search_of_the_training_text_has(found, dataset):
    train_text = dataset.text("train", 0, len(dataset.tokens("train"))).lower()
    known = {word for word in "".join(one if one.isalnum() else " " for one in train_text).split()}
    count = total = 0
    for passage in found.real.passages:
        words = "".join(one if one.isalnum() else " " for one in passage.text.lower()).split()
        words = words[:-1] if passage.cut and passage.text[-1].isalnum() else words
        count, total = count + sum(word in known for word in words), total + len(words)
    assert found.real.figures["known"].estimate == pytest.approx(count / total)
    assert found.real.data_id == dataset.id


def test_figures_are_stored_with_each_run_and_shown_by_report_and_table(place, found, capsys):
    for one in found.models:
        stored = read_measures(one.run.folder, one.step)
        assert stored["figures"]["known"][0] == one.figures["known"].estimate
        assert stored["id"] == one.run.id
        assert stored["asked"]["reference"] == "two"
        assert len(stored["passages"]) == 4
    assert main(["report", "one", "--runs", str(place), "--format", "svg"]) == 0
    assert "known words" in capsys.readouterr().out
    assert main(["runs", "show", "one", "--runs", str(place)]) == 0
    assert "its texts" in capsys.readouterr().out
    assert main(["compare", "--table", "one", "two", "--runs", str(place), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["rows"][1]["measures"]["figures"]["known"][0] == found.models[1].figures["known"].estimate
    assert main(["compare", "--table", "one", "two", "--runs", str(place)]) == 0
    assert "real text beside" in capsys.readouterr().out


def test_reference_scores_its_own_texts_lower_than_a_uniform_guess(found, dataset):
    own, of_real = found.models[1].figures["bits_per_byte"], found.real.figures["bits_per_byte"]
    assert 0.0 < own.estimate < math.log2(dataset.vocabulary_size)
    assert of_real.low <= of_real.estimate <= of_real.high


def test_measures_of_other_sampling_are_not_comparable(place, found, capsys):
    measure(["two"], ASKED, runs=place)
    assert main(["compare", "--table", "one", "two", "--runs", str(place)]) == 0
    assert "other prompts, sampling or reference" in " ".join(capsys.readouterr().out.split())


def test_given_prompts_are_continued_and_copies_left_out_on_request(place, dataset):
    asked = AskedMeasures(prompts=("The", "A"), sampling=SAMPLING, copies="no")
    found = measure(["one"], asked, runs=place)
    assert [passage.prompt for passage in found.models[0].passages] == ["The", "A"]
    assert "known" not in found.models[0].figures
    assert found.models[0].longest_copy is None
    assert any("other prompts than those given" in note for note in found.notes)
    assert not np.isnan(found.models[0].figures["repeated_1"].estimate)


def test_a_reference_that_is_not_there_is_refused_before_anything_is_written(place):
    asked = AskedMeasures(count=4, sampling=SAMPLING, reference="absent")
    with pytest.raises(LabError, match="absent"):
        measure(["one"], asked, runs=place)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--count", "3"], "--count needs --measure"),
        (["--measure.reference", "two"], "--measure.reference needs --measure"),
        (["--measure", "--count", "3", "--prompt", "a"], "use --samples"),
        (["--measure", "--samples", "3"], "the number of texts is --count"),
        (["--measure", "--count", "-1"], "expected at least 1"),
    ],
)
def test_flags_that_contradict_each_other_are_wrong_usage(place, words, said, capsys):
    assert main(["sample", "one", "--runs", str(place), *words]) == 2
    assert said in capsys.readouterr().err


def test_the_verb_prints_texts_and_figures(place, capsys):
    words = ["sample", "one", "two", "--runs", str(place), "--measure", "--count", "3", "--tokens", "30"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    for said in ("2 of 3 texts", "figures of 3 texts each", "real text", "repeated 4-grams", "longest copy (words)"):
        assert said in printed
    assert main([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert len(value["models"]) == 2
    assert len(value["real"]["passages"]) == 3


def test_real_passages_of_conversations_are_the_answers_after_all_that_precedes_them(tmp_path):
    records = [{"instruction": f"Say {number}.", "output": f"It is {number}, " * 9} for number in range(6)]
    (tmp_path / "tasks.json").write_text(json.dumps(records))
    settings = {"corpus": str(tmp_path / "tasks.json"), "template": "alpaca", "tokenizer": "bytes", "vocabulary": None}
    dataset = prepare(Data(**settings, split="sequential", valid_share=0.5))
    passages = real_passages(dataset, "valid", 5, 11)
    assert sorted(passage.text for passage in passages) == [f"It is {number}, It" for number in range(3, 6)]
    for passage in passages:
        assert passage.cut
        assert passage.prompt.endswith(f"### Instruction:\nSay {passage.text[6]}.\n\n### Response:\n")
