"""The optimizer of a training of low-rank adapters: AdamW over their factors, after which the model's weights are merged again.

With optim.lr the rate of a training of all weights, the factors' rate is `train.lora_lr` times that. The ratio of the best rates
of the two was about 10 for models of a billion parameters and more in "LoRA Without Regret" (J. Schulman et al.,
thinkingmachines.ai/blog/lora, 2025), with alpha 32, whose scale alpha / rank makes the best rate nearly independent of the rank.
The default is 3: a model of lmlab's base-small diverged at 10 times its own peak rate, and of 1, 3, 10 and 30 times the best rate
of all weights 3 was best. Weight decay is divided by the same number, so that a step shrinks a factor by optim.lr x
optim.weight_decay, as it would a weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from lmlab.optim.adamw import AdamW
from lmlab.recipe.optim import Optim
from lmlab.scaling.transfer import TransferRule


@runtime_checkable
class TrainedAdapters(Protocol):
    """What is trained instead of a model's own weights."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trained tensors by name."""

    def weight_of(self, name: str) -> str:
        """Return the name of the model's tensor that the parameter called `name` changes."""

    def state_tensors(self) -> dict[str, Tensor]:
        """Return all that the model's own tensors lack for the next step, as references."""

    def merge(self) -> None:
        """Set the model's weights from the adapters."""

    def begin(self) -> None:
        """Begin at the model's present weights."""


def adapter_rule(adapters: TrainedAdapters, optim: Optim, multiple: float, sizes: TransferRule) -> AdamW:
    """Return AdamW over the factors, at `multiple` times the rate, and the same decay and epsilon, of the weights they change."""
    groups: list[Mapping[str, Any]] = []
    parted: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for name, parameter in adapters.parameters().items():
        factors = sizes.factors(adapters.weight_of(name))
        parted.setdefault((factors.rate, factors.decay, factors.epsilon), []).append(parameter)
    for (rate, decay, epsilon), members in parted.items():
        groups.append(
            {
                "params": members,
                "lr": optim.lr * rate * multiple,
                "factor": rate,
                "weight_decay": optim.weight_decay * decay / multiple,
                "eps": optim.eps * epsilon,
            }
        )
    return AdamW(groups, optim.betas, optim.eps)
