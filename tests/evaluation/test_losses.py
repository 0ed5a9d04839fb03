"""Evaluation against a slow loop that predicts one token at a time in float64, and against sums by hand."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from torch import nn

from lmlab import LabError
from lmlab.evaluation import losses as losses_module
from lmlab.evaluation.losses import (
    EvaluationStopped,
    Scoring,
    evaluate_sample,
    evaluate_split,
    most_frequent_token,
    windows_at_once,
)
from lmlab.evaluation.result import Evaluation
from lmlab.evaluation.sample import choose_units
from lmlab.model.build import build_model
from lmlab.recipe import GPT
from lmlab.stats import ratio_interval

CPU = torch.device("cpu")
VOCABULARY = 7
END = 6
BYTES = np.array([1, 1, 2, 3, 1, 4, 0], dtype=np.int32)
UNIT = np.dtype([("key", "V32"), ("bytes", "<i8"), ("start", "<i8")])


class Text:
    """Documents of random tokens, each closed by the end-of-text token, as a data set would hold them."""

    splits = ("train", "valid")
    vocabulary_size = VOCABULARY
    end_of_text = END

    def __init__(self, documents: int = 12, seed: int = 0, lossless: bool = True) -> None:
        generator = np.random.default_rng(seed)
        self.lossless = lossless
        self._tokens, self._units = {}, {}
        for split in self.splits:
            texts = [generator.integers(0, END, size=generator.integers(1, 30)) for _ in range(documents)]
            tokens = np.concatenate([np.append(text, END) for text in texts]).astype(np.uint16)
            units = np.zeros(documents, UNIT)
            units["start"] = np.cumsum([0] + [len(text) + 1 for text in texts[:-1]])
            units["bytes"] = [BYTES[text].sum() for text in texts]
            units["key"] = [hashlib.sha256(text.tobytes()).digest() for text in texts]
            self._tokens[split], self._units[split] = tokens, units

    def tokens(self, split: str) -> np.ndarray:
        return self._tokens[split]

    def units(self, split: str) -> np.ndarray:
        return self._units[split]

    def document_starts(self, split: str) -> np.ndarray:
        return np.append(self._units[split]["start"], len(self._tokens[split]))

    def token_bytes(self) -> np.ndarray | None:
        return BYTES if self.lossless else None


class Prefix(nn.Module):
    """Logits that depend on every token before them in the window, and on nothing else."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embedding = nn.Parameter(scale * torch.randn(VOCABULARY, 5, generator=generator))
        self.head = nn.Parameter(scale * torch.randn(VOCABULARY, 5, generator=generator))
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5)
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(tokens.shape))
        state = torch.zeros(len(tokens), 5, dtype=self.head.dtype)
        out = []
        for entry in self.embedding[tokens].unbind(1):
            state = torch.tanh(0.7 * state + entry)
            out.append(self.frozen(self.dropout(state)) @ self.head.T)
        return torch.stack(out, dim=1)


def real_model() -> nn.Module:
    model = build_model(GPT(layers=1, heads=2, width=8, context=8, dropout=0.3), VOCABULARY)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


@torch.no_grad()
def slow_nats(model: nn.Module, tokens: np.ndarray, context: int) -> np.ndarray:
    """Nats of each token, one at a time in float64; NaN for the first."""
    model = model.double().eval()
    nats = np.full(len(tokens), np.nan)
    for place in range(1, len(tokens)):
        start = (place - 1) // context * context
        window = torch.from_numpy(tokens[start:place].astype(np.int64))[None]
        nats[place] = -torch.log_softmax(model(window)[0, -1], dim=-1)[int(tokens[place])].item()
    model.float()
    return nats


def scoring(model: nn.Module, text: Text, context: int = 8, **settings) -> Scoring:
    return Scoring(model=model, text=text, context=context, device=CPU, **settings)


def evaluate(model: nn.Module, text: Text, context: int = 8, units=None, stop=None, **settings) -> Evaluation:
    return evaluate_split(scoring(model, text, context, **settings), "valid", units=units, stop=stop)


@pytest.mark.parametrize("build", [Prefix, real_model])
@pytest.mark.parametrize("context", [3, 8])
def test_losses_equal_a_slow_loop_over_tokens(build, context):
    text, model = Text(), build()
    nats = slow_nats(model, text.tokens("valid"), context)
    result = evaluate(model, text, context)
    assert result.tokens == len(nats) - 1 and result.whole
    assert result.loss == pytest.approx(np.nanmean(nats), rel=1e-6)
    assert result.perplexity == pytest.approx(math.exp(np.nanmean(nats)), rel=1e-6)
    starts = text.units("valid")["start"]
    bits = np.add.reduceat(np.nan_to_num(nats), starts) / math.log(2)
    assert np.allclose(result.bits_per_unit, bits, rtol=1e-6)


def test_units_add_up_to_the_split():
    result = evaluate(Prefix(), Text())
    assert result.bits_per_unit.sum() * math.log(2) == pytest.approx(result.loss * result.tokens, rel=1e-12)
    assert result.tokens_per_unit.sum() == result.tokens
    assert result.bits_per_unit.dtype == np.float64 and len(result.bits_per_unit) == 12


@pytest.mark.parametrize("context", [1, 5, 8, 64, 1000])
def test_the_number_of_windows_a_pass_does_not_matter(context):
    text, model = Text(), Prefix()
    one = evaluate(model, text, context, batch=1)
    for batch in (2, 3, 7, 1000, None):
        other = evaluate(model, text, context, batch=batch)
        assert other.loss == pytest.approx(one.loss, rel=1e-6)
        assert np.allclose(other.bits_per_unit, one.bits_per_unit, rtol=1e-6)
        assert (other.tokens, other.bytes, other.accuracy) == (one.tokens, one.bytes, one.accuracy)


def test_sampled_units_have_the_bits_of_the_whole_evaluation():
    text, model = Text(documents=30), Prefix()
    whole = evaluate(model, text)
    for units in ([0], [29], [3, 4, 5, 20], list(range(30))):
        part = evaluate(model, text, units=np.array(units))
        assert not part.whole
        scored = np.isin(np.arange(30), units)
        assert np.allclose(part.bits_per_unit[scored], whole.bits_per_unit[scored], rtol=1e-6)
        assert np.isnan(part.bits_per_unit[~scored]).all()
        assert np.array_equal(part.tokens_per_unit, np.where(scored, whole.tokens_per_unit, 0))
        assert part.tokens == whole.tokens_per_unit[scored].sum()
        expected = whole.bits_per_unit[scored].sum() * math.log(2) / part.tokens
        assert part.loss == pytest.approx(expected, rel=1e-6)


def test_a_sample_runs_only_the_windows_that_it_needs():
    text, model = Text(documents=60), Prefix()
    evaluate(model, text, units=np.array([10]))
    starts = text.units("valid")["start"]
    needed = (starts[11] - 2) // 8 - (starts[10] - 1) // 8 + 1
    assert sum(rows for rows, _ in model.shapes) == needed


def test_evaluate_sample_scores_the_chosen_units_at_every_call():
    text, model = Text(documents=200), Prefix()
    first = evaluate_sample(scoring(model, text), "train", 600)
    again = evaluate_sample(scoring(model, text), "train", 600)
    chosen = choose_units(text.units("train"), len(text.tokens("train")), 600)
    assert np.flatnonzero(~np.isnan(first.bits_per_unit)).tolist() == chosen.tolist()
    assert not first.whole and 300 < first.tokens < 900
    assert first.loss == again.loss and np.array_equal(first.bits_per_unit, again.bits_per_unit, equal_nan=True)
    everything = evaluate_sample(scoring(model, text), "train", 10**9)
    assert everything.whole and everything.tokens == len(text.tokens("train")) - 1


def test_a_model_without_a_clue_pays_log_of_the_vocabulary_a_token():
    text = Text()
    result = evaluate(Prefix(scale=0.0), text)
    assert result.loss == pytest.approx(math.log(VOCABULARY), rel=1e-6)
    assert result.standard_error == pytest.approx(0.0, abs=1e-7)


def test_bits_per_byte_count_end_of_text_as_bits_and_not_as_bytes_and_leave_the_first_token_out():
    text = Text()
    text._tokens["valid"] = np.array([5, 0, 2, END, 3, END], dtype=np.uint16)
    text._units["valid"] = text.units("valid")[:2].copy()
    text._units["valid"]["start"] = [0, 4]
    result = evaluate(Prefix(scale=0.0), text)
    # predicted: 0 (1 byte), 2 (2 bytes), end (0), 3 (3 bytes), end (0)
    assert (result.tokens, result.bytes) == (5, 6)
    assert result.bits_per_byte == pytest.approx(5 * math.log2(7) / 6, rel=1e-6)
    assert result.tokens_per_unit.tolist() == [3, 2]
    assert np.allclose(result.bits_per_unit, [3 * math.log2(7), 2 * math.log2(7)])
    part = evaluate(Prefix(scale=0.0), text, units=np.array([1]))
    assert (part.tokens, part.bytes) == (2, 3)


def test_bits_per_byte_are_unknown_where_the_tokenizer_loses_text():
    result = evaluate(Prefix(), Text(lossless=False))
    assert result.bytes is None and result.bits_per_byte is None
    assert result.figures()["bits_per_byte"] is None


def test_accuracy_and_the_majority_guess_by_hand():
    class Fixed(nn.Module):
        def forward(self, tokens):
            return nn.functional.one_hot(torch.full_like(tokens, 2), VOCABULARY).float()

    text = Text()
    text._tokens["train"] = np.array([4, 4, 1, 4, 2], dtype=np.uint16)
    text._tokens["valid"] = np.array([4, 2, 4, 2, 2, 1], dtype=np.uint16)
    for split in text.splits:
        text._units[split] = text.units(split)[:1]
    result = evaluate(Fixed(), text, 4)
    assert result.accuracy == pytest.approx(3 / 5)
    assert most_frequent_token(text) == 4 and result.majority_accuracy == pytest.approx(1 / 5)
    assert math.isnan(result.standard_error)


def test_a_large_training_split_is_counted_in_pieces(monkeypatch):
    text = Text()
    text._tokens["train"] = np.tile(np.array([3, 1, 3, 0], dtype=np.uint16), 5000)
    assert most_frequent_token(text) == 3
    monkeypatch.setattr(losses_module, "COUNTED_TOKENS", 1000)
    assert most_frequent_token(text) == 3


def test_an_empty_unit_and_units_inside_one_window_get_their_own_bits():
    text, model = Text(), Prefix()
    units = np.zeros(4, UNIT)
    units["start"] = [0, 2, 2, 5]
    text._units["valid"] = units
    nats = slow_nats(model, text.tokens("valid"), 8)
    result = evaluate(model, text)
    expected = [nats[1], 0.0, nats[2:5].sum(), nats[5:].sum()]
    assert np.allclose(result.bits_per_unit * math.log(2), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="none of the units"):
        evaluate(model, text, units=np.array([1]))


def test_uncertainty_is_over_units():
    result = evaluate(Prefix(), Text(documents=40))
    nats = result.bits_per_unit * math.log(2)
    assert result.interval() == ratio_interval(nats, result.tokens_per_unit)
    interval = result.interval()
    assert interval.low < result.loss < interval.high and interval.units == 40
    assert (interval.high - interval.low) / 3.92 == pytest.approx(result.standard_error, rel=0.25)


def test_dropout_is_off_and_every_modules_mode_is_restored():
    text, model = Text(), Prefix()
    model.train()
    model.frozen.eval()
    first = evaluate(model, text)
    assert first.loss == evaluate(model, text).loss
    assert (model.training, model.dropout.training, model.frozen.training) == (True, True, False)

    class Broken(Prefix):
        def forward(self, tokens):
            raise RuntimeError("out of memory")

    broken = Broken().train()
    with pytest.raises(RuntimeError, match="out of memory"):
        evaluate(broken, text)
    assert broken.training


def test_a_model_can_be_trained_after_it_was_evaluated():
    text, model = Text(), real_model().train()
    before = evaluate(model, text)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    tokens = torch.from_numpy(text.tokens("valid")[:9].astype(np.int64))
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens[None, :-1])[0], tokens[1:]).backward()
        optimizer.step()
    assert evaluate(model, text).loss != before.loss


def test_autocast_is_used_and_the_loss_stays_close():
    text, model = Text(), real_model()
    exact, rounded = evaluate(model, text), evaluate(model, text, autocast=torch.bfloat16)
    assert exact.loss != rounded.loss
    assert rounded.loss == pytest.approx(exact.loss, rel=0.02)


def test_a_stop_between_batches_ends_the_evaluation_without_a_result():
    answers = iter([False, False, True])
    model = Prefix().train()
    with pytest.raises(EvaluationStopped):
        evaluate(model, Text(), batch=1, stop=lambda: next(answers))
    assert len(model.shapes) == 2 and model.training


def test_losses_that_are_not_finite_are_reported_as_they_are():
    model = Prefix()
    with torch.no_grad():
        model.head.fill_(math.nan)
    result = evaluate(model, Text())
    assert math.isnan(result.loss) and math.isnan(result.perplexity)
    huge = evaluate(Prefix(scale=1e4), Text())
    assert huge.perplexity == math.inf


def test_a_missing_or_empty_split_is_refused_in_one_line():
    text = Text()
    with pytest.raises(LabError, match="expected one of train, valid"):
        evaluate_split(scoring(Prefix(), text), "test")
    text._tokens["valid"] = text._tokens["valid"][:1]
    with pytest.raises(LabError, match="has 1 tokens"):
        evaluate(Prefix(), text)


@pytest.mark.parametrize(("context", "vocabulary"), [(64, 65), (256, 50257), (1024, 50257), (1024, 110)])
def test_a_pass_holds_at_most_64_megabytes_of_logits_or_one_window(context, vocabulary):
    rows = windows_at_once(context, vocabulary, "cpu")
    assert rows == 1 or (4 * rows * context * vocabulary <= 64 << 20 and rows * context <= 4096)
    assert windows_at_once(64, 65, "cuda") > windows_at_once(64, 65, "cpu")


def test_figures_hold_the_names_that_records_use():
    figures = evaluate(Prefix(), Text()).figures()
    assert {"loss", "perplexity", "accuracy", "majority_accuracy", "bits_per_byte", "tokens", "seconds"} <= set(figures)
    assert figures["units"] == 12 and figures["whole"] is True and figures["split"] == "valid"


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("stride", [None, 1, 3, 5])
def test_each_token_is_predicted_once_from_as_many_tokens_as_the_stride_leaves(stride, alone):
    text, model, context = Text(), Prefix(), 5
    tokens, starts = text.tokens("valid"), text.document_starts("valid")
    result = evaluate_split(scoring(model, text, context, stride=stride, alone=alone), "valid")
    model.double().eval()
    expected = {}
    for document, (start, end) in enumerate(zip(starts, starts[1:], strict=False)):
        for place in range(max(start, 1), end):
            first = max(0, start - 1) if alone else 0
            # The first window counts `context` targets, each later one `stride`.
            further = max(0, -(-(place - first - context) // (stride or context)))
            window = tokens[first + further * (stride or context) : place].astype(np.int64)
            logits = model(torch.from_numpy(window)[None])[0, -1]
            expected.setdefault(document, []).append(-torch.log_softmax(logits, -1)[int(tokens[place])].item())
    model.float()
    bits = np.array([sum(expected[document]) for document in range(len(starts) - 1)]) / math.log(2.0)
    np.testing.assert_allclose(result.bits_per_unit, bits, rtol=1e-5)
    assert result.tokens == len(tokens) - 1 and result.bits_per_byte == pytest.approx(
        bits.sum() / result.bytes, rel=1e-5
    )
    chosen = np.array([0, 4, 7])
    part = evaluate_split(scoring(model, text, context, stride=stride, alone=alone), "valid", units=chosen)
    np.testing.assert_allclose(part.bits_per_unit[chosen], result.bits_per_unit[chosen], rtol=1e-5)


def test_documents_without_end_of_text_predict_all_but_their_first_token():
    text = Text()
    text.end_of_text = None
    result = evaluate_split(scoring(Prefix(), text, 5, alone=True), "valid")
    assert result.tokens == len(text.tokens("valid")) - len(text.units("valid"))
