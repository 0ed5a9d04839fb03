"""The weights of a page: base64 of float32, or of int8 with a float32 scale for each row of a matrix.

    int8:  row -> scale = max |row| / 127;  values = round(row / scale)

Vectors (norms, biases, learned shares) stay float32. Rounding is to the nearest, so that an error is at most half a scale.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int8
from torch import Tensor

WeightsName = Literal["float32", "int8"]
LARGEST = 127


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A model's weights as a page stores them."""

    kind: WeightsName
    entries: tuple[Mapping[str, Any], ...]
    """Name, shape, number type and element id of each tensor."""
    texts: Mapping[str, str]
    """Element id -> base64."""
    stored: Mapping[str, Tensor]
    """Name -> the values as the page computes with them, float32."""

    @property
    def characters(self) -> int:
        """The length of all texts."""
        return sum(len(text) for text in self.texts.values())


def pack(weights: Mapping[str, Tensor], kind: WeightsName) -> Packed:
    """Return weights (names -> float32 on the CPU, of one or two axes) as a page stores them."""
    entries, texts, stored = [], {}, {}
    for number, (name, tensor) in enumerate(weights.items()):
        rounded = kind == "int8" and tensor.dim() == 2
        if rounded:
            values, scales = quantised(tensor)
            content = _bytes(scales) + values.numpy().tobytes()
            stored[name] = values.float() * scales.unsqueeze(1)
        else:
            content, stored[name] = _bytes(tensor), tensor
        identity = f"tensor-{number}"
        shape = list(tensor.shape)
        entries.append({"name": name, "shape": shape, "kind": "int8" if rounded else "float32", "id": identity})
        texts[identity] = base64.b64encode(content).decode()
    return Packed(kind=kind, entries=tuple(entries), texts=texts, stored=stored)


def quantised(
    matrix: Float[Tensor, "rows columns"],
) -> tuple[Int8[Tensor, "rows columns"], Float[Tensor, " rows"]]:
    """Return the int8 values of a matrix and the scale of each row, so that values x scale is near the matrix."""
    scales = matrix.abs().amax(dim=1) / LARGEST
    divisors = torch.where(scales > 0, scales, torch.ones_like(scales))
    return (matrix / divisors.unsqueeze(1)).round().clamp(-LARGEST, LARGEST).to(torch.int8), scales


def base64_floats(tensor: Float[Tensor, "..."]) -> str:
    """Return the numbers as base64 of little-endian float32."""
    return base64.b64encode(_bytes(tensor)).decode()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().astype("<f4").tobytes()
