"""The largest gradient norm that an update may use, as a pure function of the step."""

from __future__ import annotations

from bisect import bisect_right

from lmlab.recipe.optim import Optim


def clip_limit(optim: Optim, step: int) -> float:
    """The limit at `step`, the first step being 0; 0 for none.

    It is `optim.clip`, and from each of `optim.clip_steps` on the value of `optim.clip_then` that stands in its place.
    """
    return (optim.clip, *optim.clip_then)[bisect_right(optim.clip_steps, step)]
