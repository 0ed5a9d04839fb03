"""Filters of the next token's logits before sampling: pure functions, with one row per text.

The logits of excluded tokens become -inf. Equally likely tokens are treated equally, or the lower id is preferred, so that the
result doesn't depend on a device's sorting algorithm.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmlab.generation.settings import Sampling

Logits = Float[Tensor, "rows vocabulary"]


def filtered(logits: Logits, seen: Bool[Tensor, "rows vocabulary"], sampling: Sampling) -> Logits:
    """Apply all filters of `sampling`, whose temperature is above 0, to the logits; `seen` marks the tokens of the text so far."""
    logits = penalise_repeats(logits, seen, sampling.repetition_penalty)
    logits = with_temperature(logits, sampling.temperature)
    logits = keep_top_k(logits, sampling.top_k)
    logits = keep_top_p(logits, sampling.top_p)
    return keep_min_p(logits, sampling.min_p)


def penalise_repeats(logits: Logits, seen: Bool[Tensor, "rows vocabulary"], penalty: float) -> Logits:
    """Divide the positive logits of seen tokens by the penalty (CTRL, arXiv 1909.05858, section 4.1), and multiply negative ones.

    The paper divides all, which would bring a negative logit closer to 0 and make the repetition more likely.
    """
    if penalty == 1.0:
        return logits
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def with_temperature(logits: Logits, temperature: float) -> Logits:
    """Divide the logits by the temperature, after shifting the highest to 0 so that none overflows."""
    return (logits - logits.amax(dim=-1, keepdim=True)) / temperature


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep the k highest logits of each row (arXiv 1805.04833) and those equal to the k-th; 0: all."""
    if k == 0 or k >= logits.shape[-1]:
        return logits
    lowest = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < lowest, -math.inf)


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest likeliest tokens whose total probability reaches p (nucleus sampling, arXiv 1904.09751); 1: all."""
    if p == 1.0:
        return logits
    ordered, places = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    # The sum before the likeliest token is 0 in exact arithmetic only.
    dropped = before >= p
    dropped[:, 0] = False
    return logits.masked_fill(torch.zeros_like(dropped).scatter(-1, places, dropped), -math.inf)


def keep_min_p(logits: Logits, share: float) -> Logits:
    """Keep tokens with at least `share` of the likeliest token's probability (arXiv 2407.01082); 0: all."""
    if share == 0.0:
        return logits
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(share), -math.inf)
