"""The validation loss without duplicates of training text: the same sum by hand, and when nothing is known."""

import dataclasses
import json
import math

import numpy as np
import pytest

from lmlab.data.hygiene import check as check_module
from lmlab.data.hygiene.check import checked
from lmlab.data.preparation import prepare
from lmlab.evaluation.result import Evaluation
from lmlab.experiment.duplicated import duplicates_line, without_duplicates
from lmlab.experiment.scoring import evaluate
from lmlab.experiment.start import train
from lmlab.recipe import Data, override
from tests.data.support import write_stories


@pytest.fixture
def dataset(tmp_path):
    """300 training stories and 210 for validation, of which 10 are training's."""
    folder = tmp_path / "stories"
    folder.mkdir()
    copied = write_stories(folder / "train.txt", 300)[100:110]
    fresh = write_stories(folder / "valid.txt", 200, first=1000)
    (folder / "valid.txt").write_text("\n<|endoftext|>\n".join([*copied, *fresh]), encoding="utf-8")
    return prepare(Data(corpus=str(folder), tokenizer="bytes"), tmp_path / "cache")


@pytest.fixture
def scores(dataset):
    """An evaluation in which the first ten documents cost one bit a token, and the others three."""
    tokens = np.diff(np.append(dataset.units("valid")["start"], len(dataset.tokens("valid"))))
    tokens[0] -= 1  # nothing predicts the split's first token
    bits = np.where(np.arange(len(tokens)) < 10, 1.0, 3.0) * tokens
    return Evaluation(
        split="valid",
        tokens=int(tokens.sum()),
        loss=float(bits.sum() / tokens.sum()) * math.log(2),
        standard_error=0.0,
        accuracy=0.0,
        majority_accuracy=0.0,
        bytes=None,
        bits_per_byte=None,
        bits_per_unit=bits,
        tokens_per_unit=tokens,
        seconds=0.0,
        whole=True,
    )


def test_the_loss_without_duplicates_is_that_of_the_other_units(dataset, scores):
    value = without_duplicates(scores, dataset, dataset.id)
    assert value["loss_without_duplicates"] == pytest.approx(3 * math.log(2))
    assert value["loss_without_duplicates_interval"] == [pytest.approx(3 * math.log(2))] * 2
    assert value["tokens_without_duplicates"] == scores.tokens_per_unit[10:].sum()
    found = value["duplicates"]
    assert (found["units"], found["of_units"], found["unit"], found["exact"]) == (10, 210, "document", 10)
    assert found["loss"] == pytest.approx(math.log(2))
    assert found["tokens"] + value["tokens_without_duplicates"] == scores.tokens
    assert found["share_of_tokens"] == found["tokens"] / scores.tokens
    line = duplicates_line(value)
    assert "without the 10 of 210 documents" in line and "loss 2.0794" in line and "alone 0.6931" in line


def test_without_duplicates_the_loss_stays(tmp_path, scores, dataset):
    for name in ("train", "valid"):
        write_stories(tmp_path / "stories" / f"{name}.txt", 210, first=0 if name == "train" else 1000)
    other = prepare(Data(corpus=str(tmp_path / "stories"), tokenizer="bytes"), tmp_path / "cache")
    tokens = np.full(210, 9)
    even = dataclasses.replace(
        scores, tokens=9 * 210, tokens_per_unit=tokens, bits_per_unit=2.0 * tokens, loss=2 * math.log(2)
    )
    value = without_duplicates(even, other, other.id)
    assert value["loss_without_duplicates"] == pytest.approx(even.loss)
    assert duplicates_line(value) == "none of the 210 documents is a duplicate of training text"


def test_where_all_is_duplicated_nothing_is_left(tmp_path, scores):
    folder = tmp_path / "same"
    folder.mkdir()
    for name in ("train", "valid"):
        write_stories(folder / f"{name}.txt", 210)
    dataset = prepare(Data(corpus=str(folder), tokenizer="bytes"), tmp_path / "cache")
    value = without_duplicates(scores, dataset, dataset.id)
    assert (value["loss_without_duplicates"], value["tokens_without_duplicates"]) == (None, 0)
    assert value["duplicates"]["share_of_tokens"] == 1.0
    assert duplicates_line(value).startswith("nothing is left without the 210 of 210 documents")


def test_where_nothing_is_known_it_says_why(dataset, scores, monkeypatch):
    unknown = without_duplicates(scores, dataset, "another")
    assert unknown["loss_without_duplicates"] is None and unknown["duplicates"] is None
    assert "another text" in duplicates_line(unknown)
    training = without_duplicates(dataclasses.replace(scores, split="train"), dataset, dataset.id)
    assert "not compared with itself" in duplicates_line(training)
    monkeypatch.setattr(check_module, "QUICK_BYTES", 10)
    later = without_duplicates(scores, dataset, dataset.id)
    assert f"lmlab data check {dataset.id}" in duplicates_line(later)
    checked(dataset)
    assert without_duplicates(scores, dataset, dataset.id)["duplicates"]["units"] == 10


def test_evaluate_reports_both_losses(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("lmlab.experiment.arithmetic.native_engine", lambda model: None)  # nothing is built for this
    train(override(small_recipe, {"train.engine": "torch"}), run="mine", runs=tmp_path)
    value = evaluate("mine", runs=tmp_path)
    found = value["duplicates"]
    assert found["unit"] == "block" and found["of_units"] == value["units"]
    assert found["tokens"] + value["tokens_without_duplicates"] == value["tokens"]
    parts = [(value["loss_without_duplicates"], value["tokens_without_duplicates"]), (found["loss"], found["tokens"])]
    nats = sum(loss * tokens for loss, tokens in parts if tokens)
    assert nats / value["tokens"] == pytest.approx(value["loss"])
    assert json.dumps(value["duplicates"])
    assert evaluate("mine", runs=tmp_path, split="train")["duplicates"] is None
