"""Learning rate and batch of a model for which a recipe wasn't tuned: rules, not measurements.

Rate: a recipe's own rate was tuned at its own width and batch. AdamW's falls as 1 / width (muP's rule for matrices: arXiv
2203.03466, table 3) and grows with the root of the batch (arXiv 2205.10287, Adam's square-root rule); Muon's stays, because its
update has the same size at any width, and the rate of the AdamW beside it falls as 1 / width. A recipe with `optim.transfer_from`
has its rates at the width given there, and its optimizer scales them by width: they only grow with the root of the batch. The batch
grows with the tokens ^ 0.571 (Step Law) from the recipe's own.

Both are then kept near published laws (`lmlab.scaling.rates`). These were fitted above 5M parameters and disagree by a factor of
three at 1M, so they form a band, widened by BEYOND, or by as much as the recipe's own rate is outside of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmlab.recipe import Muon, Recipe
from lmlab.recipe.derived import adam_factor, rounded_rate
from lmlab.scaling.rates import published_batches, published_rates

BATCH_POWER = 0.571
BEYOND = 3.0
"""A rate may leave the laws' band by this factor: below 100M parameters they are extrapolations, and AdamW's optimum is wide."""
FEWEST_STEPS = 200
"""Fewer updates than this hardly cover the warm-up; the batch is made smaller instead."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A recipe whose rate and batch were chosen for its own size and length."""

    recipe: Recipe
    parameters: float
    tokens: float
    """How many tokens it trains on."""
    counted: float = 1.0
    """The share of positions in its sequences with a target that counts: the others are padding."""

    @property
    def sequence_tokens(self) -> float:
        """Targets that count in an average sequence."""
        return self.counted * self.recipe.model.context

    def batch(self, parameters: float, tokens: float) -> int:
        """Return the sequences a step for a model of `parameters` that trains on `tokens`.

        The recipe's own, halved or doubled: so a micro-batch that divided it divides the larger ones, and round numbers stay.
        """
        own, sequence = self.recipe.train.batch, self.sequence_tokens
        smallest, largest = (batch / sequence for batch in published_batches(parameters, tokens))
        wish = own * (tokens / self.tokens) ** BATCH_POWER
        # Within the laws' batches, or as far outside as the recipe's own is.
        wish = min(max(wish, min(own, smallest)), max(own, largest), tokens / sequence / FEWEST_STEPS)
        return max(1, round(own * 2.0 ** round(math.log2(max(wish, 1e-9) / own))))

    def rates(self, width: int, batch: int, parameters: float, tokens: float) -> dict[str, float]:
        """Return the optimizer settings that another width and batch change, by dotted name, to two digits."""
        optim, sequence = self.recipe.optim, self.sequence_tokens
        factor = adam_factor(self.recipe, width, batch)
        if factor == 1.0:
            return {}
        if isinstance(optim, Muon):
            return {"optim.adam_lr": rounded_rate(optim.adam_lr * factor)}
        if optim.transfer_from:  # the laws' rates are for models without this rule
            return {"optim.lr": rounded_rate(optim.lr * factor)}
        low, high = _band(self.parameters, self.tokens, self.recipe.train.batch * sequence)
        beyond = max(BEYOND, low / optim.lr, optim.lr / high)
        low, high = _band(parameters, tokens, batch * sequence)
        return {"optim.lr": rounded_rate(min(max(optim.lr * factor, low / beyond), high * beyond))}


def _band(parameters: float, tokens: float, batch_tokens: float) -> tuple[float, float]:
    """Return the laws' band of rates; they assume the laws' batches, and a smaller batch needs a smaller rate."""
    low, high = published_rates(parameters, tokens)
    smallest, largest = published_batches(parameters, tokens)
    return low * min(1.0, math.sqrt(batch_tokens / smallest)), high * min(1.0, math.sqrt(batch_tokens / largest))
