"""The share of right answers behind the verdicts of an imperfect judge, given how often it is right about some labelled answers.

    theta = (p + q0 - 1) / (q0 + q1 - 1)        p: share that the judge accepts
                                                q0: specificity, the share of wrong answers that it rejects
                                                q1: sensitivity, the share of right answers that it accepts

(Rogan and Gladen, 1978, Estimating prevalence from the results of a screening test, American Journal of Epidemiology 107.) q0 and
q1 are measured on few labels, so their own errors belong into the interval, which is that of Lang and Reiczigel (2014, Confidence
limits for prevalence of disease adjusted for estimated sensitivity and specificity, Preventive Veterinary Medicine 113). Lee et al.
(2025, arXiv 2511.21140) apply it to language models as judges. Answers are taken as independent, and the labelled answers
as drawn from the same kind of answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.stats.student import normal_quantile

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A share, corrected for a judge's errors."""

    estimate: float
    """theta, limited to 0 to 1; NaN if the judge is not shown to be better than chance."""
    low: float
    high: float
    """`low` and `high` are the 95% interval; 0 and 1 if nothing is known."""
    uncorrected: float
    """p: the share that the judge accepts."""
    sensitivity: float
    specificity: float
    informative: bool
    """Whether the judge tells right from wrong on the labels: q0 + q1 - 1 is above 0 by more than its error."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "uncorrected": self.uncorrected,
            "sensitivity": self.sensitivity,
            "specificity": self.specificity,
            "informative": self.informative,
        }


def calibrated(
    accepted: int,
    answers: int,
    *,
    right_accepted: int,
    right: int,
    wrong_rejected: int,
    wrong: int,
    level: float = LEVEL,
) -> Calibrated:
    """Return the share of right answers among `answers`, of which the judge accepts `accepted`. Of labelled answers, it accepts
    `right_accepted` of the `right` ones and rejects `wrong_rejected` of the `wrong` ones.

    Raises LabError if a count exceeds its total or there are no answers, no right ones or no wrong ones among the labels.
    """
    for name, part, whole in (
        ("accepted answers", accepted, answers),
        ("accepted right labels", right_accepted, right),
        ("rejected wrong labels", wrong_rejected, wrong),
    ):
        if not 0 <= part <= whole or whole < 1:
            raise LabError(
                f"{part} of {whole} {name}: expected 0 to all of at least one; label some answers of both kinds"
            )
    z = normal_quantile((1 + level) / 2)
    # Shrunk shares, whose intervals hold for few labels, too (Agresti and Coull, 1998, and Lang and Reiczigel, section 2).
    share = (accepted + z * z / 2) / (answers + z * z)
    q1, q0 = (right_accepted + 1) / (right + 2), (wrong_rejected + 1) / (wrong + 2)
    of_share, of_q1, of_q0 = (
        share * (1 - share) / (answers + z * z),
        q1 * (1 - q1) / (right + 2),
        q0 * (1 - q0) / (wrong + 2),
    )
    measured = accepted / answers, right_accepted / right, wrong_rejected / wrong
    gain = q0 + q1 - 1
    if gain <= z * math.sqrt(of_q0 + of_q1):
        return _result(math.nan, 0.0, 1.0, measured, informative=False)
    centre = (share + q0 - 1) / gain
    shift = 2 * z * z * (centre * of_q1 - (1 - centre) * of_q0)
    half = z * math.sqrt(of_share + centre**2 * of_q1 + (1 - centre) ** 2 * of_q0) / gain
    plain = measured[1] + measured[2] - 1
    estimate = (measured[0] + measured[2] - 1) / plain if plain > 0 else centre
    low, high = (_within(centre + shift + side * half) for side in (-1, 1))
    # The limits are centred on the shrunk shares, the estimate isn't.
    estimate = _within(estimate)
    return _result(estimate, min(low, estimate), max(high, estimate), measured, informative=True)


def _within(share: float) -> float:
    return min(1.0, max(0.0, share))


def _result(
    estimate: float, low: float, high: float, measured: tuple[float, float, float], informative: bool
) -> Calibrated:
    return Calibrated(
        estimate=estimate,
        low=low,
        high=high,
        uncorrected=measured[0],
        sensitivity=measured[1],
        specificity=measured[2],
        informative=informative,
    )
