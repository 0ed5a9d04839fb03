"""Runs that diverged, and runs that only look like it."""

import math

import pytest

from lmlab.stats import divergence


@pytest.mark.parametrize(
    ("losses", "what"),
    [
        ([4.17, 9.0, 7.0, 5.5], "ended at 5.5 nats a token, above the 4.174 of a guess among 65 tokens"),
        ([4.17, 2.1, 1.7, 3.4], "ended at 3.4 nats a token, far above the 1.7 that it had reached"),
        ([4.17, 2.1, math.inf], "not finite"),
        ([4.17, 2.1, None], "not finite"),
        ([4.17, None, 5.0], "above the 4.174 of a guess"),
    ],
)
def test_a_training_that_ends_worse_than_a_guess_or_far_above_its_best_has_diverged(losses, what):
    assert what in divergence(losses, 65)


def test_a_training_whose_gradients_explode_has_diverged_though_its_loss_stands_still():
    """Muon at a rate of 1000: the loss stays at that of the letters' frequencies."""
    norms = [132.0, 1.3e12, 5e12, 3e12, 9e13, 6e14]
    assert "gradient norm ended at 5e+12" in divergence([4.14, 3.42, 3.41], 62, norms)
    assert divergence([4.14, 3.42, 3.41], 62, [1.0, 0.8, 1e9, 0.7, 0.9]) is None, "one spike"
    assert divergence([4.14, 3.42, 3.41], 62, [1.0, None, None, None]) is not None


@pytest.mark.parametrize(
    "losses",
    [[4.17, 2.5, 1.6], [4.17, 4.18], [4.3, 4.29], [4.17, 1.5, 1.62], [4.17, None, 2.0], [4.17, 4.1, 4.16], []],
)
def test_a_training_that_learns_or_has_not_begun_to_has_not_diverged(losses):
    assert divergence(losses, 65) is None
