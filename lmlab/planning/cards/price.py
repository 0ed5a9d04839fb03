"""The cost of a training: rent by the hour, or electricity by the kilowatt-hour.

    price_in("1.2/h")  price_in("1.2USD/h")  price_in("0.30/kWh")  price_in("0.30EUR/kWh@65W")

Currencies are words that are passed through. Electricity needs a power: measured during the probe where the machine reports it
(`lmlab.hardware.energy`), a card's board power from its datasheet, or the value after the @.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lmlab import LabError
from lmlab.hardware.cards import Card
from lmlab.planning.combine import product
from lmlab.scaling.estimate import Estimate, exact

Unit = Literal["h", "kWh"]
PRICE = re.compile(
    r"(?P<sign>[$€£¥]?)\s*(?P<amount>\d+(?:[.,]\d+)?)\s*(?P<currency>[A-Za-z]{3}|[$€£¥])?\s*/\s*(?P<unit>[A-Za-z]+)"
    r"(?:\s*@\s*(?P<watts>\d+(?:\.\d+)?)\s*W)?",
    re.IGNORECASE,
)
UNITS: dict[str, Unit] = {"h": "h", "hour": "h", "kwh": "kWh"}
LONGEST = 40
SECONDS_AN_HOUR = 3_600.0
JOULES_A_KWH = 3.6e6
BOARD_SHARE = (0.5, 0.8, 1.0)
"""Share of a card's board power that a training draws, low, usual and high: it draws all of it only if it never waits for
memory."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """An amount of money for each hour, or for each kilowatt-hour."""

    amount: float
    unit: Unit
    currency: str = ""
    watts: float | None = None
    """The power after the @; None without one."""

    def cost(self, seconds: Estimate, watts: Estimate | None = None) -> Estimate:
        """Return the cost of a training of so many seconds, at a power of `watts`; LabError where electricity has no power."""
        if self.unit == "h":
            return seconds.scaled(self.amount / SECONDS_AN_HOUR)
        self.require_power(watts is not None)
        power = watts if self.watts is None else exact(self.watts, "the power that you named")
        assert power is not None
        return product(seconds, power).scaled(self.amount / JOULES_A_KWH)

    def require_power(self, known: bool) -> None:
        """Raise LabError for electricity without a power, where none is `known` either; called before anything is measured."""
        if self.unit == "kWh" and self.watts is None and not known:
            raise LabError(
                f"a price of {self.amount:g}/kWh needs a power, and none is known here: expected one after it, "
                f"such as {self.amount:g}/kWh@65W"
            )

    def text(self, cost: Estimate) -> str:
        """Format a cost: with two decimals, or with two digits where it's less than one."""
        amounts = [_money(amount) for amount in (cost.value, cost.low, cost.high)]
        unit = f" {self.currency}" if self.currency else ""
        return f"{amounts[0]}{unit}" if cost.low == cost.high else f"{amounts[0]}{unit} ({amounts[1]} to {amounts[2]})"


def price_in(text: str) -> Price:
    """Parse a price; LabError where it isn't one.

    >>> price_in("1.2USD/h")
    Price(amount=1.2, unit='h', currency='USD', watts=None)
    >>> price_in("0.30/kWh@65W").watts
    65.0
    """
    found = PRICE.fullmatch(text.strip()) if len(text) <= LONGEST else None
    unit = UNITS.get(found["unit"].lower()) if found else None
    if found is None or unit is None or (found["watts"] and unit == "h"):
        raise LabError(
            f"{text[:LONGEST]!r} is not a price: expected one such as 1.2/h, 1.2USD/h, 0.30/kWh or 0.30/kWh@65W"
        )
    return Price(
        amount=float(found["amount"].replace(",", ".")),
        unit=unit,
        currency=(found["currency"] or found["sign"] or "").upper(),
        watts=float(found["watts"]) if found["watts"] else None,
    )


def board_power(card: Card) -> Estimate | None:
    """Return the watts that a training draws from a card, or from several; None where its datasheet states none."""
    if card.watts is None:
        return None
    low, usual, high = (share * card.watts * card.count for share in BOARD_SHARE)
    return Estimate(
        value=usual,
        low=low,
        high=high,
        evidence="published",
        rests_on=f"board power of {card.watts:g} W{'' if card.count == 1 else ' a card'} ({card.sheet})",
    )


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 1 or amount == 0 else f"{amount:.2g}"
