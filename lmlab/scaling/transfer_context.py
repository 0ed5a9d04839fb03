"""From a small context-propagation model to a large one with the same learning rate: what its three sizes do to each parameter.

In come how much wider the layers (m) are than in the model whose rate was tuned, how many more layers (d) read one another, and how
many more inputs (i) the first one has, which reads the embedding and the context vector. Out come factors, as in `transfer.py`.

                            spread       Adam's rate   Muon's rate   Adam's epsilon
    embeddings              1            1             -             1/m
    first layer             i^-1/2       1/i           1             1/m
    other layers            m^-1/2 g     1/(m d)       1/d           1/m
    their biases            1            1/d           -             1/m
    gates                   m^-1/2       1/m           1             1/m
    head                    1/m          1/m           -             1
    the rest                1            1             -             1/m

Width is muP's rule (arXiv 2203.03466, table 3); nothing is folded, for the head is a matrix of its own. Depth is ours, since the
layers have no stream around them, which CompleteP's rule is for: a layer of relu multiplies a signal's variance by
a = spread^2 width / 2, forth and back. So N(0, .02) makes of 512 numbers about a third at each layer, and of what a sixth layer
passes a twelfth passes almost nothing: the signal vanishes at initialisation. With g = (a^(1/d) / a)^(1/2) as much comes through
all layers as in the model whose rate was tuned. And d times as many layers that each move by as much would move the output d times
as far: hence 1/d. With residuals there is a stream, and CompleteP's rule (arXiv 2505.01618, table 1, with alpha = 1): g = 1/d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from lmlab.scaling.transfer import BLOCKS, Factors, RuleName

FIRST_LAYER = "blocks.0."
DEVIATION = 0.02
"""Of every matrix of a model whose init is normal; PyTorch's own have a variance of 1 / (3 inputs)."""


class ContextSizes(Protocol):
    """What the rule reads of a recipe's model."""

    @property
    def layers(self) -> int:
        """Feed-forward layers."""

    @property
    def width(self) -> int:
        """Of the embedding."""

    @property
    def hidden(self) -> int:
        """Of the layers."""

    @property
    def vector(self) -> int:
        """Of the context vector."""

    @property
    def init(self) -> Literal["normal", "torch"]:
        """How it starts."""

    @property
    def residual(self) -> bool:
        """Whether layers add to a stream."""


@dataclass(frozen=True, kw_only=True)
class ContextTransfer:
    """How much larger a model is than the one whose rate was tuned; ones change nothing."""

    width: float = 1.0
    """m, of the layers."""
    depth: float = 1.0
    """d, of the layers after the first."""
    inputs: float = 1.0
    """i, of the first layer."""
    passed: float = 1.0
    """a, at the tuned size: what a layer makes of a signal's variance."""
    residual: bool = False
    """Whether layers add to a stream, so that a signal needn't come through them."""

    def factors(self, name: str, rule: RuleName = "adamw") -> Factors:
        """The factors of the parameter called `name`, which is updated by `rule`."""
        initial = rate = 1.0
        epsilon = 1 / self.width
        matrix = name.endswith("weight")
        if name.startswith(FIRST_LAYER):
            if matrix:
                initial, rate = self.inputs**-0.5, 1 / self.inputs
        elif name.startswith(BLOCKS):
            rate = 1 / self.depth
            if matrix:
                through = 1 / self.depth if self.residual else math.sqrt(self.passed ** (1 / self.depth - 1))
                initial = self.width**-0.5 * through
                rate /= self.width
        elif name == "gates.weight":
            initial, rate = self.width**-0.5, 1 / self.width
        elif name == "head.weight":
            initial, rate, epsilon = 1 / self.width, 1 / self.width, 1.0
        if rule == "muon" and matrix:
            rate = 1 / self.depth if name.startswith(BLOCKS) and not name.startswith(FIRST_LAYER) else 1.0
        return Factors(initial=initial, rate=rate, decay=1 / rate, epsilon=epsilon)


def context_transfer(model: ContextSizes, transfer_from: tuple[int, ...]) -> ContextTransfer:
    """The rule for `model`, from `optim.transfer_from`: nothing, or hidden width, layers and vector of the tuned model.

    What is left out the two have in common.
    """
    hidden, layers, vector = (*transfer_from, *(model.hidden, model.layers, model.vector)[len(transfer_from) :])
    variance = DEVIATION**2 if model.init == "normal" else 1 / (3 * hidden)
    return ContextTransfer(
        width=model.hidden / hidden,
        depth=max(1, model.layers - 1) / max(1, layers - 1),
        inputs=(model.width + model.vector) / (model.width + vector),
        passed=variance * hidden / 2,
        residual=model.residual,
    )
