"""Which parameter is updated by which rule, and which ones decay.

In come a model and a recipe's optim section; out come groups that cover every trainable parameter exactly once, tied
weights under the first of their names.

- decay: tensors with two or more axes, embeddings too, as nanoGPT does (`matrices`), or every tensor (`all`);
- Muon: tensors of two axes whose name lies under `blocks.`, which are the projections of attention and MLP or the layers of a
  context-propagation model, and those under `gates.`, which say how its vector changes. Embeddings and head are tables with a
  row a token, where orthogonality means nothing; they, norms, biases and scalars are left to AdamW
  (kellerjordan.github.io/posts/muon);
- n-gram tables, whose names lie under `ngram_tables.`, are updated row by row (`tables.py`) and never decay;
- where rates transfer from a smaller model, each group has the rate, decay and epsilon of its size (`lmlab.scaling.transfer`);
- a fused `qkv` projection is three matrices to Muon (queries, keys, values), because each has a purpose and a scale of
  its own, and so are fused gates; swiglu's fused gate and value stay one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from lmlab import LabError
from lmlab.recipe.model import GPT, Context
from lmlab.recipe.optim import Muon, Optim
from lmlab.scaling.transfer import Factors, RuleName, Transfer, transfer
from lmlab.scaling.transfer_context import ContextTransfer, context_transfer

BLOCKS = "blocks."
MATRICES = (BLOCKS, "gates.")
TABLES = "ngram_tables."


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters that are updated alike."""

    rule: RuleName
    lr: float
    """Peak learning rate."""
    factor: float = 1.0
    """What that is of the recipe's rate."""
    weight_decay: float
    eps: float
    parameters: dict[str, nn.Parameter]


def parameter_groups(model: nn.Module, optim: Optim) -> list[Group]:
    """The groups of `model` under `optim`, none of them empty. LabError where Muon finds no matrix to update."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    matrices: dict[str, nn.Parameter] = {}
    parts: list[tuple[RuleName, float, float, dict[str, nn.Parameter]]] = []
    lr = optim.lr
    if isinstance(optim, Muon):
        matrices = {name: entry for name, entry in named.items() if name.startswith(MATRICES) and entry.ndim == 2}
        if not matrices:
            raise LabError(f"muon found no matrix under {BLOCKS!r} in {type(model).__name__}: use optim.kind adamw")
        parts.append(("muon", optim.lr, optim.weight_decay, matrices))
        lr = optim.adam_lr
    tables = {name: entry for name, entry in named.items() if name.startswith(TABLES)}
    rest = {name: parameter for name, parameter in named.items() if name not in matrices and name not in tables}
    decaying = {name: entry for name, entry in rest.items() if optim.decay == "all" or entry.ndim >= 2}
    still = {name: entry for name, entry in rest.items() if name not in decaying}
    parts.append(("adamw", lr, optim.weight_decay, decaying))
    parts.append(("adamw", lr, 0.0, still))
    parts.append(("tables", lr if optim.table_lr is None else optim.table_lr, 0.0, tables))
    sizes = _sizes(model, optim)
    groups = [group for part in parts for group in _sized(*part, optim.eps, sizes)]
    assert_covered(groups, model.parameters())
    return groups


def _sizes(model: nn.Module, optim: Optim) -> Transfer | ContextTransfer:
    """How the model's size compares with the one at which the rates were tuned."""
    if not optim.transfer_from:
        return Transfer()
    config = model.config
    if isinstance(config, Context):
        return context_transfer(config, optim.transfer_from)
    assert isinstance(config, GPT)
    return transfer(config.width, config.layers, optim.transfer_from)


def _sized(
    rule: RuleName,
    lr: float,
    weight_decay: float,
    parameters: dict[str, nn.Parameter],
    eps: float,
    sizes: Transfer | ContextTransfer,
) -> list[Group]:
    """The parameters by the factors of their size, in the order in which those are met first."""
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
    """AssertionError unless every trainable parameter stands in exactly one group, once."""
    grouped = [id(parameter) for group in groups for parameter in group.parameters.values()]
    wanted = {id(parameter) for parameter in parameters if parameter.requires_grad}
    if len(grouped) != len(set(grouped)) or set(grouped) != wanted:
        distinct = len(set(grouped))
        raise AssertionError(f"{len(wanted)} parameters were grouped as {len(grouped)}, {distinct} of them distinct")


def matrix_rows(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Rows of the separate matrices inside each fused projection of `model`, by parameter name.

    An attention module says so itself, with `qkv_rows` beside its `qkv`, and gates with their `matrix_rows`.
    """
    modules = dict(model.named_modules())
    fused = {f"{name}.qkv": module.qkv_rows for name, module in modules.items() if hasattr(module, "qkv_rows")}
    fused |= {name: module.matrix_rows for name, module in modules.items() if hasattr(module, "matrix_rows")}
    return {f"{name}.weight": tuple(rows) for name, rows in fused.items()}
