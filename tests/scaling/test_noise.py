"""The gradient noise scale, against problems whose noise is known."""

import numpy as np
import pytest

from lmlab.scaling.noise import FEWEST_STEPS, GradientNoise, gradient_square, noise_trace, useful_batch_line


def test_expected_norms_give_back_the_gradient_and_its_noise():
    square, trace = 0.3, 70.0
    small, large = square + trace / 4, square + trace / 32
    assert gradient_square(small, 4, large, 32) == pytest.approx(square)
    assert noise_trace(small, 4, large, 32) == pytest.approx(trace)


@pytest.mark.parametrize("scale", [5.0, 80.0])
def test_the_scale_of_gradients_with_known_noise_is_found(scale):
    generator = np.random.default_rng(0)
    gradient = generator.normal(size=400)
    deviation = np.sqrt(scale * np.sum(gradient**2) / 400)
    noise = GradientNoise()
    for _ in range(300):
        batch = gradient + deviation * generator.normal(size=(32, 400))
        noise.add(np.linalg.norm(batch[:4].mean(0)), 4, np.linalg.norm(batch.mean(0)), 32)
    assert noise.scale() == pytest.approx(scale, rel=0.1)


def test_the_scale_of_a_least_squares_problem_is_that_of_its_covariance():
    # Per-example gradients of (a.w - y)^2 / 2 at w: (a.w - y) a. Over the finite set of examples all moments are exact.
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(500, 20))
    targets = inputs @ generator.normal(size=20) + 0.5 * generator.normal(size=500)
    gradients = (inputs @ np.zeros(20) - targets)[:, None] * inputs
    mean = gradients.mean(0)
    expected = np.sum(gradients.var(0)) / np.sum(mean**2)
    noise = GradientNoise()
    for _ in range(2000):
        drawn = gradients[generator.integers(0, 500, size=64)]
        noise.add(np.linalg.norm(drawn[:8].mean(0)), 8, np.linalg.norm(drawn.mean(0)), 64)
    assert noise.scale() == pytest.approx(expected, rel=0.15)


def test_nothing_is_said_too_early_nor_of_noise_alone():
    noise = GradientNoise()
    for _ in range(FEWEST_STEPS - 1):
        noise.add(2.0, 1, 1.0, 8)
        assert noise.scale() is None and useful_batch_line(noise, 8, 64) == ""
    noise.add(2.0, 1, 1.0, 8)
    assert noise.scale() == pytest.approx((3 / (7 / 8)) / (4 / 7))
    lost = GradientNoise()
    for _ in range(FEWEST_STEPS):
        lost.add(4.0, 1, 1.0, 8)  # as if nothing but noise were left
    assert lost.scale() is None


@pytest.mark.parametrize("batch, words", [(100, "a smaller batch"), (12, "near it"), (2, "half the steps")])
def test_the_line_compares_the_batch_with_the_scale(batch, words):
    line = useful_batch_line(GradientNoise(square=1.0, trace=11.7, steps=50), batch, 64)
    assert line.startswith("useful batch: up to about 12 sequences (750 tokens") and words in line
