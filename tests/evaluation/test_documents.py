"""Evaluation over windows of documents, against a slow loop over every target of every window."""

import math

import numpy as np
import pytest
import torch

from lmlab.data.windows import Windows, document_windows
from lmlab.evaluation.losses import Scoring, evaluate_sample, evaluate_split
from lmlab.evaluation.sample import choose_units
from tests.evaluation.test_losses import CPU, END, Prefix, Text, real_model


def documents_of(text: Text, split: str, context: int, stride: int) -> Windows:
    starts = np.append(text.units(split)["start"], len(text.tokens(split)))
    return document_windows(starts, context, stride)


def scoring(
    model: torch.nn.Module, text: Text, windows: Windows, context: int = 4, batch: int | None = None
) -> Scoring:
    return Scoring(model=model, text=text, context=context, device=CPU, batch=batch, documents=lambda split: windows)


@torch.no_grad()
def slow_scores(
    model: torch.nn.Module, text: Text, windows: Windows, split: str = "valid"
) -> list[tuple[int, float, int]]:
    """(unit, nats, token) of each target of each window, predicted from the window's tokens before it, in float64."""
    model = model.double().eval()
    tokens, begins = text.tokens(split).astype(np.int64), text.units(split)["start"]
    found = []
    for first, end in zip(*windows.spans(np.arange(windows.count)), strict=True):
        for place in range(first + 1, end):
            logits = model(torch.from_numpy(tokens[first:place])[None])[0, -1]
            nats = -torch.log_softmax(logits, dim=-1)[int(tokens[place])].item()
            found.append((int(np.sum(begins <= place)) - 1, nats, int(tokens[place])))
    model.float()
    return found


@pytest.mark.parametrize("build", [Prefix, real_model])
@pytest.mark.parametrize("stride", [3, 8])
def test_every_target_of_every_window_counts_and_padding_does_not(build, stride):
    text, model = Text(), build()
    windows = documents_of(text, "valid", 8, stride)
    scores = slow_scores(model, text, windows)
    result = evaluate_split(scoring(model, text, windows, context=8), "valid")
    assert result.tokens == len(scores) == windows.targets and result.whole
    assert result.loss == pytest.approx(np.mean([nats for _, nats, _ in scores]), rel=1e-5)
    for unit in range(len(text.units("valid"))):
        own = [nats for one, nats, _ in scores if one == unit]
        assert result.tokens_per_unit[unit] == len(own)
        assert result.bits_per_unit[unit] == pytest.approx(sum(own) / math.log(2), rel=1e-5)
    values, counts = np.unique(text.tokens("train"), return_counts=True)
    majority = values[counts.argmax()]
    assert result.majority_accuracy == pytest.approx(np.mean([token == majority for _, _, token in scores]))
    assert result.bits_per_byte is None and result.bytes is None, "some bytes would count twice"


@pytest.mark.parametrize("batch", [1, 5])
def test_a_sample_of_documents_has_the_bits_that_the_whole_gives_them(batch):
    text, model = Text(documents=20, seed=3), Prefix()
    windows = documents_of(text, "valid", 4, 2)
    whole = evaluate_split(scoring(model, text, windows), "valid")
    chosen = np.array([1, 2, 11, 19])
    part = evaluate_split(scoring(model, text, windows, batch=batch), "valid", units=chosen)
    assert part.bits_per_unit[chosen] == pytest.approx(whole.bits_per_unit[chosen], rel=1e-5)
    assert np.isnan(np.delete(part.bits_per_unit, chosen)).all() and not part.whole
    assert part.tokens == whole.tokens_per_unit[chosen].sum()


def test_a_sample_is_about_as_large_as_asked_where_windows_overlap():
    text, model = Text(documents=400, seed=5), Prefix()
    windows = documents_of(text, "train", 4, 1)
    assert windows.targets > 2 * len(text.tokens("train"))
    sample = evaluate_sample(scoring(model, text, windows), "train", windows.targets // 3)
    assert 0.2 < sample.tokens / windows.targets < 0.5
    again = evaluate_sample(scoring(model, text, windows), "train", windows.targets // 3)
    assert np.array_equal(sample.bits_per_unit, again.bits_per_unit, equal_nan=True)
    whole = evaluate_sample(scoring(model, text, windows), "train", windows.targets)
    assert whole.whole and whole.tokens == windows.targets
    assert len(choose_units(text.units("train"), len(text.tokens("train")), 10**9)) == 400
    assert text.tokens("train")[-1] == END
