"""The arithmetic of a plan: tokens, epochs, FLOPs, seconds, and the share of time that evaluations take.

Tokens are processed tokens, repetitions included, unless stated otherwise.
"""

from __future__ import annotations

import math

COMPUTE_OPTIMAL = 20.0
"""Tokens per parameter of a compute-optimal model (arXiv 2203.15556)."""
FLOPS_A_TOKEN = 6.0
"""Floating-point operations of training per parameter and token: C = 6 N D."""
DEVIATION_SHARE = 1.0
"""Standard deviation of a token's loss over its mean: 1.0 for characters, 0.9 to 1.1 for subword tokens. Tokens of one document
are dependent, so the error of a split's loss is larger than these alone would give.
"""
TOGETHER = 1.6
"""The factor by which it is larger, for documents of some hundred tokens."""


def tokens_in(steps: int, batch: int, context: int) -> int:
    """Return the tokens in `steps` batches of `batch` sequences of `context` tokens."""
    return steps * batch * context


def passes(tokens: float, unique_tokens: float) -> float:
    """Return the number of epochs over a text of `unique_tokens`."""
    return tokens / unique_tokens


def six_n_d(parameters: float, tokens: float) -> float:
    """Return the training FLOPs by the usual estimate 6 N D, forward and backward (arXiv 2001.08361, section 2.1)."""
    return FLOPS_A_TOKEN * parameters * tokens


def tokens_a_parameter(parameters: float, tokens: float) -> float:
    """Return the tokens processed per parameter."""
    return tokens / parameters


def share_of_compute_optimal(parameters: float, tokens: float) -> float:
    """Return the tokens per parameter as a share of the compute-optimal 20."""
    return tokens_a_parameter(parameters, tokens) / COMPUTE_OPTIMAL


def seconds_for(tokens: float, tokens_per_second: float) -> float:
    """Return the seconds that `tokens` take at a constant speed."""
    return tokens / tokens_per_second


def evaluation_share(evaluations: int, tokens: float, tokens_per_second: float, train_seconds: float) -> float:
    """Return the time of all evaluations, of `tokens` each, as a share of the training time."""
    return evaluations * seconds_for(tokens, tokens_per_second) / train_seconds


def sampling_error(loss: float, tokens: int) -> float:
    """Return the approximate standard deviation of a loss measured on `tokens` tokens, in nats a token."""
    return TOGETHER * DEVIATION_SHARE * loss / math.sqrt(max(1, tokens))
