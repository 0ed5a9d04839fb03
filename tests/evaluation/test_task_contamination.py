"""Items' text in a training split: equal to a slow search through sets of words."""

import functools
import re

import numpy as np
import pytest

from lmlab.data.preparation import prepare
from lmlab.data.progress import Silent
from lmlab.evaluation.tasks import contamination as module
from lmlab.evaluation.tasks import same_prompt
from lmlab.evaluation.tasks.contamination import shares_in_training, summarise
from lmlab.recipe import Data

WORDS = [f"word{number}" for number in range(50)]


def random_words(generator, count):
    return " ".join(generator.choice(WORDS, count))


def documents():
    generator = np.random.default_rng(0)
    return [f"{random_words(generator, int(count))}, é " for count in generator.integers(3, 60, 80)]


def prepared(tmp_path, tokenizer, texts=None):
    path = tmp_path / "text.txt"
    path.write_text("\n<|endoftext|>\n".join(texts or documents()), encoding="utf-8")
    size = 400 if tokenizer == "bpe" else None
    return prepare(Data(corpus=str(path), tokenizer=tokenizer, vocabulary=size, valid_share=0.05, unknown="replace"))


def words_of(text):
    return re.findall(r"[a-z0-9é]+", text.lower())


@functools.cache
def sequences(texts, length):
    words = [words_of(text) for text in texts]
    return {tuple(own[at : at + length]) for own in words for at in range(len(own) - length + 1)}


def slow_share(item, texts):
    words = words_of(item.right.text)
    length = 13 if len(words) >= 13 else 8 if len(words) >= 8 else len(words)
    if length < 5:
        return np.nan
    own = [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]
    return np.mean([one in sequences(texts, length) for one in own])


@pytest.mark.parametrize("tokenizer", ["bpe", "characters", "bytes", "words"])
def test_shares_equal_those_of_a_slow_search(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("lmlab.evaluation.training_text.TOKENS_A_TIME", 300)
    monkeypatch.setattr(module, "OVERLAP", 160)
    dataset = prepared(tmp_path, tokenizer)
    tokens, starts = dataset.tokens("train"), dataset.document_starts("train")
    texts = tuple(
        dataset.tokenizer.decode(tokens[begin:end].astype(int))
        for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    )
    generator = np.random.default_rng(1)
    items = []
    for length in (3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 20, 30):
        for text in texts[:40:2]:
            words = text.split()
            at = int(generator.integers(0, max(1, len(words) - length)))
            taken = words[at : at + length]
            items.append(same_prompt(" ".join(taken[:-1]).upper(), [taken[-1], "other"], 0))
        items.append(same_prompt(random_words(generator, length - 1), ["x", random_words(generator, 1)], 1))
    half = len(items) // 2
    found = np.concatenate(shares_in_training(dataset, [items[:half], items[half:]], Silent()))
    expected = [slow_share(item, texts) for item in items]
    np.testing.assert_allclose(found, expected)
    assert 0 < np.nanmean(found) < 1 and np.isnan(found).any()


def test_no_sequence_crosses_documents_and_labels_of_prompts_do_not_count(tmp_path):
    texts = ["alpha beta gamma delta epsilon", "zeta eta theta iota kappa lambda mu nu", *documents()]
    dataset = prepared(tmp_path, "bytes", texts=texts * 2)
    items = [
        same_prompt("delta epsilon zeta eta", ["theta"], 0),
        same_prompt("Question: Zeta eta theta iota kappa?\nAnswer:", ["lambda mu nu", "x"], 0),
        same_prompt("Question: Zeta eta theta iota kappa?\nAnswer:", ["x", "lambda mu xi"], 1),
    ]
    (found,) = shares_in_training(dataset, [items], Silent())
    assert found.tolist() == [0.0, 1.0, 0.0]


def test_accuracies_are_given_on_both_parts_where_they_are_large_enough():
    shares = np.array([0.0] * 150 + [0.5] * 60 + [0.9] * 60 + [np.nan] * 30)
    right = np.arange(300) % 2 == 0
    scorable = np.ones(300, bool)
    found = summarise(shares, right, scorable, None, "id")
    assert (found.compared, found.found, found.mostly) == (270, 120, 60)
    assert found.clean.trials == 150 and found.in_training.trials == 120
    few = summarise(shares[140:], right[140:], scorable[140:], None, "id")
    assert few.clean is None and few.in_training.trials == 120
    assert summarise(shares[:150], right[:150], scorable[:150], None, "id").clean is None
