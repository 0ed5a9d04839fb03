"""The flags of verbs that generate text, and the sampling settings that they set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmlab.generation.settings import Sampling


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How text is sampled."""

    tokens: int = 200
    """Generate at most this many tokens for each prompt."""
    temperature: float = 0.8
    """Below 1 likely tokens are sampled more often, above 1 less often; 0: always the likeliest token."""
    top_k: int = 0
    """Sample among the k likeliest tokens (0: off)."""
    top_p: float = 1.0
    """Sample among the likeliest tokens that together have this probability (1: off)."""
    min_p: float = 0.0
    """Sample among tokens with at least this share of the likeliest one's probability (0: off)."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that already occur in the text become less likely (1: off)."""
    seed: int = 1
    """Random seed; another one gives other texts."""
    stop: tuple[str, ...] = ()
    """Stop before this text; may be repeated."""
    draft: int = 0
    """Draft up to this many tokens from repetitions in the text, for speed; the text stays the same (0: off)."""


def sampling_of(flags: Drawing) -> Sampling:
    """Return the settings of the flags; LabError for an invalid value."""
    from lmlab.generation.settings import Sampling

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
