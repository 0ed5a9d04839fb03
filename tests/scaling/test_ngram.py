"""The n-gram loss against the smoothing formula written out with dictionaries."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from lmlab.scaling.ngram import best_loss, ngram_losses


def slow(train, valid, vocabulary, longest):
    counts, following = Counter(), defaultdict(Counter)
    for length in range(longest):
        for place in range(length, len(train)):
            context = tuple(train[place - length : place])
            counts[context] += 1
            following[context][train[place]] += 1

    def probability(context, token):
        shorter = probability(context[1:], token) if context else 1 / vocabulary
        if not counts[context]:
            return shorter
        kinds = len(following[context])
        return (following[context][token] + kinds * shorter) / (counts[context] + kinds)

    return [
        -sum(
            math.log(probability(tuple(valid[place - length : place]), valid[place]))
            for place in range(longest, len(valid))
        )
        / (len(valid) - longest)
        for length in range(longest)
    ]


def test_losses_are_those_of_the_smoothing_formula_with_dictionaries():
    generator = np.random.default_rng(3)
    steps = generator.integers(-1, 2, 700)
    tokens = np.cumsum(steps) % 7
    train, valid = tokens[:500], tokens[500:]
    found = ngram_losses(train, valid, 9, longest=4)
    assert found == pytest.approx(slow(train.tolist(), valid.tolist(), 9, 4), rel=1e-9)
    assert found[1] < found[0] < math.log(9)


def test_a_text_that_never_repeats_costs_about_what_guessing_does():
    tokens = np.random.default_rng(0).integers(0, 50, 20_000)
    assert ngram_losses(tokens[:15_000], tokens[15_000:], 50, longest=1)[0] == pytest.approx(math.log(50), rel=0.01)


def test_too_few_tokens_are_refused():
    with pytest.raises(ValueError, match="expected more than 6"):
        ngram_losses(np.arange(4), np.arange(100), 100)


def test_what_a_text_repeats_of_itself_is_expected_again():
    generator = np.random.default_rng(1)
    train, lines = generator.integers(0, 40, 5_000), generator.integers(0, 40, (60, 20))
    fresh = generator.integers(0, 40, 2_400)
    again = np.concatenate([np.concatenate([line, line]) for line in lines])
    plain = min(ngram_losses(train, again, 40))
    # In every second line all but its first tokens are known.
    assert best_loss(train, again, 40) < 0.75 * plain
    assert best_loss(train, fresh, 40) == pytest.approx(min(ngram_losses(train, fresh, 40)), rel=0.02)
