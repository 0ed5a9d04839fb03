"""Answers against references: exact match, chrF and likelihood, each against a slow obvious version."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.data.tokenizers.bpe import learn_bpe
from lmlab.data.tokenizers.bytes import Bytes
from lmlab.data.tokenizers.characters import Characters
from lmlab.evaluation.answers import chrf, exact_match, likelihoods
from lmlab.evaluation.tasks.encoding import Encoder
from lmlab.evaluation.tasks.scoring import Scorer
from lmlab.model.build import build_model
from lmlab.recipe import GPT

CONTEXT = 96
PROMPT = "### Instruction:\nName the author of 'Pride and Prejudice'.\n\n### Response:\n"
ANSWERS = ["Jane Austen.", "Jane Austen", "It was née Austen, 1813 – a naïve guess 🙂"]


def test_exact_match_ignores_case_outer_space_and_one_full_stop():
    assert exact_match("  jane AUSTEN.\n", "Jane Austen")
    assert exact_match("Straße", "STRASSE.")
    assert not exact_match("Jane  Austen", "Jane Austen")
    assert not exact_match("Jane Austen..", "Jane Austen")
    assert not exact_match("", "Jane Austen")


def slow_chrf(answer: str, reference: str) -> float:
    """Popović's definition written out: each n-gram of one text crosses out an equal one of the other."""
    answer, reference = (text.replace(" ", "").replace("\n", "") for text in (answer, reference))
    precision, recall, orders = 0.0, 0.0, 0
    for n in range(1, 7):
        own = [answer[i : i + n] for i in range(len(answer)) if i + n <= len(answer)]
        other = [reference[i : i + n] for i in range(len(reference)) if i + n <= len(reference)]
        if not own or not other:
            continue
        left, common = list(other), 0
        for gram in own:
            if gram in left:
                left.remove(gram)
                common += 1
        precision += common / len(own)
        recall += common / len(other)
        orders += 1
    precision, recall = precision / max(1, orders), recall / max(1, orders)
    return 100 * 5 * precision * recall / (4 * precision + recall) if precision else 0.0


def test_chrf_equals_the_slow_version():
    generator = np.random.default_rng(0)
    for _ in range(60):
        answer, reference = ("".join(generator.choice(list("abc d"), generator.integers(0, 30))) for _ in range(2))
        assert chrf(answer, reference) == pytest.approx(slow_chrf(answer, reference))


@pytest.mark.parametrize(
    ("answer", "reference", "theirs"),
    [
        ("the cat sat on the mat", "the cat is on the mat", 64.5779420625287),
        ("Jane Austen.", "Jane Austen", 97.27748649210861),
        ("The author is Charlotte Brontë.", "Jane Austen", 10.051837093960332),
        ("ab", "abcdefgh", 23.404255319148938),
        ("", "abc", 0.0),
    ],
)
def test_chrf_equals_that_of_sacrebleu_2_6_0(answer, reference, theirs):
    assert chrf(answer, reference) == pytest.approx(theirs, abs=1e-9)


def encoder_of(tokenizer, context=CONTEXT) -> Encoder:
    return Encoder(tokenizer=tokenizer, context=context, first=0, apart=True)


def model_of(vocabulary: int, context: int = CONTEXT):
    model = build_model(GPT(layers=2, heads=2, width=16, context=context), vocabulary)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


def slow_nats(model, prompt: list[int], answer: list[int]) -> float:
    """The sum over the answer's tokens, each predicted by a pass of its own."""
    nats, read = 0.0, list(prompt)
    with torch.no_grad():
        for token in answer:
            logits = model(torch.tensor([read]))[0, -1].double()
            nats -= float(logits[token] - logits.logsumexp(0))
            read.append(token)
    return nats


@pytest.mark.parametrize("name", ["bytes", "bpe"])
def test_likelihoods_equal_those_of_one_token_after_the_other(name):
    tokenizer = Bytes(documents_end=False) if name == "bytes" else learn_bpe([PROMPT * 3], 280)
    context = 160
    model = model_of(tokenizer.vocabulary_size, context)
    prompts = [PROMPT, PROMPT, "Who?\n\n"]
    found = likelihoods(
        Scorer(model=model, device=torch.device("cpu")), encoder_of(tokenizer, context), prompts, ANSWERS
    )
    for place, (prompt, answer) in enumerate(zip(prompts, ANSWERS, strict=True)):
        ids = tokenizer.encode(answer).tolist()
        slow = slow_nats(model, tokenizer.encode(prompt).tolist(), ids)
        assert found.nats[place] == pytest.approx(slow, rel=1e-4)
        assert found.tokens[place] == len(ids)
        assert found.bytes[place] == len(answer.encode())
    expected = found.nats.sum() / math.log(2) / sum(len(answer.encode()) for answer in ANSWERS)
    assert found.mean_bits_per_byte().estimate == pytest.approx(expected)
    assert found.mean_nats_per_token().estimate == pytest.approx(found.nats.sum() / found.tokens.sum())


def test_uniform_model_gives_each_token_the_log_of_the_vocabulary_whatever_the_prompt():
    tokenizer = Bytes(documents_end=False)
    model = model_of(tokenizer.vocabulary_size)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.zero_()
    found = likelihoods(
        Scorer(model=model, device=torch.device("cpu")), encoder_of(tokenizer), ["", "x" * 40], ["abcd", "efgh"]
    )
    assert found.nats == pytest.approx([4 * math.log(tokenizer.vocabulary_size)] * 2, rel=1e-5)
    assert found.bits_per_byte == pytest.approx([math.log2(tokenizer.vocabulary_size)] * 2, rel=1e-5)


def test_answers_that_cannot_be_scored_are_counted_with_the_reason_and_long_prompts_cut():
    tokenizer = Characters("abc \n", documents_end=False, replace=False)
    model = model_of(tokenizer.vocabulary_size)
    scorer = Scorer(model=model, device=torch.device("cpu"))
    answers = ["abc", "", "a" * (CONTEXT + 1), "xyz", "cab"]
    found = likelihoods(scorer, encoder_of(tokenizer), ["ab ", "a", "b", "c", "ab c" * CONTEXT], answers)
    assert list(found.unscorable) == [1, 2, 3]
    assert "without a token" in found.unscorable[1]
    assert "longer than the context" in found.unscorable[2]
    assert "x" in found.unscorable[3]
    assert np.isnan(found.nats).tolist() == [False, True, True, True, False]
    assert found.cut == 1
    kept = ("ab c" * CONTEXT)[-(CONTEXT + 1 - 3) :]
    slow = slow_nats(model, tokenizer.encode(kept).tolist(), tokenizer.encode("cab").tolist())
    assert found.nats[4] == pytest.approx(slow, rel=1e-4)
    assert found.to_json()["answers"] == 2


def test_a_prompt_for_each_answer_is_needed():
    tokenizer = Bytes(documents_end=False)
    scorer = Scorer(model=model_of(tokenizer.vocabulary_size), device=torch.device("cpu"))
    with pytest.raises(LabError, match="1 prompts and 2 answers"):
        likelihoods(scorer, encoder_of(tokenizer), ["a"], ["b", "c"])
