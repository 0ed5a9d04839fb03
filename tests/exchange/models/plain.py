"""GPT-2's formula in plain operations, on weights under any names: what imports are held against."""

import math

import torch
from torch.nn import functional as F


def plain_gpt(weight, layers, heads, tokens, gelu, tied=True):
    """Logits of GPT-2 (Radford et al., 2019), in the weights' own precision.

    `weight(name, layer)` returns a tensor, matrices as [outputs, inputs], or None for a bias that isn't there. Names: token,
    position, norm1, query, key, value, out, norm2, up, down, norm, head; each with ".b" for its bias.
    """

    def linear(x, name, layer):
        return F.linear(x, weight(name, layer), weight(f"{name}.b", layer))

    def norm(x, name, layer):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight(name, layer)
        return scaled if weight(f"{name}.b", layer) is None else scaled + weight(f"{name}.b", layer)

    time = tokens.shape[1]
    x = weight("token", None)[tokens] + weight("position", None)[:time]
    hidden_from = torch.ones(time, time, dtype=torch.bool).triu(1)
    for layer in range(layers):
        y = norm(x, "norm1", layer)
        parts = [
            linear(y, name, layer).unflatten(-1, (heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
        ]
        scores = parts[0] @ parts[1].transpose(-1, -2) / math.sqrt(parts[0].shape[-1])
        mixed = scores.masked_fill(hidden_from, -math.inf).softmax(-1) @ parts[2]
        x = x + linear(mixed.transpose(1, 2).flatten(2), "out", layer)
        x = x + linear(gelu(linear(norm(x, "norm2", layer), "up", layer)), "down", layer)
    return norm(x, "norm", None) @ (weight("token", None) if tied else weight("head", None)).T


def exact_gelu(x):
    """x Phi(x)."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def tanh_gelu(x):
    """OpenAI's approximation."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
