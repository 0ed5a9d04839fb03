"""Near duplicates: MinHash and bands against all pairs compared by sets of words."""

import itertools
import os
import re

import numpy as np
import pytest

from lmlab.data.hygiene import near as near_module
from lmlab.data.hygiene import passages as passages_module
from lmlab.data.hygiene.minhash import BANDS, ROWS, band_keys, candidates, signatures, similarity
from lmlab.data.hygiene.near import THRESHOLD, find_near, first_equal
from lmlab.data.hygiene.passages import Passages
from lmlab.data.hygiene.shingles import shingles
from lmlab.data.preparation import prepare
from lmlab.data.progress import Silent
from lmlab.recipe import Data
from tests.data.support import Listener

WORDS = [f"{first}{second}" for first in "bcdfgklmnprst" for second in ("a", "e", "ila", "ür", "on7")]


def slow_set(text):
    """The 5-word sequences of a text, words by a regular expression, lower case in ASCII."""
    words = re.findall(r"[A-Za-z0-9\x80-\u07ff]+", "".join(one.lower() if one.isascii() else one for one in text))
    if not words:
        return set()
    return {tuple(words[index : index + 5]) for index in range(max(1, len(words) - 4))}


def slow_similarity(one, other):
    return jaccard(slow_set(one), slow_set(other))


def jaccard(one, other):
    return len(one & other) / len(one | other) if one | other else 0.0


def families(seed, count, length=60):
    """Texts, many of which are another with some words replaced, so that similarities of every size occur."""
    random = np.random.default_rng(seed)
    texts = []
    for number in range(count):
        if number % 3 == 0:
            words = random.choice(WORDS, length)
        else:
            words = words.copy()
            for place in random.integers(0, length, int(random.integers(0, 5))):
                words[place] = random.choice(WORDS)
        signs = random.choice([" ", ", ", "\n", ". "], length)
        texts.append("".join(f"{word}{sign}" for word, sign in zip(words, signs, strict=True)).strip())
    return [texts[index] for index in random.permutation(count)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("near")
    texts = families(0, 330)
    texts[10] = texts[300] = texts[5]
    texts[301] = texts[299]
    for name, part in (("train", texts[:240]), ("valid", texts[240:])):
        (folder / f"{name}.txt").write_text("\n<|endoftext|>\n".join(part), encoding="utf-8")
    return folder, texts


@pytest.fixture(scope="module")
def passages(corpus):
    return Passages(prepare(Data(corpus=str(corpus[0]), tokenizer="bytes"), corpus[0] / ".cache"))


@pytest.fixture(scope="module")
def found(passages, tmp_path_factory):
    return find_near(passages, Silent(), tmp_path_factory.mktemp("kept"))


def of_text(*texts):
    encoded = [text.encode() for text in texts]
    begins = np.cumsum([0, *map(len, encoded)][: len(encoded)])
    return shingles(np.frombuffer(b"".join(encoded), np.uint8), begins)


def test_shingles_are_equal_where_five_words_are():
    texts = [
        *families(3, 12, length=30),
        "One, two!",
        "one TWO",
        "",
        "...",
        "a b c d e",
        "e d c b a",
        "中文字符很好",
        "x中y",
    ]
    hashes, first = of_text(*texts)
    sets = [set(hashes[begin:end].tolist()) for begin, end in zip(first, first[1:], strict=False)]
    for one, other in itertools.combinations(range(14), 2):
        assert len(sets[one] & sets[other]) == len(slow_set(texts[one]) & slow_set(texts[other]))
        assert len(sets[one]) == len(slow_set(texts[one]))
    by_text = dict(zip(texts, sets, strict=True))
    assert by_text["One, two!"] == by_text["one TWO"] and len(by_text["one TWO"]) == 1
    assert by_text[""] == by_text["..."] == set()
    assert by_text["a b c d e"] != by_text["e d c b a"]
    assert len(by_text["中文字符很好"]) == 2, "each of six characters is a word"


def test_words_do_not_reach_from_one_passage_into_the_next():
    apart, _ = of_text("one two three four five")
    joined, first = of_text("one two th", "ree four five")
    assert len(apart) == 1 and first.tolist() == [0, 1, 2]
    assert not set(apart.tolist()) & set(joined.tolist())


def test_minima_agree_as_often_as_the_sets_are_similar():
    # The share of equal minima is an unbiased estimate of the similarity with variance s (1 - s) / 140 (Broder, 1997).
    texts = families(5, 60)
    hashes, first = of_text(*texts)
    minima = signatures(hashes, first[:-1])
    errors, variances = [], []
    for one, other in itertools.combinations(range(60), 2):
        exact = slow_similarity(texts[one], texts[other])
        errors.append((minima[:, one] == minima[:, other]).mean() - exact)
        variances.append(exact * (1 - exact) / (BANDS * ROWS))
    close = np.array(variances) > 0
    assert abs(np.mean(np.array(errors)[close])) < 0.02
    assert np.std(np.array(errors)[close] / np.sqrt(np.array(variances)[close])) < 1.5


def test_candidates_are_all_pairs_of_a_small_group_and_reach_the_first_of_a_large_one():
    keys = np.array([7, 1, 7, 2, 1, 7], np.uint64)
    assert candidates(keys).tolist() == [[0, 2], [0, 5], [1, 4], [2, 5]]
    many = candidates(np.full(100, 3, np.uint64))
    assert {(0, other) for other in range(1, 100)} <= set(map(tuple, many.tolist()))
    assert len(many) < 100 * 9
    assert len(candidates(np.arange(5, dtype=np.uint64))) == len(candidates(np.zeros(0, np.uint64))) == 0


def test_band_keys_are_equal_where_the_band_is():
    minima = np.arange(BANDS * ROWS * 2, dtype=np.uint32).reshape(BANDS * ROWS, 2)
    minima[:ROWS] = 4
    keys = band_keys(minima)
    assert keys.shape == (BANDS, 2)
    assert (keys[:, 0] == keys[:, 1]).tolist() == [True] + [False] * (BANDS - 1)


def test_similarity_is_jaccard():
    assert similarity(np.array([1, 2, 3]), np.array([2, 3, 4, 5])) == 2 / 5
    assert similarity(np.array([]), np.array([])) == 0.0


def test_equal_keys_lead_to_the_first(passages):
    keys = np.array([b"a" * 32, b"b" * 32, b"a" * 32, b"a" * 31 + b"c"], dtype="V32")
    assert first_equal(keys).tolist() == [0, 1, 0, 3], "the last agrees in its first eight bytes only"


def test_what_is_near_is_what_comparing_all_pairs_finds(corpus, found):
    texts = corpus[1]
    sets = [slow_set(text) for text in texts]
    near_pairs = {
        (one, other)
        for one, other in itertools.combinations(range(len(texts)), 2)
        if jaccard(sets[one], sets[other]) >= THRESHOLD
    }
    expected = {other for one, other in near_pairs if one < 240 <= other and texts[one] != texts[other]}
    exact = {number for number in range(240, 330) if found.equal_to[number] < 240}
    marked = set(np.flatnonzero(found.in_training).tolist())
    assert len(expected) > 20
    assert marked - exact <= expected, "no pair is reported that isn't near"
    assert len(marked & expected) >= 0.95 * len(expected)
    together = {pair for pair in near_pairs if found.cluster[pair[0]] == found.cluster[pair[1]]}
    assert len(together) >= 0.97 * len(near_pairs)
    components = list(range(len(texts)))
    for one, other in sorted(near_pairs):
        low, high = sorted((components[one], components[other]))
        components = [low if entry == high else entry for entry in components]
    for one, other in itertools.combinations(range(len(texts)), 2):
        if found.cluster[one] == found.cluster[other]:
            assert components[one] == components[other]


def test_similarities_are_those_of_the_whole_sets(corpus, found):
    texts = corpus[1]
    pairs = [(number, int(found.partner[number])) for number in np.flatnonzero(found.partner >= 0)]
    assert pairs
    for number, partner in pairs:
        assert found.similarity[number] == slow_similarity(texts[number], texts[partner]) >= THRESHOLD


def test_equal_texts_are_equal_to_the_first(corpus, found):
    texts = corpus[1]
    assert found.equal_to.tolist() == [texts.index(text) for text in texts]


def test_small_portions_and_another_pass_find_the_same(passages, found, tmp_path, monkeypatch):
    monkeypatch.setattr(passages_module, "TOKENS_A_TIME", 700)
    monkeypatch.setattr(near_module, "PAIRS_A_TIME", 3)
    listener = Listener()
    again = find_near(passages, listener, tmp_path)
    for name in ("equal_to", "cluster", "partner", "in_training"):
        assert (getattr(again, name) == getattr(found, name)).all()
    assert listener.done[0] == listener.tasks[0][1], "the bar comes to its end"
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_what_a_killed_check_left_goes_with_a_later_one(passages, tmp_path):
    places = [tmp_path / f".check-{digit * 32}" for digit in "01"]
    for place in places:
        place.mkdir()
    os.utime(places[0], (1e9, 1e9))
    find_near(passages, Silent(), tmp_path)
    assert [place for place in places if place.exists()] == places[1:]


def test_of_a_very_long_passage_only_the_beginning_is_compared(tmp_path, monkeypatch):
    head, *tails = families(8, 9, length=80)[::4]
    others = families(9, 200, length=12)
    for name, part in (("train", [f"{head} {tails[0]}", *others]), ("valid", [f"{head} {tails[1]}"])):
        (tmp_path / f"{name}.txt").write_text("\n<|endoftext|>\n".join(part), encoding="utf-8")
    dataset = prepare(Data(corpus=str(tmp_path), tokenizer="bytes"), tmp_path / ".cache")
    assert not find_near(Passages(dataset), Silent(), tmp_path / ".cache").in_training.any()
    monkeypatch.setattr(passages_module, "LONGEST_TOKENS", len(head))
    monkeypatch.setattr(passages_module, "TOKENS_A_TIME", 64)
    assert find_near(Passages(dataset), Silent(), tmp_path / ".cache").in_training[201]
