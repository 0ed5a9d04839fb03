"""Statistics of interleaved samples, against numpy and against what pairing is for."""

import numpy as np
import pytest

from benchmarks.paired import paired_ratios, quartiles, spread
from benchmarks.results import Measurement, compare, compare_all
from lmlab import LabError


def measured(side, samples, unit="tokens/s", case="case"):
    return Measurement(case=case, side=side, quantity="training", unit=unit, samples=tuple(samples))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 10])
def test_quartiles_are_numpy_s(count):
    samples = np.random.default_rng(count).lognormal(size=count).tolist()
    assert quartiles(samples) == pytest.approx(np.quantile(samples, [0.25, 0.75]))
    assert spread(samples) == pytest.approx((quartiles(samples)[1] - quartiles(samples)[0]) / np.median(samples))


def test_a_machine_that_slows_down_changes_no_paired_ratio():
    slowed = np.array([1.0, 0.5, 0.9, 0.2, 1.0])
    ratios = paired_ratios((slowed * 300).tolist(), (slowed * 200).tolist())
    assert ratios == pytest.approx([1.5] * 5)


def test_samples_of_different_rounds_are_refused():
    with pytest.raises(LabError, match="one each a round"):
        paired_ratios([1.0, 2.0], [1.0])


def test_above_one_is_better_for_rates_and_for_times():
    assert compare(measured("a", [30.0, 40.0]), measured("b", [10.0, 20.0])).samples == (3.0, 2.0)
    assert compare(measured("a", [2.0], "s"), measured("b", [8.0], "s")).samples == (4.0,)


def test_different_units_or_cases_are_not_compared():
    with pytest.raises(LabError, match="same case and unit"):
        compare(measured("a", [1.0]), measured("b", [1.0], unit="s"))
    with pytest.raises(LabError, match="same case and unit"):
        compare(measured("a", [1.0]), measured("b", [1.0], case="other"))


def test_each_of_our_sides_is_compared_with_each_peer_in_its_case():
    sides = [measured(side, [1.0]) for side in ("lmlab native", "lmlab torch", "nanoGPT", "transformers")]
    found = {(entry.side, entry.against) for entry in compare_all([*sides, measured("nanoGPT", [1.0], case="other")])}
    assert found == {(ours, peer) for ours in ("lmlab native", "lmlab torch") for peer in ("nanoGPT", "transformers")}
