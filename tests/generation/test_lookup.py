"""Guesses against a search through the whole text."""

from hypothesis import given
from hypothesis import strategies as st

from lmlab.generation.lookup import LONGEST, SHORTEST, Lookup


def slowly(text, most):
    """What follows the latest of the longest earlier matches of the text's end."""
    for length in range(LONGEST, SHORTEST - 1, -1):
        for end in range(len(text) - 1, length - 1, -1):
            if text[end - length : end] == text[len(text) - length :] and length <= len(text):
                period = len(text) - end
                count = most if length == LONGEST else min(most, length)
                return [text[end + place % period] for place in range(count)]
    return []


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(0, 9), st.lists(st.integers(1, 5), max_size=20))
def test_what_followed_the_longest_match_is_guessed(text, most, steps):
    lookup = Lookup()
    size = 0
    for step in [*steps, len(text)]:
        size = min(len(text), size + step)
        assert lookup.draft(text[:size], most) == slowly(text[:size], most)
