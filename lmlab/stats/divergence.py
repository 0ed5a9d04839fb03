"""Whether a training run diverged: its loss ended above that of a uniform prediction, it lost much of what it had learned, or its
gradients exploded.

The training loss decides, not the validation loss, which overfitting raises too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ABOVE = 1.05  # times the loss of a uniform prediction, or of the first evaluation; an untrained model isn't above that
LOST = 0.5  # share of the loss reduction that was reached
EXPLODED = 1e6  # gradient norm of a mean loss: healthy ones are 0.01 to 100
LATE = 5  # last logged steps, whose median gradient norm is compared
LEAST_LOST = 0.1  # share of the loss of a uniform prediction: a smaller rise may be the scatter of evaluations


def divergence(losses: Sequence[float | None], vocabulary: int, norms: Sequence[float | None] = ()) -> str | None:
    """Return what is wrong with a training run, or None if nothing is. The input is its training loss at each evaluation (nats a
    token) and the gradient norms of logged steps.

    None among losses and norms stands for a value that was not finite.
    """
    if not losses:
        return None
    last, uniform = losses[-1], math.log(vocabulary)
    if last is None or not math.isfinite(last):
        return "its loss is not finite"
    finite = [loss for loss in losses if loss is not None and math.isfinite(loss)]
    start, lowest = max(uniform, finite[0]), min(finite)
    if last > ABOVE * start:
        return f"its training loss ended at {last:.4g} nats a token, above the {uniform:.4g} of a guess among {vocabulary:,} tokens"
    if last - lowest > max(LOST * (start - lowest), LEAST_LOST * uniform):
        return f"its training loss ended at {last:.4g} nats a token, far above the {lowest:.4g} that it had reached"
    late = sorted(math.inf if norm is None else norm for norm in norms[-LATE:])
    if late and late[len(late) // 2] > EXPLODED:
        return f"its gradient norm ended at {late[len(late) // 2]:.2g}, where trainings that learn have about 1"
    return None
