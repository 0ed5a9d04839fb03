"""Models that aren't runs: local ones of transformers (hf:PATH), scored and sampled beside runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.tokenizers import Tokenizer
from lmlab.exchange.models.transformers_model import TransformersModel, read_transformers_model
from lmlab.generation.decoding import generate
from lmlab.hardware.device import choose_device

if TYPE_CHECKING:
    from lmlab.generation.settings import Sampling
    from lmlab.generation.writer import Completion

PREFIX = "hf:"
"""What begins a reference to a local model of transformers."""


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A model that isn't a run."""

    name: str
    model: TransformersModel
    tokenizer: Tokenizer
    device: torch.device
    warnings: tuple[str, ...] = ()

    def complete(self, prompts: Sequence[str], sampling: Sampling, **hooks: Any) -> list[Completion]:
        """Return one completion for each prompt."""
        return generate(self.model, self.tokenizer, prompts, sampling, **hooks)

    def dataset(self) -> Dataset:
        """Raise a LabError: what it was trained on isn't known."""
        raise LabError(f"{self.name} has no data of its own here: name a text with --on")


def is_foreign(reference: object) -> bool:
    """Return whether a reference names a model that isn't a run."""
    return isinstance(reference, str) and reference.startswith(PREFIX)


def load_foreign(reference: str, device: str = "auto") -> Foreign:
    """Load hf:PATH; LabError where it can't be read."""
    folder, target = Path(reference.removeprefix(PREFIX)), choose_device(device)
    model, tokenizer, context = read_transformers_model(folder, target)
    warnings: tuple[str, ...] = ()
    if context > model.context:
        warnings = (f"{reference} has a context of {context:,} tokens; windows have {model.context:,}",)
    return Foreign(name=reference, model=model, tokenizer=tokenizer, device=target, warnings=warnings)
