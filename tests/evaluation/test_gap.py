"""The gap between validation and training: equal samples, and an interval over the units of both."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lmlab.evaluation.gap import _thinned, loss_gap
from lmlab.evaluation.losses import Scoring, evaluate_sample, tokens_in_sample
from lmlab.evaluation.result import Evaluation
from lmlab.model.build import build_model
from lmlab.recipe import GPT
from tests.evaluation.test_losses import VOCABULARY, Text


def scored(split, losses, tokens):
    """An evaluation of units with those losses (nats a token) and tokens each."""
    nats = np.array(losses) * tokens
    return Evaluation(
        split=split,
        tokens=int(np.sum(tokens)),
        loss=float(nats.sum() / np.sum(tokens)),
        standard_error=math.nan,
        accuracy=0.0,
        majority_accuracy=0.0,
        bytes=None,
        bits_per_byte=None,
        bits_per_unit=nats / math.log(2.0),
        tokens_per_unit=np.array(tokens),
        seconds=0.0,
        whole=False,
    )


def test_the_interval_of_a_gap_has_the_standard_errors_of_both_samples():
    generator = np.random.default_rng(0)
    valid = scored("valid", generator.normal(2.5, 0.4, 120), np.full(120, 50))
    train = scored("train", generator.normal(2.0, 0.3, 120), np.full(120, 50))
    gap = loss_gap(valid, train)
    error = math.hypot(0.4, 0.3) / math.sqrt(120)
    assert gap.estimate == pytest.approx(valid.loss - train.loss)
    assert (gap.high - gap.low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert loss_gap(valid, train) == gap


@pytest.mark.parametrize("larger", ["valid", "train"])
def test_the_larger_sample_is_cut_to_the_smaller_one(larger):
    """As an evaluation of 1,521 training tokens beside 4,862 of validation."""
    generator = np.random.default_rng(1)
    many = scored("valid", np.linspace(1.0, 3.0, 95), generator.integers(30, 70, 95))
    few = scored("train", generator.normal(2.0, 0.1, 30), np.full(30, 50))
    kept = _thinned(many, few.tokens)
    assert abs(many.tokens_per_unit[kept].sum() - few.tokens) < 70
    assert np.diff(kept).max() <= 4, "spread over all of the text"
    loss, _ = many.loss_over(np.isin(np.arange(95), kept))
    sides = (many, few) if larger == "valid" else (few, many)
    expected = loss - few.loss if larger == "valid" else few.loss - loss
    assert loss_gap(*sides).estimate == pytest.approx(expected)


def test_a_single_unit_or_a_broken_loss_gives_a_gap_without_limits():
    one = loss_gap(scored("valid", [2.0], [50]), scored("train", [1.5], [50]))
    assert one.estimate == pytest.approx(0.5) and math.isnan(one.low)
    broken = loss_gap(scored("valid", [math.inf] * 9, [50] * 9), scored("train", [1.5] * 9, [50] * 9))
    assert math.isnan(broken.low) and math.isnan(broken.high)


@pytest.mark.parametrize("wanted", [1, 40, 100, 10**6])
def test_the_tokens_of_a_sample_are_told_before_it_is_scored(wanted):
    text = Text(documents=40)
    model = build_model(GPT(layers=1, heads=1, width=8, context=8), VOCABULARY)
    sample = evaluate_sample(Scoring(model=model, text=text, context=8, device=torch.device("cpu")), "valid", wanted)
    assert tokens_in_sample(text, "valid", wanted) == sample.tokens
