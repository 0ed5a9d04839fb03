"""Random numbers of a text as a pure function of seed, prompt, sample and position, and tokens drawn with them.

A text has its own stream, keyed by the seed, its prompt and its number among the samples of that prompt. So it comes
out the same alone or among others, and samples of different prompts don't share their luck.
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
    """What names the stream of sample number `sample` (from 0) of a prompt."""
    return hashlib.sha256(f"{seed} {sample} {' '.join(map(str, prompt))}".encode()).hexdigest()


def uniform(key: str, position: int) -> float:
    """The stream's number at a position: uniform in [0, 1), a multiple of 2**-53."""
    return float(uniforms(key, position, 1)[0])


def uniforms(key: str, first: int, count: int) -> Float[NDArray[np.float64], "count"]:
    """The stream's numbers at `count` positions from `first` on.

    Each is the upper 53 bits of the SHA-256 of "KEY POSITION", its first eight bytes read with the lowest first.
    """
    begun = hashlib.sha256(f"{key} ".encode())
    digests = []
    for position in range(first, first + count):
        # What all share is hashed once: this is done for every token.
        whole = begun.copy()
        whole.update(b"%d" % position)
        digests.append(whole.digest())
    numbers = np.frombuffer(b"".join(digests), dtype="<u8")[::4] >> np.uint64(11)
    return numbers.astype(np.float64) * 2.0**-53


def draw(logits: Float[Tensor, "rows vocabulary"], uniforms: Sequence[float]) -> Int[Tensor, "rows"]:
    """The token of each row at which the cumulative probability passes the row's uniform number, on the CPU.

    In float64, so that equal logits give equal tokens whatever the batch or the device. LabError for logits that are no
    numbers.
    """
    # Not every device has float64.
    cumulative = _numbers(logits).cpu().double().softmax(dim=-1).cumsum(dim=-1)
    # The total is 1 up to rounding. A number below 1 times it stays below it, so that a token is always passed; one of
    # probability 0 never is, because nothing rises there.
    targets = torch.tensor(uniforms, dtype=torch.float64).unsqueeze(1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True).squeeze(1)


def likeliest(logits: Float[Tensor, "rows vocabulary"]) -> Int[Tensor, "rows"]:
    """The token with the highest logit of each row, the lowest id among equals, on the CPU."""
    logits = _numbers(logits).cpu()
    # argmax promises nothing about ties; the first True is what a maximum of bytes finds by definition here.
    width = logits.shape[-1]
    places = torch.arange(width).expand_as(logits)
    return places.masked_fill(logits < logits.amax(dim=-1, keepdim=True), width).amin(dim=-1)


def diverged() -> LabError:
    """The error for logits that are no finite numbers."""
    return LabError(
        "the model's logits are no finite numbers, its weights must have diverged: take an earlier checkpoint"
    )


def _numbers(logits: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
    if not bool(torch.isfinite(logits.amax(dim=-1)).all()):
        raise diverged()
    return logits
