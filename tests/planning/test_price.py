"""Money: rent and electricity."""

from __future__ import annotations

import pytest

from lmlab import LabError
from lmlab.hardware.cards import card_named
from lmlab.planning.cards.price import board_power, price_in
from lmlab.scaling.estimate import Estimate, exact


def seconds(value: float) -> Estimate:
    return Estimate(value=value, low=0.9 * value, high=1.2 * value, evidence="fitted", rests_on="four steps")


@pytest.mark.parametrize(
    ("text", "amount", "unit", "currency"),
    [
        ("1.2/h", 1.2, "h", ""),
        ("1.2USD/h", 1.2, "h", "USD"),
        ("$2/hour", 2.0, "h", "$"),
        ("0.30/kWh", 0.3, "kWh", ""),
        ("0,30 eur / kwh", 0.3, "kWh", "EUR"),
    ],
)
def test_prices_are_read_as_people_write_them(text, amount, unit, currency):
    price = price_in(text)
    assert (price.amount, price.unit, price.currency) == (amount, unit, currency)


@pytest.mark.parametrize("text", ["1.2", "h", "1.2/day", "-1/h", "1.2/h@65W", "1e3/h", "", "1" * 100 + "/h"])
def test_what_is_no_price_is_refused_in_one_line(text):
    with pytest.raises(LabError, match="is not a price: expected one such as 1.2/h") as caught:
        price_in(text)
    assert "\n" not in str(caught.value)


def test_rent_is_hours_times_price_with_the_interval_of_the_time():
    cost = price_in("1.2/h").cost(seconds(7_200))
    assert (cost.value, cost.low, cost.high) == pytest.approx((2.4, 2.16, 2.88))


def test_published_rent_of_eight_cards_is_reproduced():
    # G. Thomas: 8 x A100-40, 13,904 s, 39.86 US$: 10.32 an hour
    assert price_in("10.32USD/h").cost(exact(13_904)).value == pytest.approx(39.86, abs=0.01)


def test_electricity_is_energy_times_price():
    # 350 W for ten hours are 3.5 kWh
    cost = price_in("0.30/kWh").cost(exact(36_000), exact(350))
    assert cost.value == pytest.approx(1.05)
    assert price_in("0.30/kWh@100W").cost(exact(36_000), exact(350)).value == pytest.approx(0.30)


def test_electricity_without_a_power_is_refused():
    with pytest.raises(LabError, match="expected one after it, such as 0.3/kWh@65W"):
        price_in("0.3/kWh").cost(exact(60))


def test_a_card_brings_its_board_power_as_published():
    power = board_power(card_named("rtx3090"))
    assert power is not None
    assert power.evidence == "published"
    assert power.low < power.value < power.high == 350
    assert board_power(card_named("m1")) is None
    assert price_in("0.3/kWh").cost(seconds(3_600), power).evidence == "published"


def test_a_cost_is_written_with_its_interval_where_it_has_one():
    assert price_in("1.2USD/h").text(price_in("1.2USD/h").cost(exact(3_600))) == "1.20 USD"
    assert price_in("1.2/h").text(price_in("1.2/h").cost(seconds(60))) == "0.02 (0.018 to 0.024)"
