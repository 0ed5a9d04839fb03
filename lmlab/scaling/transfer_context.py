"""Hyperparameter transfer between context-propagation models: how their three sizes scale the settings of each parameter.

Input: how much wider the layers are (m) than in the tuned model, the ratio of the numbers of layers after the first (d), and the
ratio of the inputs (i) of the first layer, which reads the embedding and the context vector. Output: factors, as in `transfer.py`.

                            spread       Adam's rate   Muon's rate   Adam's epsilon
    embeddings              1            1             -             1/m
    first layer             i^-1/2       1/i           1             1/m
    other layers            m^-1/2 g     1/(m d)       1/d           1/m
    their biases            1            1/d           -             1/m
    gates                   m^-1/2       1/m           1             1/m
    head                    1/m          1/m           -             1
    the rest                1            1             -             1/m

Width follows muP (arXiv 2203.03466, table 3); nothing is folded: the head is a separate matrix. The depth rule is ours, since the
layers have no residual stream, which CompleteP's rule needs: a relu layer multiplies the variance of the signal by
a = spread^2 width / 2, forward and backward. N(0, .02) at width 512 scales the signal to about a third at each layer, so after
twice as many layers almost nothing is left: the signal vanishes at initialisation. With g = (a^(1/d) / a)^(1/2) the signal
propagates through all layers as in the tuned model. And d times as many layers with equal updates would change the output d times
as much: hence 1/d. With residuals there is a stream, and CompleteP applies (arXiv 2505.01618, table 1, with alpha = 1): g = 1/d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from lmlab.scaling.transfer import BLOCKS, Factors, RuleName

FIRST_LAYER = "blocks.0."
DEVIATION = 0.02
"""Standard deviation of every matrix if init is normal; PyTorch's own initialisation has a variance of 1 / (3 inputs)."""


class ContextSizes(Protocol):
    """The fields of a recipe's model that the rule uses."""

    @property
    def layers(self) -> int:
        """Number of feed-forward layers."""

    @property
    def width(self) -> int:
        """Embedding width."""

    @property
    def hidden(self) -> int:
        """Width of the layers."""

    @property
    def vector(self) -> int:
        """Width of the context vector."""

    @property
    def init(self) -> Literal["normal", "torch"]:
        """The initialisation."""

    @property
    def residual(self) -> bool:
        """Whether layers add to a residual stream."""


@dataclass(frozen=True, kw_only=True)
class ContextTransfer:
    """How much larger a model is than the tuned one; ones change nothing."""

    width: float = 1.0
    """m: ratio of the layer widths."""
    depth: float = 1.0
    """d: ratio of the numbers of layers after the first."""
    inputs: float = 1.0
    """i: ratio of the inputs of the first layer."""
    passed: float = 1.0
    """a at the tuned size: the factor by which a layer multiplies the variance of the signal."""
    residual: bool = False
    """Whether layers add to a residual stream, so that the signal bypasses them."""

    def factors(self, name: str, rule: RuleName = "adamw") -> Factors:
        """Return the factors of the parameter called `name`, which is updated by `rule`."""
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
    """Return the rule for `model`. `transfer_from` is `optim.transfer_from`: empty, or hidden width, layers and vector of the tuned
    model.

    Sizes that are left out are equal in both models.
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
