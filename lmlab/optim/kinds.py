"""The registry of optimizers: which parameters each updates by a rule of its own, and by which rule.

Parameters that an optimizer's own rule doesn't update are left to AdamW, and n-gram tables to Adam by rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from lmlab import LabError
from lmlab.optim.adamw import AdamW as AdamWRule
from lmlab.optim.muon import Muon as MuonRule
from lmlab.optim.rule import Rule
from lmlab.recipe.kinds import add_kind
from lmlab.recipe.optim import AdamW, Muon, Optim

BLOCKS = "blocks."
MATRICES = (BLOCKS, "gates.")


class OptimizerKind:
    """AdamW for everything, the default of each method. The arguments `optim` are its settings, of the type `settings`."""

    settings: ClassVar[type] = AdamW
    rule_name: ClassVar[str] = ""
    """The name of the optimizer's own rule, by which transfer rules know it; empty: it has none."""
    engine_updates: ClassVar[bool] = True
    """Whether the native engine has the optimizer's own rule."""

    def owned(self, model: nn.Module, named: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Return those of the trainable parameters that the optimizer's own rule updates, at `optim.lr`. LabError if it finds none
        of those that it is for.
        """
        return {}

    def rest_lr(self, optim: Any) -> float:
        """Return the peak learning rate of the parameters that are left to AdamW."""
        return float(optim.lr)

    def rule(
        self, groups: Sequence[Mapping[str, Any]], optim: Any, model: nn.Module, products: torch.dtype | None
    ) -> Rule:
        """Return the rule for these groups of its parameters: `params`, `names`, `lr`, `factor`, `weight_decay`, `eps`.

        `products` is the dtype of matrix products of its own, if it computes any (None: the parameters' dtype).
        """
        return AdamWRule(groups, optim.betas, optim.eps)


class MuonKind(OptimizerKind):
    """Orthogonalised momentum for the matrices of blocks and gates."""

    settings = Muon
    rule_name = "muon"

    def owned(self, model: nn.Module, named: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Return the tensors with two axes under `blocks.` and `gates.`."""
        matrices = {name: entry for name, entry in named.items() if name.startswith(MATRICES) and entry.ndim == 2}
        if not matrices:
            raise LabError(f"muon found no matrix under {BLOCKS!r} in {type(model).__name__}: use optim.kind adamw")
        return matrices

    def rest_lr(self, optim: Muon) -> float:
        """See `OptimizerKind`."""
        return optim.adam_lr

    def rule(
        self, groups: Sequence[Mapping[str, Any]], optim: Muon, model: nn.Module, products: torch.dtype | None
    ) -> Rule:
        """See `OptimizerKind`; the matrices of a fused projection are orthogonalised separately."""
        fused = matrix_rows(model)
        matrices = [
            {
                **{name: group[name] for name in ("params", "lr", "factor", "weight_decay")},
                "rows": [
                    fused.get(name, (len(parameter),))
                    for name, parameter in zip(group["names"], group["params"], strict=True)
                ],
            }
            for group in groups
        ]
        return MuonRule(matrices, optim.momentum, optim.iterations, products)


KINDS: dict[type, OptimizerKind] = {AdamW: OptimizerKind(), Muon: MuonKind()}
"""Type of the settings -> its optimizer."""


def add_optimizer(kind: OptimizerKind) -> None:
    """Register an optimizer, and its settings as a kind of the recipe's optim section. ValueError if the kind is known already."""
    add_kind("optim", kind.settings)
    KINDS[kind.settings] = kind


def kind_of(optim: Optim) -> OptimizerKind:
    """Return the optimizer of a recipe's settings."""
    return KINDS[type(optim)]


def matrix_rows(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the numbers of rows of the separate matrices in each fused projection of `model`, by parameter name.

    Attention modules have them as `qkv_rows` (of their `qkv`), gates as `matrix_rows`.
    """
    modules = dict(model.named_modules())
    fused = {f"{name}.qkv": module.qkv_rows for name, module in modules.items() if hasattr(module, "qkv_rows")}
    fused |= {name: module.matrix_rows for name, module in modules.items() if hasattr(module, "matrix_rows")}
    return {f"{name}.weight": tuple(rows) for name, rows in fused.items()}
