"""What a model has to read for a list of requests: distinct token sequences, in groups with a common beginning, in batches.

Pure functions of the requests' tokens. The inputs of a sequence are all its tokens but the last, which is only predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORTH_SHARING = 0.1
"""Least share of a group's tokens that a common beginning must save: two passes over few tokens cost more than one over all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """Tokens of which the last ones are scored."""

    tokens: NDArray[np.int64]
    first: int
    """Index of the first scored token, at least 1; all after it are scored too."""
    group: int
    """Requests with the same number are expected to begin with the same tokens."""
    size: int = 0
    """How far progress advances when it is scored."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """A distinct token sequence that is read once for all requests with these tokens."""

    tokens: NDArray[np.int64]
    first: int
    """The first token that is scored for any of its requests."""
    requests: tuple[int, ...]

    @property
    def inputs(self) -> int:
        """Number of tokens that are read."""
        return len(self.tokens) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Readings whose inputs begin with the same tokens."""

    readings: tuple[Reading, ...]
    shared: int
    """Number of inputs that all begin with; all inputs for a single reading."""

    @property
    def rest(self) -> int:
        """The most inputs of a reading after the shared ones."""
        return max(reading.inputs for reading in self.readings) - self.shared

    @property
    def computed(self) -> int:
        """Tokens that are read."""
        return self.shared + sum(reading.inputs - self.shared for reading in self.readings)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Tokens that are read for a list of requests, by three methods, and predicted ones."""

    one_by_one: int
    """Each request by itself."""
    distinct: int
    """Each distinct sequence once."""
    shared: int
    """Common beginnings of a group once."""
    scored: int
    """Tokens whose probability is needed, in distinct sequences."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "one_by_one": self.one_by_one,
            "distinct": self.distinct,
            "shared": self.shared,
            "scored": self.scored,
        }


def readings_of(requests: Sequence[Request]) -> list[Reading]:
    """Return the distinct sequences of the requests, in the order of their first request."""
    places: dict[bytes, list[int]] = {}
    for place, request in enumerate(requests):
        places.setdefault(request.tokens.tobytes(), []).append(place)
    return [
        Reading(
            tokens=requests[found[0]].tokens, first=min(requests[place].first for place in found), requests=tuple(found)
        )
        for found in places.values()
    ]


def groups_of(requests: Sequence[Request], readings: Sequence[Reading]) -> list[Group]:
    """Return the readings in groups by the group of their first request, where reading the common beginning once saves tokens."""
    by_group: dict[int, list[Reading]] = {}
    for reading in readings:
        by_group.setdefault(requests[reading.requests[0]].group, []).append(reading)
    return [group for members in by_group.values() for group in _divided(members)]


def singles(readings: Sequence[Reading]) -> list[Group]:
    """Return a group for each reading."""
    return [Group(readings=(reading,), shared=reading.inputs) for reading in readings]


def work_of(requests: Sequence[Request], readings: Sequence[Reading], groups: Sequence[Group]) -> Work:
    """Return how many tokens each method reads."""
    return Work(
        one_by_one=sum(len(request.tokens) - 1 for request in requests),
        distinct=sum(reading.inputs for reading in readings),
        shared=sum(group.computed for group in groups),
        scored=sum(len(reading.tokens) - reading.first for reading in readings),
    )


def batches_of(groups: Sequence[Group], most_tokens: int, context: int) -> Iterator[list[Group]]:
    """Yield the groups in batches of similar length, with at most `most_tokens` tokens, padding included, or one group.

    The longest come first, so that memory runs out at once or not at all. A batch's longest beginning and longest rest together fit
    the context. Groups with and without a rest are in different batches.
    """
    order = sorted(groups, key=lambda group: (group.rest > 0, group.shared, group.rest), reverse=True)
    held: list[Group] = []
    for group in order:
        if held and not _fits([*held, group], most_tokens, context):
            yield held
            held = []
        held.append(group)
    if held:
        yield held


def common_length(one: NDArray[np.integer[Any]], other: NDArray[np.integer[Any]]) -> int:
    """Return the number of tokens with which both begin."""
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if len(differing) else length


def _divided(members: Sequence[Reading]) -> list[Group]:
    """Return the readings as one group, or as a group each where sharing isn't worth it."""
    if len(members) == 1:
        return singles(members)
    first = members[0].tokens[:-1]
    shared = min(common_length(first, other.tokens[:-1]) for other in members)
    group = Group(readings=tuple(members), shared=shared)
    saved = shared * (len(members) - 1)
    return [group] if shared and saved >= WORTH_SHARING * (group.computed + saved) else singles(members)


def _fits(groups: Sequence[Group], most_tokens: int, context: int) -> bool:
    first, last = groups[0], groups[-1]
    if (first.rest > 0) != (last.rest > 0):
        return False
    shared, rest = max(group.shared for group in groups), max(group.rest for group in groups)
    if not rest:
        return len(groups) * shared <= most_tokens
    rows = sum(len(group.readings) for group in groups)
    return shared + rest <= context and max(len(groups) * shared, rows * (shared + rest)) <= most_tokens
