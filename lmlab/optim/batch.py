"""Scaling of Adam's learning rate from the batch size at which it was tuned, `optim.batch_from`, to another.

With k = batch / batch_from, the square-root rule of arXiv 2205.10287 multiplies the learning rate by sqrt(k) and epsilon by
1/sqrt(k). It also multiplies 1 - beta by k; here betas stay, because beta1 = .9 would be negative beyond k = 10. Muon's rate stays
too, since the size of its update doesn't depend on the batch. SGD's linear rule (arXiv 1706.02677) applies to neither.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from lmlab.recipe.optim import Muon, Optim


def at_batch(optim: Optim, batch: int) -> Optim:
    """Return `optim` with its rates scaled from `optim.batch_from` to `batch` sequences a step; unchanged if that is None."""
    if optim.batch_from is None:
        return optim
    root = math.sqrt(batch / optim.batch_from)
    changes: dict[str, Any] = {"batch_from": None, "eps": optim.eps / root}
    name = "adam_lr" if isinstance(optim, Muon) else "lr"
    changes[name] = root * getattr(optim, name)
    if optim.table_lr is not None:
        changes["table_lr"] = root * optim.table_lr
    return dataclasses.replace(optim, **changes)
