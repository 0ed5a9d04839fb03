"""Low-rank adapters of a model (LoRA, arXiv 2106.09685): all that a training with `train.lora_rank` changes.

While adapters are attached, the model's own tensors hold the merged weights W = W0 + s B A after every update, so that evaluation,
samples and checkpoints are those of an ordinary model. Initial values follow the authors' code (github.com/microsoft/LoRA): A is
uniform in +-1/sqrt(inputs) and B zero, so that the model at first is its parent bit for bit. A is a pure function of the seed and
its name, as initial weights are.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmlab.model.adapter_cost import adapted_layers
from lmlab.model.initial import tensor_seed
from lmlab.model.layers import Linear
from lmlab.model.low_rank import Adapter
from lmlab.model.trainable import TrainableModel
from lmlab.recipe import Recipe


class Adapters:
    """The adapters of a model, by the names of its linear layers."""

    def __init__(self, adapters: Mapping[str, Adapter], seed: int) -> None:
        self._adapters = dict(adapters)
        self._seed = seed

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trained tensors by name, in the order of the model's layers."""
        return {
            f"{name}.{kind}": parameter
            for name, adapter in self._adapters.items()
            for kind, parameter in (("lora_a", adapter.a), ("lora_b", adapter.b))
        }

    def weight_of(self, name: str) -> str:
        """Return the name of the model's tensor that the parameter called `name` changes."""
        return f"{name.rpartition('.')[0]}.weight"

    def state_tensors(self) -> dict[str, Float[Tensor, "..."]]:
        """Return all that the model's own tensors lack for the next step, as references: the factors and the frozen matrices."""
        factors = {f"lora/{name}": parameter.detach() for name, parameter in self.parameters().items()}
        return factors | {f"base/{name}.weight": adapter.base for name, adapter in self._adapters.items()}

    def merge(self) -> None:
        """Set the model's weights from the adapters."""
        for adapter in self._adapters.values():
            adapter.merge()

    @torch.no_grad()
    def begin(self) -> None:
        """Begin at the model's present weights: they become the frozen ones, A is drawn, and B is zero."""
        for name, adapter in self._adapters.items():
            adapter.base.copy_(adapter.weight)
            generator = torch.Generator().manual_seed(tensor_seed(self._seed, f"{name}.lora_a"))
            bound = 1 / math.sqrt(adapter.a.shape[1])
            adapter.a.copy_(torch.empty(adapter.a.shape).uniform_(-bound, bound, generator=generator))
            adapter.b.zero_()


def attach_adapters(model: TrainableModel, recipe: Recipe) -> Adapters | None:
    """Freeze `model` and return new adapters of its layers, on its device; None, and nothing changes, without `train.lora_rank`.

    The adapters begin at the model's present weights. LabError if the model can't have them.
    """
    layers = adapted_layers(recipe)
    if not layers:
        return None
    model.requires_grad_(False)
    rank = recipe.train.lora_rank
    adapters = {}
    for name, layer in _linear_layers(model, layers):
        outputs, inputs = layer.weight.shape
        adapters[name] = layer.adapter = Adapter(
            weight=layer.weight,
            base=layer.weight.detach().clone(),
            a=nn.Parameter(layer.weight.new_empty(rank, inputs)),
            b=nn.Parameter(layer.weight.new_empty(outputs, rank)),
            scale=recipe.train.lora_alpha / rank,
        )
    attached = Adapters(adapters, recipe.train.seed)
    attached.begin()
    return attached


def _linear_layers(model: nn.Module, names: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, Linear]]:
    for name in names:
        layer = model.get_submodule(name)
        assert isinstance(layer, Linear), f"{name} is no linear layer"
        yield name, layer
