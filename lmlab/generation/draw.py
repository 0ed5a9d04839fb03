"""Reproducible sampling: random numbers as a pure function of seed, prompt, sample and position.

A text has its own stream of random numbers, keyed by the seed, its prompt and its index among the samples of that prompt. So the
text doesn't depend on the others in the batch, and the streams of different prompts are independent.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from lmlab import LabError


def stream_key(seed: int, prompt: Sequence[int], sample: int) -> str:
    """Return the key of the stream of a prompt's sample number `sample` (from 0)."""
    return hashlib.sha256(f"{seed} {sample} {' '.join(map(str, prompt))}".encode()).hexdigest()


def uniform(key: str, position: int) -> float:
    """Return the stream's number at a position: uniform in [0, 1), a multiple of 2**-53."""
    return float(uniforms(key, position, 1)[0])


def uniforms(key: str, first: int, count: int) -> Float[NDArray[np.float64], "count"]:
    """Return the stream's numbers at `count` positions from `first` on.

    Each is the upper 53 of the 64 bits of the first eight bytes, little-endian, of the SHA-256 of "KEY POSITION".
    """
    begun = hashlib.sha256(f"{key} ".encode())
    digests = []
    for position in range(first, first + count):
        # The common prefix is hashed once, because this runs for every token.
        whole = begun.copy()
        whole.update(b"%d" % position)
        digests.append(whole.digest())
    numbers = np.frombuffer(b"".join(digests), dtype="<u8")[::4] >> np.uint64(11)
    return numbers.astype(np.float64) * 2.0**-53


def draw(logits: Float[Tensor, "rows vocabulary"], uniforms: Sequence[float]) -> Int[Tensor, "rows"]:
    """Return the token of each row at which the cumulative probability exceeds the row's uniform number, on the CPU.

    In float64, so that equal logits give equal tokens for any batch and device. LabError if the logits aren't finite.
    """
    # Not every device has float64.
    cumulative = _numbers(logits).cpu().double().softmax(dim=-1).cumsum(dim=-1)
    # The total is 1 up to rounding. The product of it and a number below 1 is below it, so that a token is always found; a token of
    # probability 0 never is, because the cumulative probability doesn't increase there.
    targets = torch.tensor(uniforms, dtype=torch.float64).unsqueeze(1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True).squeeze(1)


def likeliest(logits: Float[Tensor, "rows vocabulary"]) -> Int[Tensor, "rows"]:
    """Return the token with the highest logit of each row, the lowest id of ties, on the CPU."""
    logits = _numbers(logits).cpu()
    # argmax doesn't define the result for ties; the minimum of the places of the maximum does.
    width = logits.shape[-1]
    places = torch.arange(width).expand_as(logits)
    return places.masked_fill(logits < logits.amax(dim=-1, keepdim=True), width).amin(dim=-1)


def diverged() -> LabError:
    """Return the error for logits that aren't finite."""
    return LabError(
        "the model's logits are no finite numbers, its weights must have diverged: take an earlier checkpoint"
    )


def _numbers(logits: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
    if not bool(torch.isfinite(logits.amax(dim=-1)).all()):
        raise diverged()
    return logits
