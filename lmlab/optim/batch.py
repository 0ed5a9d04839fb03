"""Adam's learning rate at another batch than the one at which it was tuned: `optim.batch_from`.

In come a recipe's optim section and its batch; out comes the section for that batch. With k = batch / batch_from, the square-root
rule of arXiv 2205.10287 makes the rate sqrt(k) times and epsilon 1/sqrt(k) times as large. It also makes 1 - beta k times as
large; here betas stay, because beta1 = .9 would be negative beyond k = 10. Muon's rate stays: its update has one size at any
batch. SGD's linear rule (arXiv 1706.02677) is for neither.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from lmlab.recipe.optim import AdamW, Optim


def at_batch(optim: Optim, batch: int) -> Optim:
    """`optim` with its rates moved from `optim.batch_from` to `batch` sequences a step; itself where that is none."""
    if optim.batch_from is None:
        return optim
    root = math.sqrt(batch / optim.batch_from)
    changes: dict[str, Any] = {"batch_from": None, "eps": optim.eps / root}
    changes["lr" if isinstance(optim, AdamW) else "adam_lr"] = root * (
        optim.lr if isinstance(optim, AdamW) else optim.adam_lr
    )
    if optim.table_lr is not None:
        changes["table_lr"] = root * optim.table_lr
    return dataclasses.replace(optim, **changes)
