"""What a page writes is what `lmlab sample` writes: the same random numbers, filters and windows."""

import hashlib

import pytest

from lmlab.generation.decoding import generate
from lmlab.generation.settings import Sampling
from tests.exchange.html.made import LETTERS, facts_of, in_node, model_of

WRITE = """input.jobs.map(({ sampling, seed, count, prompt, begin }) => {
  const { facts, texts } = input, tensors = new Tensors(facts.tensors, (id) => texts[id]);
  const model = new FAMILIES[facts.model.kind](facts.model, tensors);
  const tokenizer = new TOKENIZERS[facts.tokenizer.name](facts.tokenizer), ids = tokenizer.encode(prompt);
  if (begin !== null) ids.unshift(begin);
  const text = new Text(model, ids, facts.first), draws = new Draws(seed, ids), written = [];
  for (let made = 0; made < count; made++) {
    text.read();
    const token = chooseNext(text.logits, sampling, draws);
    written.push(token);
    text.add(token);
  }
  return decode(tokenizer, written);
})"""
SETTINGS = [
    {"temperature": 0.0},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 3},
    {"temperature": 1.3, "top_p": 0.6},
    {"temperature": 0.9, "top_k": 8, "top_p": 0.9},
]


def test_hashes_are_those_of_the_standard_library():
    texts = ["", "abc", "x" * 55, "x" * 56, "x" * 64, "\u4f60\U0001f642" * 40]
    found = in_node("input.texts.map((text) => hexOf(sha256(text)))", texts=texts)
    assert found == [hashlib.sha256(text.encode()).hexdigest() for text in texts]


@pytest.mark.parametrize("name", ["gpt2", "modern", "ngrams", "context"])
def test_texts_are_those_of_lmlab_sample_beyond_the_context(name):
    model = model_of(name)
    facts, texts = facts_of(model)
    cases = [(one, seed, prompt, begin) for one in SETTINGS for seed in (1, 2) for prompt in ("abcabcabc", "k", "abcdefghijkabcd")
             for begin in (None, 4)]  # fmt: skip
    jobs = [
        {
            "sampling": {"temperature": one["temperature"], "topK": one.get("top_k", 0), "topP": one.get("top_p", 1)},
            "seed": seed,
            "count": 40,
            "prompt": prompt,
            "begin": begin,
        }
        for one, seed, prompt, begin in cases
    ]
    theirs = in_node(WRITE, facts=facts, texts=texts, jobs=jobs)
    for found, (one, seed, prompt, begin) in zip(theirs, cases, strict=True):
        (ours,) = generate(model, LETTERS, [prompt], Sampling(**one, seed=seed, tokens=40), begin=begin)
        assert found == ours.text, (one, seed, prompt)


def test_the_highest_places_are_those_of_a_stable_sort():
    values = [3, 1, 3, 2, 9, 9, 0, 3]
    found = in_node(
        "input.counts.map((count) => highestPlaces(input.values, count))", values=values, counts=[*range(1, 9)]
    )
    order = sorted(range(8), key=lambda at: (-values[at], at))
    assert found == [order[:count] for count in range(1, 9)]
