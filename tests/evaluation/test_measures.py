"""Figures of text: equal to slow counts over lists of words, and to losses of one token after the other."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from lmlab.data.preparation import prepare
from lmlab.data.progress import Silent
from lmlab.data.tokenizers.bytes import Bytes
from lmlab.evaluation.measures.copying import Copies
from lmlab.evaluation.measures.figures import figures_of, rows_of
from lmlab.evaluation.measures.passages import Passage, words_of
from lmlab.evaluation.measures.reference import reference_rows
from lmlab.evaluation.tasks.encoding import Encoder
from lmlab.evaluation.tasks.scoring import Scorer
from lmlab.model.build import build_model
from lmlab.recipe import GPT, Data

VOCABULARY = [f"word{number}" for number in range(30)]


def slow_words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9é]+", text.lower())


def passages_of(texts, cut=False):
    return [Passage(prompt="", text=text, cut=cut) for text in texts]


def random_text(generator, count):
    return " ".join(generator.choice(VOCABULARY, count))


def prepared(tmp_path, texts, tokenizer="bytes"):
    path = tmp_path / "text.txt"
    path.write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    size = 400 if tokenizer == "bpe" else None
    return prepare(Data(corpus=str(path), tokenizer=tokenizer, vocabulary=size, valid_share=0.05, unknown="replace"))


def test_words_that_may_be_incomplete_are_left_out():
    passages = [
        Passage(prompt="The", text="odore went home", cut=True),
        Passage(prompt="The ", text="cat sat.", cut=True),
        Passage(prompt="", text="", cut=True),
        Passage(prompt="x", text="yz", cut=True),
        Passage(prompt="a b", text=" went home", cut=False),
        Passage(prompt="日", text="本 日本", cut=True),
    ]
    assert words_of(passages).counts.tolist() == [1, 2, 0, 0, 2, 3]


def test_repeated_and_distinct_ngrams_equal_slow_counts():
    generator = np.random.default_rng(0)
    texts = [random_text(generator, int(count)) for count in generator.integers(0, 60, 12)]
    texts.append("the cat " * 20)
    words = words_of(passages_of(texts))
    figures = figures_of(words, rows_of(words))
    for length in (1, 2, 3, 4, 8):
        own = [slow_words(text) for text in texts]
        grams = [[tuple(one[at : at + length]) for at in range(len(one) - length + 1)] for one in own]
        every = [gram for one in grams for gram in one]
        repeated = sum(len(one) - len(set(one)) for one in grams)
        assert figures[f"repeated_{length}"].estimate == pytest.approx(repeated / len(every))
        if length <= 4:
            distinct = figures[f"distinct_{length}"]
            assert distinct.estimate == pytest.approx(len(set(every)) / len(every))
            assert distinct.low <= distinct.estimate <= distinct.high
            without = [[gram for other in grams if other is not one for gram in other] for one in grams]
            shares = [len(set(rest)) / len(rest) for rest in without]
            error = math.sqrt((len(grams) - 1) ** 2 / len(grams)) * np.std(shares, ddof=1)
            assert distinct.high == pytest.approx(min(1.0, distinct.estimate + 2.1788 * error), rel=1e-3)
    assert not {"known", "copied_8", "bits_per_byte"} & set(figures)


def slow_longest(words: list[str], documents: list[list[str]]) -> list[int]:
    found = []
    for at in range(len(words)):
        longest = 0
        for document in documents:
            for start in range(len(document)):
                length = 0
                while (
                    at + length < len(words)
                    and start + length < len(document)
                    and words[at + length] == document[start + length]
                ):
                    length += 1
                longest = max(longest, length)
        found.append(longest)
    return found


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe", "words"])
def test_longest_copies_equal_a_slow_search_whatever_the_portions(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("lmlab.evaluation.training_text.TOKENS_A_TIME", 150)
    monkeypatch.setattr("lmlab.evaluation.measures.copying.OVERLAP", 1)
    generator = np.random.default_rng(1)
    texts = [f"{random_text(generator, int(count))}, é " for count in generator.integers(3, 50, 40)]
    dataset = prepared(tmp_path, texts, tokenizer)
    tokens, starts = dataset.tokens("train"), dataset.document_starts("train")
    documents = [
        slow_words(dataset.tokenizer.decode(tokens[begin:end].astype(int)))
        for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]
    copied = [" ".join(document[3:40]).upper().replace("É", "é") for document in documents[5:12]]
    mixed = [f"{copied[0]} new words {copied[1]}", "nothing of it", "", random_text(generator, 40), *copied[2:]]
    words = words_of(passages_of(mixed))
    copies = Copies(words)
    copies.search(dataset, max(len(text.encode()) for text in mixed), Silent())
    found = copies.longest()
    slow = [slow_longest(slow_words(text), documents) for text in mixed]
    assert found.tolist() == [length for one in slow for length in one]
    assert 20 < found.max() < 60
    rows = rows_of(words, found)
    for place, own in enumerate(slow):
        for least in (8, 16, 32):
            covered = {at + step for at, length in enumerate(own) if length >= least for step in range(length)}
            assert rows[f"copied_{least}"][place] == len(covered)
        whole = [n for at, n in enumerate(own) if n and not any(own[b] + b >= at + n for b in range(at))]
        assert rows["spans"][place] == len(whole)
        assert rows["span_words"][place] == sum(whole)
        assert rows["longest"][place] == max(own, default=0)
        assert rows["known"][place] == sum(length > 0 for length in own)


def test_copy_does_not_cross_documents_or_passages(tmp_path):
    dataset = prepared(tmp_path, ["alpha beta gamma delta", "epsilon zeta eta theta"] * 20)
    words = words_of(passages_of(["gamma delta epsilon zeta", "alpha beta", "gamma delta"]))
    copies = Copies(words)
    copies.search(dataset, 100, Silent())
    assert copies.longest().tolist() == [2, 1, 2, 1, 2, 1, 2, 1]


def test_figures_of_a_model_that_only_copies_and_of_one_that_invents(tmp_path):
    generator = np.random.default_rng(3)
    texts = [random_text(generator, 60) for _ in range(40)]
    dataset = prepared(tmp_path, texts)
    start = dataset.document_starts("train")[:10].tolist()
    copied = [dataset.text("train", begin, 250).partition("\n")[0] for begin in start]
    invented = [" ".join(f"new{number}" for number in generator.integers(0, 10**6, 40)) for _ in range(10)]
    for given, share in ((copied, 1.0), (invented, 0.0)):
        words = words_of(passages_of(given))
        copies = Copies(words)
        copies.search(dataset, 400, Silent())
        figures = figures_of(words, rows_of(words, copies.longest()))
        assert figures["known"].estimate == pytest.approx(share, abs=0.05)
        assert figures["copied_16"].estimate == pytest.approx(share, abs=0.05)
        assert figures["copied_16"].low <= figures["copied_16"].estimate <= figures["copied_16"].high


def test_no_text_has_no_figures():
    words = words_of(passages_of(["", ""]))
    figures = figures_of(words, rows_of(words, np.zeros(0, dtype=np.int64)))
    assert figures["words"].estimate == 0.0
    assert math.isnan(figures["repeated_1"].estimate)
    assert math.isnan(figures["distinct_1"].estimate)
    assert figures["repeated_1"].to_json() == [None, None, None]


def test_reference_loss_of_long_passages_is_the_sum_of_parts_and_of_short_ones_that_of_each_token():
    context = 48
    tokenizer = Bytes(documents_end=False)
    model = build_model(GPT(layers=2, heads=2, width=16, context=context), tokenizer.vocabulary_size)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    model.eval()
    scorer = Scorer(model=model, device=torch.device("cpu"))
    encoder = Encoder(tokenizer=tokenizer, context=context, first=0)
    short, long = " went home. ", " and on it goes" * 8
    found = reference_rows(
        scorer, encoder, [Passage(prompt="The cat", text=text, cut=True) for text in (short, long, "")]
    )
    read, nats = list(b"The cat"), 0.0
    with torch.no_grad():
        for token in short.encode():
            logits = model(torch.tensor([read]))[0, -1].double()
            nats -= float(logits[token] - logits.logsumexp(0))
            read.append(token)
    assert found["bits"][0] == pytest.approx(nats / math.log(2), rel=1e-4)
    assert found["bytes"].tolist()[:2] == [len(short), len(long)]
    assert math.isnan(found["bits"][2])
    assert math.isfinite(found["bits"][1])
