"""The context-propagation model written from its equations, a token at a time, with autograd's own gradients; and small models."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lmlab.model.build import build_model
from lmlab.model.context import ContextModel
from lmlab.recipe.model import Context

VOCABULARY = 11
SHAPES: dict[str, dict] = {
    "three_layers": {"layers": 3, "width": 6, "hidden": 10, "vector": 4, "context": 12},
    "one_layer": {"layers": 1, "width": 5, "hidden": 8, "vector": 3, "context": 12},
    "wide_vector": {"layers": 2, "width": 3, "hidden": 7, "vector": 9, "context": 12},
    "residual": {"layers": 3, "width": 6, "hidden": 10, "vector": 4, "context": 12, "residual": True},
    "one_layer_normed": {"layers": 1, "width": 5, "hidden": 8, "vector": 3, "context": 12, "residual": True},
}


def settings(name: str, **changes: object) -> Context:
    """The recipe's model of a shape, without dropout."""
    return Context(**{"dropout": 0.0, **SHAPES[name], **changes})


def random_context(
    config: Context, seed: int = 0, dtype: torch.dtype = torch.float64, scale: float = 0.5
) -> ContextModel:
    """A model in which every parameter is random; its norm's scale is so large that vectors reach their limit."""
    model = build_model(config, VOCABULARY).to(dtype)
    assert isinstance(model, ContextModel)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 8.0 if name == "norm.weight" else scale
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return model


def slow_logits(
    model: ContextModel, tokens: Tensor, masks: Sequence[Tensor] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Logits [batch time vocabulary] and the vector after each token; `masks[t][layer]` is what dropout multiplies with."""
    config, weight = model.config, dict(model.named_parameters())
    gates = weight["gates.weight"].split(config.vector), weight["gates.bias"].split(config.vector)
    vector = torch.zeros(len(tokens), config.vector, dtype=weight["norm.weight"].dtype)
    logits, vectors = [], []
    for step in range(tokens.shape[1]):
        x = torch.cat((weight["embedding.weight"][tokens[:, step]], vector), dim=1)
        stream = torch.zeros(len(tokens), config.hidden, dtype=x.dtype)
        for layer in range(config.layers):
            x = torch.relu(x @ weight[f"blocks.{layer}.weight"].T + weight[f"blocks.{layer}.bias"])
            if masks is not None:
                x = x * masks[step][layer]
            if config.residual:
                stream = stream + x
                x = stream / torch.sqrt(stream.square().mean(dim=1, keepdim=True) + 1e-5)
        logits.append(x @ weight["head.weight"].T + weight["head.bias"])
        candidate, forget, admit = (x @ matrix.T + bias for matrix, bias in zip(*gates, strict=True))
        mixed = torch.sigmoid(forget) * vector + torch.sigmoid(admit) * candidate
        off = mixed - mixed.mean(dim=1, keepdim=True)
        normed = off / torch.sqrt(off.square().mean(dim=1, keepdim=True) + 1e-5)
        vector = torch.clamp(normed * weight["norm.weight"] + weight["norm.bias"], -10, 10)
        vectors.append(vector)
    return torch.stack(logits, dim=1), vectors
