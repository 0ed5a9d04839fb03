"""The bands of the laws against figures computed by hand."""

import pytest

from lmlab.scaling.rates import batch_band, published_batches, published_rates, rate_band


def test_rates_at_a_million_parameters_span_what_the_laws_say():
    # By hand, N = 1M and D = 20M: 1.797 x 1e6^-.713 x 2e7^.307 = .0165, .0047 x (1/108)^(-1/3) = .0224
    assert published_rates(1e6, 2e7) == pytest.approx((0.0165, 0.0224), rel=0.01)
    # A little more than a token a parameter: from .007 to .022
    assert published_rates(1e6, 1.2e6) == pytest.approx((0.0070, 0.0224), rel=0.01)


def test_batches_are_the_laws_own():
    # .581 x 1e9^.571 = 80 thousand tokens; the other law's at 108M is 2048 x 160
    assert published_batches(108e6, 1e9) == pytest.approx((79_900, 327_680), rel=0.01)
    # Eight times the parameters: four times the batch, half the rate.
    assert published_batches(864e6, 1e9)[1] == pytest.approx(4 * 327_680)
    assert published_rates(864e6, 1e5)[1] == pytest.approx(0.0047 / 2)


def test_a_band_holds_both_laws_and_alarms_outside_their_sizes():
    band = rate_band(1e6, 2e7)
    assert (band.low, band.high) == published_rates(1e6, 2e7) and band.low < band.value < band.high
    assert band.evidence == "published" and "2503.04715" in band.rests_on and "2406.19146" in band.rests_on
    assert band.alarm == (
        "Step Law: 1/210 of the smallest parameters that were fitted; "
        "Porian et al.: 1/5.0 of the smallest parameters that were fitted"
    )
    assert batch_band(5e8, 1e10).alarm == ""
    assert batch_band(5e7, 1e9).alarm == "Step Law: 1/4.2 of the smallest parameters that were fitted"
    assert (batch_band(5e8, 1e10).low, batch_band(5e8, 1e10).high) == published_batches(5e8, 1e10)
