"""What is done to the logits of the next token before one is drawn: pure functions, a row for each text.

A token that may not be drawn gets -inf. Where tokens are equally likely, a filter treats them alike or prefers the
lower id, so that the outcome doesn't depend on how a device sorts.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmlab.generation.settings import Sampling

Logits = Float[Tensor, "rows vocabulary"]


def filtered(logits: Logits, seen: Bool[Tensor, "rows vocabulary"], sampling: Sampling) -> Logits:
    """The logits after every setting of `sampling`; its temperature is above 0. `seen`: tokens that stood before."""
    logits = penalise_repeats(logits, seen, sampling.repetition_penalty)
    logits = with_temperature(logits, sampling.temperature)
    logits = keep_top_k(logits, sampling.top_k)
    logits = keep_top_p(logits, sampling.top_p)
    return keep_min_p(logits, sampling.min_p)


def penalise_repeats(logits: Logits, seen: Bool[Tensor, "rows vocabulary"], penalty: float) -> Logits:
    """Logits of seen tokens are divided by the penalty (CTRL, arXiv 1909.05858, section 4.1), negative ones multiplied.

    The paper divides all; a negative logit would come closer to 0, and the repeat become more likely.
    """
    if penalty == 1.0:
        return logits
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def with_temperature(logits: Logits, temperature: float) -> Logits:
    """Logits divided by the temperature, after a shift of the highest to 0 so that none overflows."""
    return (logits - logits.amax(dim=-1, keepdim=True)) / temperature


def keep_top_k(logits: Logits, k: int) -> Logits:
    """The k highest of each row (arXiv 1805.04833) and those equal to the k-th; 0: all."""
    if k == 0 or k >= logits.shape[-1]:
        return logits
    lowest = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < lowest, -math.inf)


def keep_top_p(logits: Logits, p: float) -> Logits:
    """The fewest tokens, likeliest first, whose probabilities reach p (nucleus sampling, arXiv 1904.09751); 1: all."""
    if p == 1.0:
        return logits
    ordered, places = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    # The likeliest has 0 before it in exact arithmetic only.
    dropped = before >= p
    dropped[:, 0] = False
    return logits.masked_fill(torch.zeros_like(dropped).scatter(-1, places, dropped), -math.inf)


def keep_min_p(logits: Logits, share: float) -> Logits:
    """Tokens with at least `share` of the likeliest one's probability (arXiv 2407.01082); 0: all."""
    if share == 0.0:
        return logits
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(share), -math.inf)
