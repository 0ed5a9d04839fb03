"""Tables of names: which tensors of another project each of our tensors consists of. One table serves both directions.

Of each of these pieces it says what may differ beside the name: a matrix stored the other way round, or pairs of rotary
dimensions in another order. `weights` applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Rows = Literal["all", "queries", "keys", "values", "hidden"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A tensor of another project that is some or all rows of one of ours."""

    name: str
    """Its name there, with {layer} for the number of the block."""
    rows: Rows = "all"
    """Which rows it is: the number of queries, keys, values, or of the MLP's hidden width."""
    turned: bool = False
    """Whether the matrix is stored as [inputs, outputs], where ours is [outputs, inputs]."""
    halves: bool = False
    """Whether a head's rotary pair i is its dimensions i and i + W/2, where ours is 2 i and 2 i + 1."""


Table = Mapping[str, tuple[Piece, ...]]
"""Our name, without "blocks.N." for what each block has -> its pieces, in the order of our rows."""


def part(name: str, *, turned: bool = False) -> tuple[Piece, ...]:
    """Return the pieces of a tensor that is one tensor there, too."""
    return (Piece(name=name, turned=turned),)
