"""Times, sizes, counts and amounts of compute as text: parsed (2h, 1h30m; 20GB; 3.5M; 3e17flops) and formatted (2 min 05 s)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction

from lmlab import LabError

SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "min": 60.0, "s": 1.0}
BYTES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
PART = r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+)"
MULTIPLES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21}
COMPUTE = re.compile(r"(?P<number>\d+(?:\.\d+)?(?:e\+?\d{1,2})?)\s*(?P<multiple>[kmgtpez])?flops?", re.IGNORECASE)
COUNT = re.compile(r"(?P<number>\d{1,15}(?:\.\d+)?)\s*(?P<unit>[kKmMbBgG]?)")
MOST_PARAMETERS = 10**12
LONGEST = 40
"""Longer texts are refused."""


def seconds_in(text: str) -> float:
    """Return the seconds of a time; raises LabError if it isn't one.

    >>> seconds_in("2h"), seconds_in("1h30m"), seconds_in("0.5 min")
    (7200.0, 5400.0, 30.0)
    """
    return _sum(text, SECONDS, "a time such as 2h, 1h30m or 90s")


def bytes_in(text: str) -> int:
    """Return the bytes of a size, in powers of ten; raises LabError if it isn't one.

    >>> bytes_in("20GB"), bytes_in("1.5 mb")
    (20000000000, 1500000)
    """
    return int(_sum(text, BYTES, "a size such as 20GB"))


def parameters_in(text: str) -> int:
    """Return the number of parameters of a size such as 750k, 3.5M or 1B; raises LabError if it isn't one.

    >>> parameters_in("750k"), parameters_in("3.5M"), parameters_in("2000000")
    (750000, 3500000, 2000000)
    """
    found = COUNT.fullmatch(text.strip()) if len(text) <= LONGEST else None
    number = round(float(found["number"]) * MULTIPLES[found["unit"].lower().replace("b", "g")]) if found else 0
    if not found or not 1 <= number <= MOST_PARAMETERS:
        raise LabError(f"--size {text[:LONGEST]!r} can't be read: expected parameters such as 750k, 2M, 3.5M or 1B")
    return number


def count_in(text: str) -> int | None:
    """Return the number of a count with a multiple, such as 500k, 19.7M or 3.3B; None if it isn't a whole number of that form.

    >>> count_in("3.3B"), count_in("19.66m"), count_in("3_300"), count_in("0.0001k")
    (3300000000, 19660000, None, None)
    """
    found = COUNT.fullmatch(text.strip()) if len(text) <= LONGEST else None
    if not found or not found["unit"]:
        return None
    number = Fraction(found["number"]) * int(MULTIPLES[found["unit"].lower().replace("b", "g")])
    return int(number) if number.denominator == 1 else None


def flops_in(text: str) -> float:
    """Return the floating-point operations of an amount of compute; raises LabError if it isn't one.

    >>> flops_in("3e17flops"), flops_in("2.5 PFLOP")
    (3e+17, 2500000000000000.0)
    """
    found = COMPUTE.fullmatch(text.strip()) if len(text) <= LONGEST else None
    total = float(found["number"]) * MULTIPLES[(found["multiple"] or "").lower()] if found else 0.0
    if not 0.0 < total < math.inf:
        raise LabError(f"{text[:LONGEST]!r} can't be read: expected an amount of compute such as 3e17flops or 5PFLOP")
    return total


def _sum(text: str, units: Mapping[str, float], expected: str) -> float:
    parts = re.findall(PART, text) if len(text) <= LONGEST else []
    sizes = [float(number) * units.get(unit.lower(), math.nan) for number, unit in parts]
    total = sum(sizes)
    if not sizes or re.sub(PART, "", text).strip() or not total > 0:
        raise LabError(f"{text[:LONGEST]!r} can't be read: expected {expected}")
    return total


def duration(seconds: float) -> str:
    """Format seconds: 8 s, 2 min 05 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def count(number: float) -> str:
    """Format a number with three digits and a suffix: 812, 7.68k, 1.54M."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def byte_count(number: float) -> str:
    """Format a number of bytes in MB or GB: 37.9 MB, 1.25 GB."""
    return f"{number / 1e9:,.2f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"
