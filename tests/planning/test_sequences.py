"""A step over many sequences, extrapolated from steps over few: on made-up figures, without a clock."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.planning.trials.child import OUT_OF_MEMORY, Measurement
from lmlab.planning.trials.from_layers import LONGEST_TRIED_SECONDS, expected_step_seconds, measured_or_extended
from lmlab.planning.trials.from_sequences import few_sequences, with_all_sequences
from lmlab.recipe import load_recipe, override
from lmlab.training.policy import choose_policy

SLOW = 2e10
"""FLOP/s of products on a machine where a step over 2,048 sequences takes minutes."""


def seconds(batch):
    return 0.02 + 0.06 * batch


def memory(micro_batch):
    return 400_000_000 + 2_000_000 * micro_batch


def tried(name="wikitext2-context-baseline", **changes):
    recipe = override(
        load_recipe(name), {"train.device": "cpu", "train.engine": "torch", "train.threads": "1", **changes}
    )
    asked = []

    def run(recipe, policy, folder, *, micro_batch, batch, **options):
        asked.append((recipe.model.layers, batch, micro_batch))
        times = tuple(seconds(batch) * jitter for jitter in (0.9, 1.0, 1.1))
        return Measurement(
            micro_batch=micro_batch,
            batch=batch,
            step_seconds=times,
            first_step_seconds=2 * seconds(batch),
            checkpoint_bytes=77,
            peak_memory_bytes=memory(micro_batch),
            peak_with_earlier_best_bytes=memory(micro_batch) + 9,
        )

    found, evidence = measured_or_extended(recipe, choose_policy(recipe), "data", 1000, peak=SLOW, run=run)
    return found, evidence, asked


def test_the_whole_batch_follows_from_two_small_ones():
    found, evidence, asked = tried()
    (_, few, _), (_, more, _) = asked
    assert [layers for layers, _, _ in asked] == [6, 6], "the model is the recipe's own"
    assert more == 4 * few < 200 and all(batch == passes for _, batch, passes in asked)
    assert (found.batch, found.micro_batch, found.extended, evidence) == (2048, 2048, True, "extrapolated")
    assert statistics.median(found.step_seconds) == pytest.approx(seconds(2048))
    assert found.first_step_seconds == pytest.approx(2 * seconds(2048))
    assert found.peak_memory_bytes == pytest.approx(memory(2048), rel=1e-6)
    assert found.peak_with_earlier_best_bytes == pytest.approx(memory(2048), rel=1e-6)
    assert found.checkpoint_bytes == 77


@pytest.mark.parametrize("micro_batch", [1, 8, 512])
def test_memory_is_that_of_a_pass_and_time_that_of_all(micro_batch):
    found, _, asked = tried(**{"train.micro_batch": str(micro_batch)})
    assert all(passes == min(batch, micro_batch) for _, batch, passes in asked)
    assert statistics.median(found.step_seconds) == pytest.approx(seconds(2048))
    assert found.peak_memory_bytes == pytest.approx(memory(micro_batch), rel=1e-6)
    assert (found.batch, found.micro_batch) == (2048, micro_batch)


def test_what_fails_at_few_sequences_is_a_failure():
    recipe = override(load_recipe("wikitext2-context-advanced"), {"train.device": "cpu", "train.engine": "torch"})
    failing = Measurement(micro_batch=1, batch=1, failed=OUT_OF_MEMORY)
    found, _ = measured_or_extended(
        recipe, choose_policy(recipe), "data", 1000, peak=SLOW, run=lambda *given, **options: failing
    )
    assert found.failed == OUT_OF_MEMORY


@given(st.integers(4, 10**6), st.floats(1.0, 1e9))
def test_four_times_as_many_as_are_tried_first_are_no_more_than_there_are(sequences, step_seconds):
    assert 1 <= few_sequences(sequences, step_seconds) <= sequences // 4


def test_no_sequence_takes_less_than_its_arithmetic_or_keeps_less_than_its_activations():
    fewer = Measurement(micro_batch=1, batch=1, step_seconds=(1.0,), peak_memory_bytes=10)
    more = Measurement(micro_batch=4, batch=4, step_seconds=(0.9,), peak_memory_bytes=9)
    found = with_all_sequences(fewer, more, 64, 64, 0.5, lambda size: 7 * size, True)
    assert (found.step_seconds, found.peak_memory_bytes) == ((pytest.approx(0.9 + 60 * 0.5),), 9 + 60 * 7)


def test_peaks_of_small_passes_count_only_if_their_loss_is_computed_alike():
    fewer = Measurement(micro_batch=1, batch=1, step_seconds=(1.0,), peak_memory_bytes=10)
    more = Measurement(micro_batch=4, batch=4, step_seconds=(2.0,), peak_memory_bytes=100)
    peaks = [
        with_all_sequences(fewer, more, 64, 64, 0.1, lambda size: 7 * size, alike).peak_memory_bytes for alike in (1, 0)
    ]
    assert peaks == [100 + 60 * 30, 100 + 60 * 7]


def test_a_shorter_step_is_measured_as_before():
    recipe = load_recipe("wikitext2-context-baseline")
    quick = expected_step_seconds(recipe, 1000, 2048, 1.0) / (0.9 * LONGEST_TRIED_SECONDS)
    asked = []

    def run(recipe, policy, folder, **options):
        asked.append((recipe.model.layers, options["batch"]))
        return Measurement(micro_batch=2048, batch=2048, step_seconds=(1.0,))

    policy = choose_policy(override(recipe, {"train.device": "cpu", "train.engine": "torch"}))
    measured_or_extended(recipe, policy, "data", 1000, batch=2048, peak=quick, run=run)
    assert asked == [(1, 2048), (2, 2048)]
