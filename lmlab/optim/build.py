"""The optimizer of a training run, built from a recipe's optim section and a model.

Its state is a dict of named tensors, such as `exp_avg/blocks.0.attention.qkv.weight`, that a checkpoint stores unchanged. Loading
copies each to its parameter's device with the same bits, so that N steps equal k steps, a save, a load into a new object, and
N - k steps. To skip a step, don't call `step`: there are no other counters. Where low-rank adapters are trained, they and the
frozen weights belong to the state.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lmlab import LabError
from lmlab.optim.adamw import AdamW
from lmlab.optim.adapters import TrainedAdapters, adapter_rule
from lmlab.optim.batch import at_batch
from lmlab.optim.groups import Group, parameter_groups, sizes_of
from lmlab.optim.kinds import kind_of
from lmlab.optim.rule import Owners, Rule
from lmlab.optim.tables import TableAdam
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.optim import Optim


@dataclass(frozen=True)
class Member:
    """One parameter of a `TrainingOptimizer` with its update rule, settings, name and state (references, not copies)."""

    optimizer: Rule
    settings: Mapping[str, Any]
    """The settings of its group as in PyTorch's param_groups, and `peak`, the peak learning rate that schedules scale."""
    name: str
    parameter: nn.Parameter
    state: Mapping[str, Tensor]
    rows: tuple[int, ...]
    """Under Muon the number of rows of each matrix in the parameter; empty for other rules."""


class TrainingOptimizer:
    """Combines several update rules in one optimizer. Created by `build_optimizer`, after the model was moved to its device."""

    def __init__(
        self,
        optimizers: Mapping[str, Rule],
        names: Mapping[nn.Parameter, str],
        adapters: TrainedAdapters | None = None,
    ) -> None:
        """`optimizers` are the rules by the name under which their learning rate is logged; `names` are the parameters' names.

        `adapters` has these parameters where they aren't the model's own, which follow from them.
        """
        self._optimizers = dict(optimizers)
        self._names = dict(names)
        self.adapters = adapters
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]
                group.setdefault("factor", 1.0)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all rules, as in PyTorch."""
        return [group for optimizer in self._optimizers.values() for group in optimizer.param_groups]

    def step(self) -> None:
        """Update every parameter from its gradient."""
        for optimizer in self._optimizers.values():
            optimizer.step()
        if self.adapters is not None:
            self.adapters.merge()

    @property
    def gated(self) -> bool:
        """Whether `step_unless` is implemented: for AdamW alone, where its kernels are fused."""
        return all(optimizer.gated for optimizer in self._optimizers.values())

    def step_unless(self, skip: Bool[Tensor, ""]) -> None:
        """Update every parameter, unless `skip`, on their device, is true; the host doesn't wait for it. See `Rule`."""
        for optimizer in self._optimizers.values():
            optimizer.step_unless(skip)
        if self.adapters is not None:  # after a skipped update the merged weights have the same bits as before
            self.adapters.merge()

    def divide(self, owners: Owners) -> None:
        """Let the rules divide work that needs no rank's own data among the ranks."""
        for optimizer in self._optimizers.values():
            optimizer.owners = owners

    def zero_grad(self) -> None:
        """Set all gradients to None, which frees their memory."""
        for parameter in self._names:
            parameter.grad = None

    def set_rate(self, share: float) -> None:
        """Set every learning rate to `share` of its peak."""
        for group in self.param_groups:
            group["lr"] = group["peak"] * share

    def rates(self, share: float | None = None) -> dict[str, float]:
        """Return the learning rates at `share` of their peaks (None: the current ones): `lr`, `adam_lr` of AdamW's parameters
        beside Muon, `table_lr` of n-gram tables.

        They are on the recipe's scale, without the factors of a transfer from another model size.
        """
        first = {name: optimizer.param_groups[0] for name, optimizer in self._optimizers.items()}
        rates = {name: group["lr"] if share is None else group["peak"] * share for name, group in first.items()}
        return {name: float(rate / first[name]["factor"]) for name, rate in rates.items()}

    def members(self) -> Iterator[Member]:
        """Yield every parameter once, with everything that determines its update."""
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                rows = group.get("rows") or [()] * len(group["params"])
                for parameter, divided in zip(group["params"], rows, strict=True):
                    yield Member(
                        optimizer, group, self._names[parameter], parameter, optimizer.state[parameter], divided
                    )

    def state_tensors(self) -> dict[str, Float[Tensor, "..."]]:
        """Return the whole state by name, as references: write or copy the tensors before the next step."""
        state = {
            f"{kind}/{name}": tensor
            for optimizer in self._optimizers.values()
            for parameter, name in self._names.items()
            for kind, tensor in optimizer.state.get(parameter, {}).items()
        }
        return state if self.adapters is None else state | self.adapters.state_tensors()

    def load_state_tensors(self, tensors: Mapping[str, Float[Tensor, "..."]]) -> None:
        """Load a state of `state_tensors`, from any device, with the same bits.

        LabError if a tensor is missing, unknown, or has another shape or dtype; the state doesn't change then.
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


def build_optimizer(
    model: nn.Module, optim: Optim, device_type: str, products: torch.dtype | None = None
) -> TrainingOptimizer:
    """Return the optimizer that `optim` describes, over the trainable parameters of `model`, with its state on their devices.

    `products` is the dtype of the matrix products of an update (None: that of the parameters). LabError if a parameter isn't on
    `device_type` yet, since its state wouldn't move with the model later.
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
    own = [
        {
            **_settings(group),
            "names": list(group.parameters),
            "weight_decay": group.weight_decay,
            "eps": group.eps,
        }
        for group in groups
        if group.rule not in ("adamw", "tables")
    ]
    if own:
        optimizers["lr"] = kind_of(optim).rule(own, optim, model, products)
    if plain:
        optimizers["adam_lr" if optimizers else "lr"] = AdamW(plain, optim.betas, optim.eps)
    tables = [{**_settings(group), "eps": group.eps} for group in groups if group.rule == "tables"]
    if tables:
        optimizers["table_lr"] = TableAdam(tables, optim.betas, optim.eps)
    return TrainingOptimizer(optimizers, names)


def optimizer_of(
    model: nn.Module,
    recipe: Recipe,
    device_type: str,
    products: torch.dtype | None = None,
    adapters: TrainedAdapters | None = None,
) -> TrainingOptimizer:
    """Return `build_optimizer` for a recipe, with rates scaled to its batch size if `optim.batch_from` is set.

    With `adapters` of the model it updates these, and then the weights that follow from them.
    """
    optim = at_batch(recipe.optim, recipe.train.batch)
    if adapters is None:
        return build_optimizer(model, optim, device_type, products)
    rule = adapter_rule(adapters, optim, recipe.train.lora_lr, sizes_of(model, optim))
    names = {parameter: name for name, parameter in adapters.parameters().items()}
    return TrainingOptimizer({"lr": rule}, names, adapters)


def _settings(group: Group) -> dict[str, Any]:
    """Return the settings of a group that all rules have, as in PyTorch's param_groups."""
    return {"params": list(group.parameters.values()), "lr": group.lr, "factor": group.factor}
