"""What other work on the machine does to a forecast of time.

A step that was tried while its threads had a share s of the processor takes about s of that time alone. Nobody knows whether
the other work stays: the forecast takes it as it was, and its interval reaches from a machine that turns quiet to one that turns
as much busier.
"""

from __future__ import annotations

import math

from lmlab.scaling.estimate import NORMAL_QUANTILE

QUIET = 0.95
"""From this share of the processor on, a machine counts as quiet: its own housekeeping takes as much."""
CHANGED = 0.1
"""Shares of the processor that differ by less are equal: a few steps don't measure them better."""


def load_spread(share: float) -> float:
    """Standard deviation of log(time) for a share of the processor: 80 % reach from a machine that turns quiet to one that
    turns as much busier.

    >>> round(math.exp(NORMAL_QUANTILE * load_spread(0.5)), 3)
    2.0
    """
    return 0.0 if share >= QUIET else -math.log(max(share, 1e-3)) / NORMAL_QUANTILE


def slowed(seconds: float, tried_share: float, share: float) -> float:
    """Seconds with a share of the processor, of what took so long with `tried_share` of it; small differences don't count."""
    return seconds if abs(share - tried_share) < CHANGED else seconds * tried_share / share


def load_words(share: float) -> str:
    """A busy machine in words; empty for a quiet one.

    >>> load_words(0.52)
    'the machine is busy: this process got 52% of the processor time that it asked for'
    """
    return (
        ""
        if share >= QUIET
        else f"the machine is busy: this process got {share:.0%} of the processor time that it asked for"
    )
