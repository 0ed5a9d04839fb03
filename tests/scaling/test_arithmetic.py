"""Figures that were published for one training at home, each from its inputs: GPT-2 small's size on an RTX 3090."""

import pytest

from lmlab.scaling.arithmetic import (
    evaluation_share,
    passes,
    seconds_for,
    share_of_compute_optimal,
    six_n_d,
    tokens_a_parameter,
    tokens_in,
)

PARAMETERS = 163_009_536
"""Vocabulary 50,257, context 1,024, 12 layers of 12 heads and width 768, untied, no bias in queries, keys and values."""


def test_tokens_are_those_of_the_batches():
    assert tokens_in(534_200, 6, 1024) == 3_282_124_800
    assert tokens_in(530_630, 6, 1024) == 3_260_190_720, "the length that the estimates of time were made for"


def test_hours_of_that_training_follow_from_its_speed():
    seconds = seconds_for(3_260_190_720, 12_599)
    assert seconds == pytest.approx(258_766, abs=0.5)
    # What was printed, 247,850 s, is another length at a speed that was never shown: 3.2e9 tokens at 12,911 a second.
    assert seconds_for(3.2e9, 12_911) == pytest.approx(247_850, abs=1)
    assert seconds_for(3_260_190_720, 12_911) == pytest.approx(252_513, abs=1)
    # With automatic mixed precision 19,997 tokens a second were measured: about 44 h for the same round 3.2e9.
    assert seconds_for(3.2e9, 19_997) / 3600 == pytest.approx(44.4, abs=0.1)
    assert seconds_for(3_260_190_720, 19_997) / 3600 == pytest.approx(45.3, abs=0.1)


def test_gpt2s_own_budget_takes_more_than_a_year_and_forty_passes():
    tokens = tokens_in(800_000, 512, 1024)
    assert tokens == 419_430_400_000
    assert passes(tokens, 10.0e9) == pytest.approx(41.94, abs=0.005)
    assert seconds_for(tokens, 12_599) / 86_400 > 365


def test_a_validation_set_that_takes_five_minutes_takes_a_sixth_of_the_training():
    tokens = tokens_in(3200, 6, 1024)
    assert tokens == 19_660_800
    speed = 10.8 * 6 * 1024
    assert seconds_for(tokens, speed) == pytest.approx(5 * 60, rel=0.02)
    # 88 of them, when at most 5 % of the time was wanted.
    assert evaluation_share(88, tokens, speed, 44.4 * 3600) == pytest.approx(0.163, abs=0.002)
    # By whole minutes and the time that the same training took later, 17 %.
    assert evaluation_share(88, 5 * 60, 1.0, 155_402) == pytest.approx(0.17, abs=0.001)


def test_six_n_d_is_the_published_one():
    assert six_n_d(PARAMETERS, tokens_in(534_200, 6, 1024)) == pytest.approx(3.21e18, rel=1e-3)
    # Without the head's and the embeddings' parameters it would be another figure, so these are counted.
    assert six_n_d(PARAMETERS - 2 * 50_257 * 768, 3_282_124_800) == pytest.approx(1.69e18, rel=1e-2)


def test_shares_of_compute_optimal_are_those_of_published_runs_and_count_processed_tokens():
    # A 0.82M model on 201,570 characters and a 10.82M one on 88,406,739, each trained on the first nine tenths. The published
    # 1.2 % and 36.8 % count the characters there are; by what was read, both runs are alike.
    small, large = 815_388, 10_823_534
    assert share_of_compute_optimal(small, 201_570) == pytest.approx(0.012, abs=5e-4)
    assert share_of_compute_optimal(large, 0.9 * 88_406_739) == pytest.approx(0.368, abs=5e-4)
    read_small, read_large = tokens_in(3000, 16, 128), tokens_in(5000, 64, 256)
    assert share_of_compute_optimal(small, read_small) == pytest.approx(0.377, abs=2e-3)
    assert share_of_compute_optimal(large, read_large) == pytest.approx(0.377, abs=2e-3)
    assert tokens_a_parameter(small, read_small) == pytest.approx(7.5, abs=0.05)
    assert passes(read_small, 0.9 * 201_570) == pytest.approx(33.9, abs=0.05)
    assert passes(read_large, 0.9 * 88_406_739) == pytest.approx(1.03, abs=0.005)
