"""Random numbers of a text as a pure function of seed, prompt, sample and position, and tokens drawn with them.

A text has its own stream, keyed by the seed, its prompt and its number among the samples of that prompt. So it comes
out the same alone or among others, and samples of different prompts don't share their luck.
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmlab import LabError


def stream_key(seed: int, prompt: Sequence[int], sample: int) -> str:
    """What names the stream of sample number `sample` (from 0) of a prompt."""
    return hashlib.sha256(f"{seed} {sample} {' '.join(map(str, prompt))}".encode()).hexdigest()


def uniform(key: str, position: int) -> float:
    """The stream's number at a position: uniform in [0, 1), a multiple of 2**-53."""
    digest = hashlib.sha256(f"{key} {position}".encode()).digest()
    return (int.from_bytes(digest[:8], "little") >> 11) * 2.0**-53


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


def _numbers(logits: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
    highest = logits.amax(dim=-1)
    if not bool(torch.isfinite(highest).all()):
        raise LabError(
            "the model's logits are no finite numbers, its weights must have diverged: take an earlier checkpoint"
        )
    return logits
