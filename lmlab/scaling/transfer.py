"""Hyperparameter transfer from a small model to a large one: how width and depth scale the settings of each parameter.

Input: a parameter's name and how much wider (m) and deeper (d) the model is than the tuned one. Output: the
factors of its initial spread, learning rate, weight decay and Adam's epsilon. The rules are muP for width (arXiv 2203.03466,
table 8), CompleteP for depth (arXiv 2505.01618, table 1, with alpha = 1), and the spectral condition for Muon (arXiv
2310.17813). They require a multiplier 1/m at the logits and 1/d at each residual branch. Here both are folded into parameters,
so that the model's computation stays unchanged: the final norm's gain absorbs the first (its size and rate fall by 1/m), and
the projections into the residual stream the second. For Adam the two forms are equivalent (arXiv 2203.03466, lemma J.1).

                            spread     Adam's rate   Muon's rate   Adam's epsilon
    embeddings, head        1          1             -             1/m
    qkv, up                 m^-1/2     1/m           1             1/(m d)
    projection, down        m^-1/2/d   1/(m d)       1/d           1/m
    their biases            1/d        1/d           -             1/m
    other norms and biases  1          1             -             1/(m d)
    final norm              1/m        1/m           -             1

Weight decay grows as the rate falls, so a step shrinks a weight by the same share. Attention's scale is unchanged, so
a wider model should have more heads of the same width. Muon's update already has the required spectral norm at every
width; its depth rule is CompleteP's, by analogy. Clipping applies to the gradients of the folded form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

RuleName = str
"""adamw, tables, or the name of an optimizer's own rule: muon."""
BLOCKS = "blocks."
FINAL_NORM = "norm."
MATRICES = ("qkv.weight", "up.weight", "projection.weight", "down.weight")
INTO_STREAM = ("projection", "down")


@dataclass(frozen=True, kw_only=True)
class Factors:
    """The factors by which a parameter's settings are multiplied."""

    initial: float
    """Factor of the initial spread (or constant) at the tuned size."""
    rate: float
    decay: float
    epsilon: float


@runtime_checkable
class TransferRule(Protocol):
    """How the settings of each parameter follow from the size of its model."""

    def factors(self, name: str, rule: RuleName = "adamw") -> Factors:
        """Return the factors of the parameter called `name`, which is updated by `rule`."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How much wider and deeper a model is than the tuned one; 1 and 1 change nothing."""

    width: float = 1.0
    depth: float = 1.0

    def factors(self, name: str, rule: RuleName = "adamw") -> Factors:
        """Return the factors of the parameter called `name`, which is updated by `rule`."""
        initial = rate = epsilon = 1.0
        if name.startswith(FINAL_NORM):
            initial = rate = 1 / self.width
        else:
            epsilon /= self.width
        if name.startswith(BLOCKS):
            if name.endswith(MATRICES):
                initial = self.width**-0.5
                rate = 1.0 if rule == "muon" else 1 / self.width
            if name.rpartition(".")[0].endswith(INTO_STREAM):
                initial /= self.depth
                rate /= self.depth
            else:
                epsilon /= self.depth
        return Factors(initial=initial, rate=rate, decay=1 / rate, epsilon=epsilon)


def transfer(width: int, layers: int, transfer_from: tuple[int, ...]) -> Transfer:
    """Return the rule for a model of this width and depth. `transfer_from` is `optim.transfer_from`: empty, a width, or width
    and layers.
    """
    base = (*transfer_from, *(width, layers)[len(transfer_from) :])
    return Transfer(width=width / base[0], depth=layers / base[1])
