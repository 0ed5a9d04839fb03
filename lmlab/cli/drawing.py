"""The flags of verbs that let a model write, and the settings that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmlab.generation import Sampling


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How text is drawn."""

    tokens: int = 200
    """Write at most this many tokens for each prompt."""
    temperature: float = 0.8
    """Below 1 likely tokens are drawn more often, above 1 less often; 0: always the likeliest token."""
    top_k: int = 0
    """Draw among the k likeliest tokens (0: off)."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together have this probability (1: off)."""
    min_p: float = 0.0
    """Draw among tokens with at least this share of the likeliest one's probability (0: off)."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that are in the text already become less likely (1: off)."""
    seed: int = 1
    """Random seed; another one gives other texts."""
    stop: tuple[str, ...] = ()
    """Stop before this text; may be repeated."""
    draft: int = 0
    """Draft up to this many tokens from repetitions in the text, for speed; the text stays the same (0: off)."""


def sampling_of(flags: Drawing) -> Sampling:
    """The settings that the flags stand for; LabError where a value can't be."""
    from lmlab.generation import Sampling

    return Sampling(
        temperature=flags.temperature,
        top_k=flags.top_k,
        top_p=flags.top_p,
        min_p=flags.min_p,
        repetition_penalty=flags.repetition_penalty,
        seed=flags.seed,
        tokens=flags.tokens,
        stop=flags.stop,
        draft=flags.draft,
    )
