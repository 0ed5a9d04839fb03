"""Log-probabilities of a prompt's own tokens, by one forward pass of PyTorch over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lmlab.generation.choice import Scored, scored
from lmlab.model.gpt import GPTModel
from lmlab.model.protocol import LanguageModel

LOGITS_AT_ONCE = 1 << 22
"""Logits that are held at once: 32 MB in float64."""


def score_prompt(model: LanguageModel, ids: Sequence[int], vocabulary: int, alternatives: int) -> list[Scored]:
    """Return the log-probability of each token but the first, given those before it. LabError if there are more than the context.

    `vocabulary` is the number of tokens that have a probability.
    """
    found: list[Scored] = []
    if len(ids) < 2:
        return found
    tokens = torch.tensor([ids[:-1]], device=model.device)
    step = max(1, LOGITS_AT_ONCE // model.vocabulary)
    with torch.inference_mode():
        whole = _read(model, tokens)
        for begin in range(0, len(ids) - 1, step):
            part = whole[:, begin : begin + step]
            logits = model.logits(part) if isinstance(model, GPTModel) else part
            targets = ids[1 + begin : 1 + begin + step]
            found += scored(logits[0, :, :vocabulary].float(), targets, alternatives)
    return found


def _read(model: LanguageModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return a GPT's residual stream, from which logits are computed piece by piece; another model's logits."""
    if not isinstance(model, GPTModel):
        return model(tokens)
    model.require_length(tokens.shape[1])
    return model.stream(tokens, torch.arange(tokens.shape[1], device=tokens.device), None)
