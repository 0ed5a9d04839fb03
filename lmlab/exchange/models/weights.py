"""Weights of other projects under our names, and ours under theirs, by a table of names (`tables`)."""

import re
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lmlab import LabError
from lmlab.exchange.models.tables import Piece, Table
from lmlab.model.build import build_model
from lmlab.model.gpt_shapes import head_width, hidden_width, key_value_heads
from lmlab.recipe.model import GPT

LAYER = re.compile(r"blocks\.(\d+)\.(.*)")
MOST_NAMED = 3


def shapes(model: GPT, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of our tensors, without allocating any."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build_model(model, vocabulary).state_dict().items()}


def ours(
    theirs: Mapping[str, Shaped[Tensor, "..."]], table: Table, passed_over: re.Pattern[str], model: GPT, vocabulary: int
) -> dict[str, Float[Tensor, "..."]]:
    """Return the model's tensors in float32, from those of the other project.

    Names that match `passed_over` are no weights, such as masks. LabError, without the file's name, for a tensor that is missing,
    has another shape, or is of no use to the model.
    """
    found, used = {}, set()
    for name, shape in shapes(model, vocabulary).items():
        pieces = list(_pieces(name, table, model, shape[0]))
        used |= {piece.name for piece, _ in pieces}
        rows = [_piece(theirs, piece, (count, *shape[1:]), model) for piece, count in pieces]
        found[name] = rows[0] if len(rows) == 1 else torch.cat(rows)
    unknown = sorted(name for name in theirs.keys() - used if not passed_over.search(name))
    if unknown:
        more = f" and {len(unknown) - MOST_NAMED} more" if len(unknown) > MOST_NAMED else ""
        raise LabError(f"it has weights that lmlab's model has no place for: {', '.join(unknown[:MOST_NAMED])}{more}")
    return found


def theirs(
    mine: Mapping[str, Float[Tensor, "..."]], table: Table, model: GPT, vocabulary: int
) -> dict[str, Float[Tensor, "..."]]:
    """Return our tensors under the other project's names, contiguous; `model` is that of the table.

    It may have biases that `mine` doesn't have: those are zero.
    """
    found = {}
    for name, shape in shapes(model, vocabulary).items():
        tensor = mine[name] if name in mine else torch.zeros(shape)
        at = 0
        for piece, count in _pieces(name, table, model, shape[0]):
            rows = tensor[at : at + count]
            if piece.halves:
                rows = _as_halves(rows, head_width(model))
            found[piece.name] = (rows.T if piece.turned else rows).contiguous()
            at += count
    return found


def numbered(layer: int, names: str) -> str:
    """Return a name of the table with the number of the block."""
    return names.replace("{layer}", str(layer))


def _pieces(name: str, table: Table, model: GPT, rows: int) -> Iterator[tuple[Piece, int]]:
    """Yield the pieces of one of our tensors, with the block's number in their names, and how many rows each has."""
    match = LAYER.fullmatch(name)
    layer, inner = (int(match[1]), match[2]) if match else (0, name)
    width = head_width(model)
    counts = {
        "all": rows,
        "queries": model.heads * width,
        "keys": key_value_heads(model) * width,
        "values": key_value_heads(model) * width,
        "hidden": hidden_width(model),
    }
    for piece in table[inner]:
        named = Piece(name=numbered(layer, piece.name), rows=piece.rows, turned=piece.turned, halves=piece.halves)
        yield named, counts[piece.rows]


def _piece(
    theirs: Mapping[str, Shaped[Tensor, "..."]], piece: Piece, shape: tuple[int, ...], model: GPT
) -> Float[Tensor, "..."]:
    """Return a piece of ours of this shape."""
    if piece.name not in theirs:
        raise LabError(f"it has no tensor {piece.name}: expected one of shape {list(shape)}")
    tensor = theirs[piece.name]
    if not tensor.dtype.is_floating_point:
        raise LabError(f"its tensor {piece.name} is of dtype {tensor.dtype}: expected floating-point numbers")
    tensor = tensor.T if piece.turned and tensor.ndim == 2 else tensor
    if tuple(tensor.shape) != shape:
        raise LabError(
            f"its tensor {piece.name} has the shape {list(theirs[piece.name].shape)}: expected {list(shape)}"
        )
    tensor = tensor.to(torch.float32)
    return _as_pairs(tensor, head_width(model)) if piece.halves else tensor.contiguous()


def _as_pairs(rows: Float[Tensor, "rows ..."], width: int) -> Float[Tensor, "rows ..."]:
    """Return the rows of each head of `width` with 0, W/2, 1, W/2 + 1, ... in this order."""
    found: Tensor = rows.unflatten(0, (-1, 2, width // 2)).transpose(1, 2).flatten(0, 2).contiguous()
    return found


def _as_halves(rows: Float[Tensor, "rows ..."], width: int) -> Float[Tensor, "rows ..."]:
    """Return the rows of each head of `width` with 0, 2, 4, ..., 1, 3, 5, ... in this order."""
    found: Tensor = rows.unflatten(0, (-1, width // 2, 2)).transpose(1, 2).flatten(0, 2).contiguous()
    return found
