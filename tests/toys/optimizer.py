"""The smallest optimizer: the sign of the gradient, for every parameter."""

from dataclasses import dataclass
from typing import Literal

import torch

from lmlab.optim.kinds import OptimizerKind
from lmlab.optim.rule import Rule
from lmlab.recipe.setting import setting


@dataclass(frozen=True, kw_only=True)
class Sign:
    """The settings in a recipe."""

    kind: Literal["sign"] = "sign"
    lr: float = setting(1e-3, above=0.0)
    weight_decay: float = setting(0.0, at_least=0.0)
    decay: Literal["matrices", "all"] = setting("matrices")
    betas: tuple[float, float] = setting((0.9, 0.99), at_least=0.0, below=1.0)
    eps: float = setting(1e-8, above=0.0)
    clip: float = setting(0.0, at_least=0.0)
    clip_steps: tuple[int, ...] = setting((), at_least=1)
    clip_then: tuple[float, ...] = setting((), at_least=0.0)
    adaptive_clip: float = setting(0.0, at_least=0.0)
    table_lr: float | None = setting(None, above=0.0)
    transfer_from: tuple[int, ...] = setting((), at_least=1)
    batch_from: int | None = setting(None, at_least=1)


class SignRule(Rule):
    """The update. It has no state."""

    def __init__(self, groups):
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self):
        """Move every parameter by the learning rate."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(group["lr"] * parameter.grad.sign())


class SignKind(OptimizerKind):
    """What lmlab asks about it."""

    settings = Sign
    rule_name = "sign"
    engine_updates = False

    def owned(self, model, named):
        """Everything."""
        return dict(named)

    def rule(self, groups, optim, model, products):
        """See `OptimizerKind`."""
        return SignRule(groups)
