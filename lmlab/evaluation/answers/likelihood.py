"""How likely a model finds reference answers: nats per token and bits per byte of each answer, given its prompt.

The prompt is the text that the model is asked with, its template applied. Prompt and answer are encoded each by itself, as they
are where a model is tuned on conversations and where it generates; only the answer's tokens are scored. Bits per byte compare
models with different tokenizers, nats per token don't. Small models whose own answers are all at the floor of a judge's scale
still differ in this.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.evaluation.tasks.encoding import Encoder, encode_items
from lmlab.evaluation.tasks.item import Item, Option
from lmlab.evaluation.tasks.scoring import Scorer, score
from lmlab.stats.bootstrap import Interval, ratio_interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Likelihoods:
    """The result for a list of answers, in their order."""

    nats: NDArray[np.float64]
    """[answers]: minus the log-probability of the answer's tokens together; NaN for one that can't be scored."""
    tokens: NDArray[np.int64]
    """[answers]: the answer's tokens; 0 for one that can't be scored."""
    bytes: NDArray[np.int64]
    """[answers]: the answer's bytes in UTF-8; 0 for one that can't be scored."""
    unscorable: dict[int, str]
    """Index of an answer that can't be scored -> why."""
    cut: int
    """Answers of which the prompt lost tokens at its beginning, because it is longer than the context with the answer."""

    @property
    def bits_per_byte(self) -> NDArray[np.float64]:
        """[answers]; NaN for one that can't be scored."""
        return self.nats / math.log(2) / np.where(self.bytes > 0, self.bytes, math.nan)

    def mean_bits_per_byte(self, level: float = 0.95) -> Interval:
        """Return bits per byte of all answers together, with a bootstrap interval over answers."""
        return ratio_interval(self.nats / math.log(2), self.bytes, level)

    def mean_nats_per_token(self, level: float = 0.95) -> Interval:
        """Return nats per token of all answers together, with a bootstrap interval over answers."""
        return ratio_interval(self.nats, self.tokens, level)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        per_byte, per_token = self.mean_bits_per_byte(), self.mean_nats_per_token()
        return {
            "bits_per_byte": per_byte.estimate,
            "bits_per_byte_low": per_byte.low,
            "bits_per_byte_high": per_byte.high,
            "nats_per_token": per_token.estimate,
            "nats_per_token_low": per_token.low,
            "nats_per_token_high": per_token.high,
            "answers": int(np.count_nonzero(self.tokens)),
            "unscorable": len(self.unscorable),
            "cut": self.cut,
        }


def likelihoods(
    scorer: Scorer,
    encoder: Encoder,
    prompts: Sequence[str],
    answers: Sequence[str],
    advance: Callable[[int], None] = lambda size: None,
) -> Likelihoods:
    """Return the likelihoods of `answers`, each given the prompt at its place; `advance` is called with the characters done.

    The encoder takes answers to questions `apart`, and text that simply continues its prompt joined. An answer that has no token,
    is longer than the context, or has a symbol that the tokenizer lacks, it or its prompt, is counted as unscorable. Raises
    LabError where lengths differ or the model has diverged.
    """
    if len(prompts) != len(answers):
        raise LabError(f"{len(prompts)} prompts and {len(answers)} answers: expected a prompt for each answer")
    items = [Item(options=(Option(prompt, answer),), gold=0) for prompt, answer in zip(prompts, answers, strict=True)]
    encoded = encode_items(encoder, items)
    found = score(scorer, encoded.requests, advance)
    places = np.array([request.group for request in encoded.requests], dtype=np.int64)
    nats = np.full(len(items), math.nan)
    tokens, sizes = np.zeros(len(items), dtype=np.int64), np.zeros(len(items), dtype=np.int64)
    nats[places], tokens[places], sizes[places] = found.nats, encoded.tokens, encoded.bytes
    return Likelihoods(nats=nats, tokens=tokens, bytes=sizes, unscorable=encoded.unscorable, cut=encoded.cut)
