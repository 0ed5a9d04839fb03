"""Parameter groups: which rule updates which parameter, and which parameters have weight decay.

The groups cover every trainable parameter exactly once, tied weights under the first of their names.

- decay: tensors with two or more axes, embeddings included, as in nanoGPT (`matrices`), or all tensors (`all`);
- Muon: tensors with two axes whose name begins with `blocks.`, which are the projections of attention and MLP or the layers of a
  context-propagation model, or with `gates.`, the matrices of its gates. Embeddings and head have one row per token, for which
  orthogonality is meaningless; AdamW updates them, and norms, biases and scalars (kellerjordan.github.io/posts/muon);
- n-gram tables, whose names begin with `ngram_tables.`, are updated row by row (`tables.py`) and never decay;
- if rates are transferred from a smaller model, each group has the rate, decay and epsilon of its size (`lmlab.scaling.transfer`);
- Muon orthogonalises the three matrices of a fused `qkv` projection (queries, keys, values) separately, because each has its own
  purpose and scale, and so those of fused gates; swiglu's fused gate and value are one matrix.

Another optimizer is registered in `kinds.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from lmlab.optim.kinds import kind_of
from lmlab.recipe.optim import Optim
from lmlab.scaling.transfer import Factors, RuleName, Transfer, TransferRule

TABLES = "ngram_tables."


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters with the same update rule and settings."""

    rule: RuleName
    lr: float
    """Peak learning rate."""
    factor: float = 1.0
    """`lr` divided by the recipe's learning rate."""
    weight_decay: float
    eps: float
    parameters: dict[str, nn.Parameter]


def parameter_groups(model: nn.Module, optim: Optim) -> list[Group]:
    """Return the groups of `model` under `optim`, none of them empty. LabError if there is no matrix for Muon."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    kind = kind_of(optim)
    matrices = kind.owned(model, named)
    parts: list[tuple[RuleName, float, float, dict[str, nn.Parameter]]] = []
    if matrices:
        parts.append((kind.rule_name, optim.lr, optim.weight_decay, matrices))
    lr = kind.rest_lr(optim)
    tables = {name: entry for name, entry in named.items() if name.startswith(TABLES)}
    rest = {name: parameter for name, parameter in named.items() if name not in matrices and name not in tables}
    decaying = {name: entry for name, entry in rest.items() if optim.decay == "all" or entry.ndim >= 2}
    still = {name: entry for name, entry in rest.items() if name not in decaying}
    parts.append(("adamw", lr, optim.weight_decay, decaying))
    parts.append(("adamw", lr, 0.0, still))
    parts.append(("tables", lr if optim.table_lr is None else optim.table_lr, 0.0, tables))
    sizes = sizes_of(model, optim)
    groups = [group for part in parts for group in _sized(*part, optim.eps, sizes)]
    assert_covered(groups, model.parameters())
    return groups


def sizes_of(model: nn.Module, optim: Optim) -> TransferRule:
    """Return the transfer from the size at which the rates were tuned to the model's size (`TrainableModel.transfer_rule`)."""
    if not optim.transfer_from:
        return Transfer()
    scaled: Any = model
    rule: TransferRule = scaled.transfer_rule(optim.transfer_from)
    return rule


def _sized(
    rule: RuleName,
    lr: float,
    weight_decay: float,
    parameters: dict[str, nn.Parameter],
    eps: float,
    sizes: TransferRule,
) -> list[Group]:
    """Return the parameters grouped by the factors of their size, in order of first occurrence."""
    parted: dict[Factors, dict[str, nn.Parameter]] = {}
    for name, parameter in parameters.items():
        parted.setdefault(sizes.factors(name, rule), {})[name] = parameter
    return [
        Group(
            rule=rule,
            lr=lr * factors.rate,
            factor=factors.rate,
            weight_decay=weight_decay * factors.decay,
            eps=eps * factors.epsilon,
            parameters=members,
        )
        for factors, members in parted.items()
    ]


def assert_covered(groups: Iterable[Group], parameters: Iterable[nn.Parameter]) -> None:
    """Raise an AssertionError unless every trainable parameter is in exactly one group, once."""
    grouped = [id(parameter) for group in groups for parameter in group.parameters.values()]
    wanted = {id(parameter) for parameter in parameters if parameter.requires_grad}
    if len(grouped) != len(set(grouped)) or set(grouped) != wanted:
        distinct = len(set(grouped))
        raise AssertionError(f"{len(wanted)} parameters were grouped as {len(grouped)}, {distinct} of them distinct")
