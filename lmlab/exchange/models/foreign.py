"""A model of another project, as one of its forms read it, and what may be said about a file beside the file itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.data.tokenizers import Tokenizer
from lmlab.recipe.model import GPT

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a person says about the files, where these don't."""

    heads: int | None = None
    """Attention heads."""
    tokenizer: Path | None = None
    """A file or folder of the tokenizer."""


@dataclass(frozen=True, kw_only=True)
class ForeignModel:
    """A model with its weights under our names."""

    form: str
    """Name of the form."""
    kind: str
    """What the project calls it, such as GPT2LMHeadModel."""
    model: GPT
    vocabulary: int
    weights: Mapping[str, Tensor]
    """Our names -> float32."""
    tokenizer: Tokenizer
    files: tuple[Path, ...]
    """All files that were read."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the files say about the training, such as its step; plain values."""
    notes: tuple[str, ...] = ()
    """Lines for the user about how it was read."""
