"""The optimizer of a training run: from a recipe's optim section and a model to one object that steps, saves and loads.

Its state is named tensors, `exp_avg/blocks.0.attention.qkv.weight`, that go into a checkpoint as they are. Loading puts
each onto its parameter's device and gives the same bits that were saved, so that N steps equal k steps, a save, a load
into a new object, and N - k steps. To skip a step, don't call `step`: nothing here counts by itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lmlab import LabError
from lmlab.optim.adamw import AdamW
from lmlab.optim.batch import at_batch
from lmlab.optim.groups import Group, matrix_rows, parameter_groups
from lmlab.optim.muon import Muon
from lmlab.optim.rule import Rule
from lmlab.optim.tables import TableAdam
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.optim import Muon as MuonSettings
from lmlab.recipe.optim import Optim


@dataclass(frozen=True)
class Member:
    """One parameter of a `TrainingOptimizer`: its rule and settings, its name and its state, the live objects."""

    optimizer: Rule
    settings: Mapping[str, Any]
    """Those of its group in PyTorch's form, and `peak`, the learning rate of which schedules give a share."""
    name: str
    parameter: nn.Parameter
    state: Mapping[str, Tensor]
    rows: tuple[int, ...]
    """Under Muon how many rows each matrix in it has, else none."""


class TrainingOptimizer:
    """Several rules behind one face. Made by `build_optimizer`, after the model was moved to its device."""

    def __init__(self, optimizers: Mapping[str, Rule], names: Mapping[nn.Parameter, str]) -> None:
        """`optimizers` by the name under which their rate is logged; `names` of all their parameters."""
        self._optimizers = dict(optimizers)
        self._names = dict(names)
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]
                group.setdefault("factor", 1.0)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """All groups, in PyTorch's form."""
        return [group for optimizer in self._optimizers.values() for group in optimizer.param_groups]

    def step(self) -> None:
        """Update every parameter from its gradient."""
        for optimizer in self._optimizers.values():
            optimizer.step()

    def zero_grad(self) -> None:
        """Drop the gradients (set them to None, which frees their memory)."""
        for parameter in self._names:
            parameter.grad = None

    def set_rate(self, share: float) -> None:
        """Set every learning rate to `share` of its peak."""
        for group in self.param_groups:
            group["lr"] = group["peak"] * share

    def rates(self) -> dict[str, float]:
        """The learning rates now: `lr`, `adam_lr` where Muon leaves parameters to AdamW, `table_lr` of n-gram tables.

        Those of the recipe, before a transfer from another size.
        """
        first = {name: optimizer.param_groups[0] for name, optimizer in self._optimizers.items()}
        return {name: float(group["lr"] / group["factor"]) for name, group in first.items()}

    def members(self) -> Iterator[Member]:
        """Every parameter once, with all that decides its update."""
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                rows = group.get("rows") or [()] * len(group["params"])
                for parameter, divided in zip(group["params"], rows, strict=True):
                    yield Member(
                        optimizer, group, self._names[parameter], parameter, optimizer.state[parameter], divided
                    )

    def state_tensors(self) -> dict[str, Float[Tensor, "..."]]:
        """The whole state by name, the live tensors themselves: write or copy them before the next step."""
        return {
            f"{kind}/{name}": tensor
            for optimizer in self._optimizers.values()
            for parameter, name in self._names.items()
            for kind, tensor in optimizer.state.get(parameter, {}).items()
        }

    def load_state_tensors(self, tensors: Mapping[str, Float[Tensor, "..."]]) -> None:
        """Take over a state from `state_tensors`, from any device, bit for bit.

        LabError where a tensor is missing, unknown, or of another shape or dtype; nothing has been changed then.
        """
        live = self.state_tensors()
        for name in sorted(live.keys() ^ tensors.keys()):
            what = "lacks" if name in live else "has an unknown"
            raise LabError(f"the optimizer's state {what} {name}: expected one of this model and optim.kind")
        for name, tensor in live.items():
            if tensor.shape != tensors[name].shape or tensor.dtype != tensors[name].dtype:
                found, expected = tensors[name], tensor
                raise LabError(
                    f"the optimizer's {name} is {found.dtype} {tuple(found.shape)}: "
                    f"expected {expected.dtype} {tuple(expected.shape)}"
                )
        for name, tensor in live.items():
            tensor.copy_(tensors[name])


def build_optimizer(model: nn.Module, optim: Optim, device_type: str) -> TrainingOptimizer:
    """The optimizer that `optim` describes, over the trainable parameters of `model`, beside which its state lives.

    LabError where a parameter isn't on `device_type` yet: its state would stay behind when the model moves.
    """
    groups = parameter_groups(model, optim)
    names = {parameter: name for group in groups for name, parameter in group.parameters.items()}
    for parameter, name in names.items():
        if parameter.device.type != device_type:
            raise LabError(
                f"{name} is on {parameter.device}: move the model to {device_type} before its optimizer is built"
            )
    plain = [
        {**_settings(group), "weight_decay": group.weight_decay, "eps": group.eps}
        for group in groups
        if group.rule == "adamw"
    ]
    optimizers: dict[str, Rule] = {}
    if isinstance(optim, MuonSettings):
        fused = matrix_rows(model)
        matrices = [
            {
                **_settings(group),
                "rows": [fused.get(name, (len(parameter),)) for name, parameter in group.parameters.items()],
                "weight_decay": group.weight_decay,
            }
            for group in groups
            if group.rule == "muon"
        ]
        optimizers["lr"] = Muon(matrices, optim.momentum, optim.iterations)
    if plain:
        optimizers["adam_lr" if optimizers else "lr"] = AdamW(plain, optim.betas, optim.eps)
    tables = [{**_settings(group), "eps": group.eps} for group in groups if group.rule == "tables"]
    if tables:
        optimizers["table_lr"] = TableAdam(tables, optim.betas, optim.eps)
    return TrainingOptimizer(optimizers, names)


def optimizer_of(model: nn.Module, recipe: Recipe, device_type: str) -> TrainingOptimizer:
    """`build_optimizer` for a recipe, whose batch decides the rates where `optim.batch_from` names another."""
    return build_optimizer(model, at_batch(recipe.optim, recipe.train.batch), device_type)


def _settings(group: Group) -> dict[str, Any]:
    """What every rule is told of a group, in PyTorch's form."""
    return {"params": list(group.parameters.values()), "lr": group.lr, "factor": group.factor}
