"""Uncertainty and verdicts from plain numbers: intervals of ratios and differences, comparisons against noise, and the shape of
loss curves. numpy and scipy only.

`lmlab.stats.verdict.verdict` is imported from its module, since the module has the same name.
"""

from lmlab.stats.bootstrap import Interval, difference_interval, ratio_interval, ratio_standard_error
from lmlab.stats.divergence import divergence
from lmlab.stats.overfitting import Evaluated, Gap, OverfittingVerdict, UnitBits, overfitting_verdict
from lmlab.stats.paired import PairedDifference, paired_difference
from lmlab.stats.student import normal_quantile, student_quantile
from lmlab.stats.trend import nats_per_doubling, still_falling
from lmlab.stats.turn import Turn, noise_level, turning_point
from lmlab.stats.verdict import PairVerdict, SeedNoise, seed_noise

__all__ = [
    "Evaluated",
    "Gap",
    "Interval",
    "PairVerdict",
    "PairedDifference",
    "SeedNoise",
    "Turn",
    "UnitBits",
    "OverfittingVerdict",
    "difference_interval",
    "divergence",
    "nats_per_doubling",
    "noise_level",
    "normal_quantile",
    "overfitting_verdict",
    "paired_difference",
    "ratio_interval",
    "ratio_standard_error",
    "seed_noise",
    "still_falling",
    "student_quantile",
    "turning_point",
]
