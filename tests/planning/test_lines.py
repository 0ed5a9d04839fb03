"""CostLines in the micro-batch, their intervals, and the largest micro-batch that fits: on made-up figures, without a clock."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.planning.memory.by_micro_batch import CostLines, fit_line, measure_lines, sizes_for
from lmlab.planning.memory.largest import largest_that_fits, predicted
from lmlab.planning.trials import from_layers as layers_module
from lmlab.planning.trials import largest as largest_module
from lmlab.planning.trials import store as kept
from lmlab.planning.trials.child import OUT_OF_MEMORY, TOO_LONG, Measurement
from lmlab.planning.trials.from_layers import extended, measured_or_extended
from lmlab.planning.trials.largest import bisect_largest
from lmlab.recipe import Recipe, override
from lmlab.training.policy import choose_policy


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """A recipe and a policy; nothing is kept beyond the test."""
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(kept, "is_busy", lambda: False)
    recipe = override(Recipe(), {"train.device": "cpu", "train.engine": "torch", "train.threads": "1"})
    return recipe, choose_policy(recipe)


def made_up(seconds=lambda size: 0.01 + 0.002 * size, memory=lambda size: 3e8 + 1e7 * size, evidence="measured"):
    """A probe that finds these figures, and the sizes that it was asked for."""
    asked = []

    def probe(recipe, policy, folder, vocabulary, micro_batch, batch):
        asked.append(micro_batch)
        if memory(micro_batch) is None:
            return Measurement(micro_batch=micro_batch, batch=batch, failed=OUT_OF_MEMORY), evidence
        took = seconds(micro_batch)
        return (
            Measurement(
                micro_batch=micro_batch,
                batch=batch,
                step_seconds=(took, 0.9 * took, 1.1 * took),
                peak_memory_bytes=int(memory(micro_batch)),
            ),
            evidence,
        )

    return probe, asked


@given(st.floats(0, 10), st.floats(1e-3, 10), st.lists(st.integers(1, 500), min_size=3, max_size=6, unique=True))
def test_points_on_a_line_give_the_line(intercept, slope, places):
    line = fit_line([(x, intercept + slope * x) for x in places])
    assert line.at(77) == pytest.approx(intercept + slope * 77, rel=1e-5)


def test_the_fit_is_that_of_weighted_least_squares_where_nothing_stands_out():
    points = [(1, 1.1), (2, 1.9), (4, 4.15), (8, 7.9)]
    xs, ys = np.array(points).T
    # numpy's polyfit takes weights of the residuals themselves: 1 / y.
    slope, intercept = np.polyfit(xs, ys, 1, w=1 / ys)
    line = fit_line(points)
    assert (line.slope, line.intercept) == pytest.approx((slope, intercept), rel=0.03)


def test_one_point_beside_other_work_hardly_moves_the_line():
    points = [(x, 1.0 + 0.1 * x) for x in (1, 2, 3, 4, 6, 8, 12)]
    spoilt = [(x, 3 * y if x == 4 else y) for x, y in points]
    assert fit_line(spoilt).at(16) == pytest.approx(2.6, rel=0.02)


def test_no_line_has_a_negative_part():
    falling = fit_line([(1, 5.0), (2, 4.0), (4, 3.0)])
    assert falling.slope == 0 and 3 < falling.at(100) < 5
    steep = fit_line([(1, 1.0), (2, 3.0), (4, 8.0)])
    assert steep.intercept == 0 and steep.slope > 0


def test_four_of_five_new_measurements_lie_in_the_interval():
    generator = np.random.default_rng(1)
    places, held = (1, 4, 8, 16), []
    for _ in range(800):
        noisy = [(x, (2 + 0.5 * x) * (1 + 0.05 * generator.standard_normal())) for x in places]
        estimate = fit_line(noisy).estimate(12)
        held.append(estimate.holds((2 + 0.5 * 12) * (1 + 0.05 * generator.standard_normal())))
    # A robust fit of four points takes some of the spread for outliers, so a little less than 80 %.
    assert 0.68 < np.mean(held) < 0.9


def test_an_estimate_says_what_it_rests_on():
    line = fit_line([(1, 1.0), (4, 2.0), (8, 3.4)])
    assert [line.estimate(x).evidence for x in (4, 6, 9)] == ["measured", "fitted", "extrapolated"]
    assert line.estimate(4, "steps").rests_on == "steps at 1, 4, 8"
    far, near = line.estimate(80), line.estimate(6)
    assert (far.high - far.low) / far.value > (near.high - near.low) / near.value


def test_one_point_is_a_line_through_the_origin_with_a_wide_interval():
    line = fit_line([(4, 2.0)])
    assert line.at(8) == 4.0
    assert line.estimate(8).low < 3.6 and line.estimate(8).high > 4.4
    with pytest.raises(ValueError, match="needs a point"):
        fit_line([])


def test_sizes_lie_around_the_micro_batch_and_are_at_least_four():
    assert sizes_for(64) == (1, 16, 32, 64)
    assert sizes_for(12) == (1, 3, 6, 12)
    assert sizes_for(1) == (1, 2, 4, 8)
    assert sizes_for(64, 3) == (1, 16, 64) and sizes_for(2, 3) == (1, 2, 4)
    assert all(len(sizes_for(size)) >= 4 and len(sizes_for(size, 3)) == 3 for size in range(1, 40))


def test_lines_are_measured_once(tried):
    probe, asked = made_up()
    lines = measure_lines(*tried, "data-1", 7, sizes=(1, 4, 8), probe=probe)
    assert lines.step_seconds(4).value == pytest.approx(0.018)
    assert lines.peak_memory_bytes(100).value == pytest.approx(1.3e9, rel=1e-4)
    assert lines.peak_memory_bytes(100).evidence == "extrapolated"
    assert measure_lines(*tried, "data-1", 7, sizes=(1, 4, 8), probe=probe) == lines and asked == [1, 4, 8]
    # Another data set, and another version of lmlab, are other questions.
    measure_lines(*tried, "data-2", 7, sizes=(1, 4, 8), probe=probe)
    assert len(asked) == 6


def test_what_is_known_of_a_size_is_not_measured_again(tried):
    probe, asked = made_up()
    known = Measurement(micro_batch=8, batch=8, step_seconds=(0.026, 0.3, 0.026), peak_memory_bytes=380_000_000)
    lines = measure_lines(*tried, "data", 7, sizes=(1, 4, 8), known=(known, "measured"), probe=probe)
    assert asked == [1, 4] and (8.0, 0.026) in lines.seconds.points and (8.0, 3.8e8) in lines.memory.points
    # A step of two passes isn't a pass of that many sequences.
    two = dataclasses.replace(known, batch=16)
    measure_lines(*tried, "other", 7, sizes=(1, 4, 8), known=(two, "measured"), probe=probe)
    assert asked[2:] == [1, 4, 8]


def test_fewer_sizes_are_measured_where_steps_are_long(tried):
    recipe, policy = tried
    policy = dataclasses.replace(policy, micro_batch=64)
    probe, asked = made_up(evidence="extrapolated")
    known = Measurement(micro_batch=64, batch=64, step_seconds=(2.0,), peak_memory_bytes=10**9)
    lines = measure_lines(recipe, policy, "data", 7, known=(known, "extrapolated"), probe=probe)
    assert asked == [1, 16] and len(lines.seconds.points) == 3 and lines.evidence == "extrapolated"


def test_another_version_measures_again(tried, monkeypatch):
    probe, asked = made_up()
    for version in ("1", "1", "2"):
        monkeypatch.setattr(kept, "__version__", version)
        measure_lines(*tried, "data-1", 7, sizes=(1, 2, 4), probe=probe)
    assert len(asked) == 6


def test_no_size_is_tried_that_the_smaller_ones_predict_too_large(tried):
    probe, asked = made_up()
    lines = measure_lines(*tried, "data", 7, sizes=(1, 2, 4, 64, 128), free_bytes=5e8, probe=probe)
    assert asked == [1, 2, 4] and len(lines.memory.points) == 3


def test_lines_end_where_a_child_ran_out_of_memory(tried):
    probe, asked = made_up(memory=lambda size: None if size > 4 else 1e8 * size)
    lines = measure_lines(*tried, "data", 7, sizes=(1, 4, 8, 16), probe=probe)
    assert asked == [1, 4, 8] and len(lines.seconds.points) == 2
    probe, _ = made_up(memory=lambda size: None)
    assert measure_lines(*tried, "other", 7, sizes=(1, 2), probe=probe) is None


def test_what_rests_on_fewer_layers_is_marked(tried):
    probe, _ = made_up(evidence="extrapolated")
    estimate = measure_lines(*tried, "data", 7, sizes=(1, 2, 4), probe=probe).step_seconds(2)
    assert estimate.evidence == "extrapolated" and estimate.rests_on.endswith("of fewer layers or sequences")


@given(st.integers(0, 300), st.integers(1, 200), st.integers(1, 400))
def test_bisection_finds_the_largest_that_fits(limit, most, guess):
    tried = []

    def fits(size):
        assert 1 <= size <= most
        tried.append(size)
        return size <= limit

    assert bisect_largest(fits, most, guess) == min(limit, most)
    assert len(tried) == len(set(tried)) <= 2 * math.ceil(math.log2(most + 1)) + 2


def test_a_good_guess_takes_two_trials():
    tried = []
    assert bisect_largest(lambda size: tried.append(size) or size <= 37, 65536, 37) == 37
    assert tried == [37, 38]


def lines_of(memory):
    seconds = fit_line([(1, 0.1), (2, 0.2), (4, 0.4)])
    return CostLines(
        seconds=seconds, memory=fit_line([(size, memory(size)) for size in (1, 2, 4)]), evidence="measured"
    )


def test_on_a_cpu_the_line_decides_and_nothing_is_tried(tried):
    lines = lines_of(lambda size: 1e9 + 1e8 * size)
    found = largest_that_fits(*tried, "data", 7, lines, limit_bytes=int(3e9), search=pytest.fail)
    assert found.evidence == "extrapolated"
    assert 15 <= found.micro_batch < 20
    assert lines.peak_memory_bytes(found.micro_batch).high <= 3e9 < lines.peak_memory_bytes(found.micro_batch + 1).high
    assert predicted(lines, int(1e8)) == 0
    assert predicted(lines_of(lambda size: 1e9), int(3e9), most=100) == 100


def on_a_gpu(tried, monkeypatch, cores):
    """The recipe and a policy for a GPU; `cores` makes the key of what is stored another one."""
    recipe, policy = tried
    monkeypatch.setattr(kept, "physical_cores", lambda: cores)
    return recipe, dataclasses.replace(policy, device="cuda"), "data", 7, lines_of(lambda size: 1e9 + 1e8 * size)


def test_on_a_gpu_it_is_what_really_ran_in_one_child(tried, monkeypatch):
    given, searches = on_a_gpu(tried, monkeypatch, 4), []

    def search(recipe, policy, folder, *, most, guess, limit_bytes):
        searches.append((guess, limit_bytes))
        return bisect_largest(lambda size: size <= 23, most, guess), ""

    for _ in range(2):
        found = largest_that_fits(*given, limit_bytes=int(3e9), search=search)
        assert (found.micro_batch, found.evidence) == (23, "measured")
    assert searches == [(predicted(given[-1], int(3e9)), int(3e9))]


@pytest.mark.parametrize("failed", [OUT_OF_MEMORY, f"{TOO_LONG} 600 s"])
def test_a_search_that_the_system_or_the_clock_ends_leaves_the_line_s_prediction(tried, monkeypatch, failed):
    given = on_a_gpu(tried, monkeypatch, 6 + len(failed))
    found = largest_that_fits(*given, limit_bytes=int(3e9), search=lambda *given, **options: (0, failed))
    assert (found.micro_batch, found.evidence) == (predicted(given[-1], int(3e9)), "extrapolated")


def test_only_a_lack_of_memory_or_time_is_a_size_that_doesn_t_fit(tried, monkeypatch):
    given = on_a_gpu(tried, monkeypatch, 5)
    with pytest.raises(LabError, match="can't be run here: the driver shut down"):
        largest_that_fits(*given, limit_bytes=int(3e9), search=lambda *given, **options: (0, "the driver shut down"))


def test_sizes_are_tried_in_one_process_up_to_the_limit_and_to_an_error_of_the_allocator(tried, monkeypatch):
    sizes = []

    class FakeTrial:
        def __init__(self, recipe, policy, dataset):
            assert recipe.train.batch == policy.micro_batch
            self.size = policy.micro_batch

        def go(self, extent, began):
            sizes.append(self.size)
            if self.size > 40:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return {"peak_memory_bytes": self.size * 100}

    monkeypatch.setattr(largest_module, "Trial", FakeTrial)
    recipe, policy = tried
    assert largest_module.largest_in_this_process(recipe, policy, None, 1000, 8, 10**6) == 40
    assert max(sizes) > 40
    assert largest_module.largest_in_this_process(recipe, policy, None, 1000, 8, 1250) == 12


def test_a_long_step_is_measured_at_one_and_two_layers_and_extended(tried):
    recipe, policy = tried
    recipe = override(recipe, {"model.layers": "12"})
    seen, background = [], set()

    def run(recipe, policy, folder, **options):
        layers = recipe.model.layers
        seen.append(layers)
        background.add(recipe.train.background)
        return Measurement(
            micro_batch=2,
            batch=2,
            step_seconds=tuple(0.5 + 0.1 * layers + jitter for jitter in (0, 0.01, 0.02)),
            forward_tokens_per_second=1 / (1e-3 + 1e-4 * layers),
            checkpoint_bytes=1000 + 10 * layers,
            peak_memory_bytes=5000 + 100 * layers,
        )

    found, evidence = measured_or_extended(recipe, policy, "data", 7, batch=2, peak=1e10, run=run)
    assert (seen, evidence) == ([1, 2], "extrapolated")
    assert background == {"off"}  # as the whole model, whose checkpoints are small
    assert np.median(found.step_seconds) == pytest.approx(0.5 + 1.2 + 0.01)
    assert 1 / found.forward_tokens_per_second == pytest.approx(1e-3 + 12e-4)
    assert (found.checkpoint_bytes, found.peak_memory_bytes) == (1120, 6200)
    assert measured_or_extended(recipe, policy, "data", 7, batch=2, peak=1e18, run=run)[1] == "measured"
    assert seen == [1, 2, 12]
    background.clear()
    wide = override(recipe, {"model.width": "512"})
    measured_or_extended(wide, policy, "data", 7, batch=2, peak=1e10, run=run)
    assert background == {"on"}  # the copy of a checkpoint of one layer would be missing else
    seen[3:] = []
    # Value residuals begin with the second layer.
    mixed = override(recipe, {"model.value_residual": "yes"})
    assert measured_or_extended(mixed, policy, "data", 7, batch=2, peak=1e9, run=run)[0].peak_memory_bytes == 6200
    assert seen[3:] == [2, 3]


def test_a_layer_never_saves_anything():
    one = Measurement(micro_batch=1, batch=1, step_seconds=(1.0,), peak_memory_bytes=10)
    two = Measurement(micro_batch=1, batch=1, step_seconds=(0.9, 0.9, 0.9), peak_memory_bytes=9)
    found = extended(one, two, 1, 8)
    assert found.peak_memory_bytes == 10 and set(found.step_seconds) == {1.0}


def test_few_layers_that_fail_are_a_failure_of_all(tried):
    recipe, policy = tried
    recipe = override(recipe, {"model.layers": "12"})
    failing = Measurement(micro_batch=1, batch=1, failed=OUT_OF_MEMORY)
    found, _ = layers_module.measured_or_extended(
        recipe, policy, "data", 7, batch=2, peak=1e9, run=lambda *given, **options: failing
    )
    assert found.failed == OUT_OF_MEMORY
