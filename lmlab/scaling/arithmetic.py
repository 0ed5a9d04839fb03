"""The arithmetic of a plan: tokens, passes over a text, FLOPs, seconds, and the share that evaluations take of them.

Tokens are those that are processed, repetitions included, where nothing else is said.
"""

from __future__ import annotations

COMPUTE_OPTIMAL = 20.0
"""Tokens a parameter of a model that is compute-optimal (arXiv 2203.15556)."""
FLOPS_A_TOKEN = 6.0
"""Floating-point operations of training, a parameter and token: C = 6 N D."""


def tokens_in(steps: int, batch: int, context: int) -> int:
    """Of so many batches of `batch` sequences of `context` tokens."""
    return steps * batch * context


def passes(tokens: float, unique_tokens: float) -> float:
    """Epochs: how often a text of `unique_tokens` is read."""
    return tokens / unique_tokens


def six_n_d(parameters: float, tokens: float) -> float:
    """FLOPs of a training by the usual headline, forward and backward (arXiv 2001.08361, section 2.1)."""
    return FLOPS_A_TOKEN * parameters * tokens


def tokens_a_parameter(parameters: float, tokens: float) -> float:
    """Tokens processed for each parameter."""
    return tokens / parameters


def share_of_compute_optimal(parameters: float, tokens: float) -> float:
    """Those against the 20 a parameter at which compute is spent best in a single pass."""
    return tokens_a_parameter(parameters, tokens) / COMPUTE_OPTIMAL


def seconds_for(tokens: float, tokens_per_second: float) -> float:
    """At a steady speed."""
    return tokens / tokens_per_second


def evaluation_share(evaluations: int, tokens: float, tokens_per_second: float, train_seconds: float) -> float:
    """What so many evaluations of `tokens` each take, as a share of the training's own time."""
    return evaluations * seconds_for(tokens, tokens_per_second) / train_seconds
