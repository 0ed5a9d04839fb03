"""Exact match: whether an answer is the reference, but for case, white space around it and a final full stop."""

from __future__ import annotations


def normalised(answer: str) -> str:
    """Return what is compared of an answer.

    >>> normalised(" Jane Austen.\\n")
    'jane austen'
    """
    text = answer.strip().casefold()
    return text.removesuffix(".").rstrip()


def exact_match(answer: str, reference: str) -> bool:
    """Return whether the two are the same when normalised. An empty answer matches nothing but an empty reference."""
    return normalised(answer) == normalised(reference)
