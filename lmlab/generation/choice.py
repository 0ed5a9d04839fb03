"""The next token of each text of a batch whose texts have settings of their own, and log-probabilities of tokens.

Rows of logits with equal settings are filtered together; rows don't affect one another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from lmlab.generation.draw import draw, likeliest, uniform
from lmlab.generation.filters import filtered, penalise_repeats
from lmlab.generation.settings import Sampling
from lmlab.generation.writer import Writer

Logits = Float[Tensor, "rows vocabulary"]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The log-probability that the model gives a token, before any bias, filter or temperature."""

    token: int
    logprob: float
    """In nats."""
    alternatives: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens with their log-probabilities, in descending order."""


@dataclass(eq=False, kw_only=True)
class Text:
    """A text that is being generated, with settings of its own."""

    writer: Writer
    sampling: Sampling
    """Without a draft."""
    bias: Mapping[int, float] = field(default_factory=dict)
    """Token -> what is added to its logit before anything else."""
    alternatives: int | None = None
    """How many alternatives are reported with each token's log-probability; None: no log-probabilities."""


def next_tokens(logits: Logits, texts: Sequence[Text]) -> list[int]:
    """Return the token that follows each text, by its settings and its own random numbers; `logits` has a row for each text."""
    logits = biased(logits.float(), texts)
    tokens = [0] * len(texts)
    alike: dict[tuple[float | int, ...], list[int]] = {}
    for row, text in enumerate(texts):
        own = text.sampling
        key = (own.temperature, own.top_k, own.top_p, own.min_p, own.repetition_penalty)
        alike.setdefault(key, []).append(row)
    for rows in alike.values():
        chosen = logits if len(rows) == len(texts) else logits[rows]
        for row, token in zip(rows, _next(chosen, [texts[row] for row in rows]), strict=True):
            tokens[row] = token
    return tokens


def scored(logits: Logits, tokens: Sequence[int], alternatives: int) -> list[Scored]:
    """Return the log-probability of a token for each row of logits, in float64, with those of the likeliest ones."""
    # NumPy, because PyTorch divides even small arrays among threads, which takes far longer on a busy machine.
    values = logits.cpu().numpy().astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    own = values[np.arange(len(tokens)), list(tokens)].tolist()
    found = []
    for row, token, logprob in zip(values, tokens, own, strict=True):
        best = _likeliest(row, min(alternatives, len(row)))
        found.append(
            Scored(token=token, logprob=logprob, alternatives=tuple((place, float(row[place])) for place in best))
        )
    return found


def _likeliest(row: Float[NDArray[np.float64], " vocabulary"], count: int) -> list[int]:
    """Return the tokens of the highest values, in descending order."""
    if not count:
        return []
    places = np.argpartition(-row, count - 1)[:count]
    return [int(place) for place in places[np.argsort(-row[places], kind="stable")]]


def biased(logits: Logits, texts: Sequence[Text]) -> Logits:
    """Return the logits with each text's bias added."""
    if not any(text.bias for text in texts):
        return logits
    logits = logits.clone()
    for row, text in enumerate(texts):
        if text.bias:
            places = torch.tensor(list(text.bias), device=logits.device)
            logits[row, places] += torch.tensor(list(text.bias.values()), device=logits.device, dtype=logits.dtype)
    return logits


def _next(logits: Logits, texts: Sequence[Text]) -> list[int]:
    """Return the tokens of texts whose settings are equal except for seed, length and stop strings."""
    sampling = texts[0].sampling
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    if sampling.repetition_penalty != 1.0:
        for row, text in enumerate(texts):
            seen[row, list(text.writer.seen)] = True
    seen = seen.to(logits.device)
    if sampling.temperature == 0.0:
        return [int(token) for token in likeliest(penalise_repeats(logits, seen, sampling.repetition_penalty))]
    numbers = [uniform(text.writer.key, text.writer.drawn) for text in texts]
    return [int(token) for token in draw(filtered(logits, seen, sampling), numbers)]
