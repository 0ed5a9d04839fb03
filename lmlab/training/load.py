"""The effect of other processes' load on a forecast of time.

A step that was measured while its threads got a share s of the processor takes about s times as long on an idle machine. Whether
the load will stay is unknown: the forecast assumes that it does, and its interval reaches from an idle machine to one that is
slower than now by the same factor.
"""

from __future__ import annotations

import math

from lmlab.scaling.estimate import NORMAL_QUANTILE

QUIET = 0.95
"""From this share of the processor on, a machine counts as idle: background processes of the system take the rest."""
CHANGED = 0.1
"""Smallest difference between shares of the processor that counts: a few steps can't measure smaller ones."""


def load_spread(share: float) -> float:
    """Return the standard deviation of log(time) for a share of the processor.

    Its 80 % interval reaches from an idle machine to one that is slower by the same factor.

    >>> round(math.exp(NORMAL_QUANTILE * load_spread(0.5)), 3)
    2.0
    """
    return 0.0 if share >= QUIET else -math.log(max(share, 1e-3)) / NORMAL_QUANTILE


def slowed(seconds: float, tried_share: float, share: float) -> float:
    """Convert seconds measured with `tried_share` of the processor to `share` of it; differences below `CHANGED` are ignored."""
    return seconds if abs(share - tried_share) < CHANGED else seconds * tried_share / share


def load_words(share: float) -> str:
    """Return a sentence about a busy machine; empty for an idle one.

    >>> load_words(0.52)
    'the machine is busy: this process got 52% of the processor time that it asked for'
    """
    return (
        ""
        if share >= QUIET
        else f"the machine is busy: this process got {share:.0%} of the processor time that it asked for"
    )
