"""Evaluation of a real model on data sets prepared from a real text, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lmlab.data.dataset import Dataset
from lmlab.data.preparation import prepare
from lmlab.evaluation.losses import Scoring, evaluate_sample, evaluate_split
from lmlab.model.build import build_model
from lmlab.model.gpt import GPTModel
from lmlab.model.initial import initialise
from lmlab.recipe import GPT, Data

CPU = torch.device("cpu")
CONTEXT = 16


def uniform_model(vocabulary: int) -> GPTModel:
    model = build_model(GPT(layers=1, heads=2, width=16, context=CONTEXT, tied=False, zero_init=True), vocabulary)
    initialise(model, 1)
    return model


def scoring(model: torch.nn.Module, dataset: Dataset) -> Scoring:
    return Scoring(model=model, text=dataset, context=CONTEXT, device=CPU)


@pytest.fixture(params=["characters", "bytes", "bpe", "words"])
def dataset(request, tiny_text: str, tmp_path: Path) -> Dataset:
    path = tmp_path / "text.txt"
    path.write_text(tiny_text, encoding="utf-8")
    vocabulary = 300 if request.param == "bpe" else 40
    unknown = "replace" if request.param == "words" else "refuse"
    settings = {"split": "tail", "valid_share": 0.5, "tokenizer": request.param, "vocabulary": vocabulary}
    return prepare(Data(corpus=str(path), unknown=unknown, **settings), folder=tmp_path / "cache")


def test_bits_per_byte_of_a_uniform_model_follow_from_the_texts_own_bytes(dataset):
    result = evaluate_split(scoring(uniform_model(dataset.vocabulary_size), dataset), "valid")
    tokens = dataset.tokens("valid")
    bits = (len(tokens) - 1) * math.log2(dataset.vocabulary_size)
    assert result.tokens == len(tokens) - 1
    assert result.bits_per_unit.sum() == pytest.approx(bits, rel=1e-6)
    if not dataset.lossless:
        assert result.bits_per_byte is None
        return
    text = dataset.text("valid", 0, len(tokens)).encode("utf-8")
    first = dataset.text("valid", 0, 1).encode("utf-8")
    assert result.bytes == len(text) - len(first)
    assert result.bits_per_byte == pytest.approx(bits / (len(text) - len(first)), rel=1e-6)


def test_a_sample_of_real_units_has_the_bits_of_the_whole_evaluation(dataset):
    model = build_model(GPT(layers=2, heads=2, width=16, context=CONTEXT), dataset.vocabulary_size)
    initialise(model, 3)
    for split in dataset.splits:
        whole = evaluate_split(scoring(model, dataset), split)
        units = len(dataset.units(split))
        assert len(whole.bits_per_unit) == units
        for chosen in ([0], list(range(units // 2, units))):
            part = evaluate_split(scoring(model, dataset), split, units=np.array(chosen))
            assert np.allclose(part.bits_per_unit[chosen], whole.bits_per_unit[chosen], rtol=1e-6)
        sample = evaluate_sample(scoring(model, dataset), split, 300)
        scored = ~np.isnan(sample.bits_per_unit)
        assert np.allclose(sample.bits_per_unit[scored], whole.bits_per_unit[scored], rtol=1e-6)
