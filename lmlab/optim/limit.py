"""The gradient clipping threshold as a pure function of the step."""

from __future__ import annotations

from bisect import bisect_right

from lmlab.recipe.optim import Optim


def clip_limit(optim: Optim, step: int) -> float:
    """Return the largest gradient norm at `step`, counted from 0; 0: no clipping.

    It is `optim.clip`, and from step `optim.clip_steps[i]` on `optim.clip_then[i]`.
    """
    return (optim.clip, *optim.clip_then)[bisect_right(optim.clip_steps, step)]
