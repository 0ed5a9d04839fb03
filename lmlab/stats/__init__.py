"""Uncertainty and verdicts from plain numbers: intervals of ratios, and what a loss curve is doing. numpy only."""

from lmlab.stats.bootstrap import Interval, ratio_interval, ratio_standard_error
from lmlab.stats.trend import (
    Turn,
    Verdict,
    nats_per_doubling,
    noise_level,
    overfitting_verdict,
    still_falling,
    turning_point,
)

__all__ = [
    "Interval",
    "Turn",
    "Verdict",
    "nats_per_doubling",
    "noise_level",
    "overfitting_verdict",
    "ratio_interval",
    "ratio_standard_error",
    "still_falling",
    "turning_point",
]
