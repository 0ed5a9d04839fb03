"""Text in pieces against the whole text cut by str.find."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.generation.settings import Sampling
from lmlab.generation.stream import TextStream

words = st.text("abé☃", max_size=14)
stops = st.lists(st.text("abé", min_size=1, max_size=3), max_size=3)


def pieces_of(data, sizes):
    place = 0
    while place < len(data):
        size = sizes[place % len(sizes)]
        yield data[place : place + size]
        place += size


def cut(text, stop):
    """The text before the stop string that is completed first, the longest of those that end there."""
    for end in range(len(text) + 1):
        found = [one for one in stop if text[:end].endswith(one)]
        if found:
            return text[: end - max(map(len, found))]
    return text


@given(words, stops, st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_pieces_join_to_the_text_before_the_stop_string(text, stop, sizes):
    stream = TextStream(stop)
    given_out = [stream.write(piece) for piece in pieces_of(text.encode(), sizes)]
    given_out.append(stream.close())
    assert "".join(given_out) == stream.text == cut(text, stop)
    assert stream.stopped == any(one in text for one in stop)


@given(words, st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_every_piece_is_whole_characters(text, sizes):
    stream = TextStream()
    assert all("\ufffd" not in stream.write(piece) for piece in pieces_of(text.encode(), sizes))


def test_nothing_is_held_back_longer_than_it_could_become_a_stop_string():
    stream = TextStream(("abc",))
    assert [stream.write(byte) for byte in (b"x", b"a", b"b", b"d", b"a")] == ["x", "", "", "abd", ""]
    assert stream.close() == "a"


def test_an_incomplete_character_at_the_end_is_marked():
    stream = TextStream()
    assert stream.write("☃".encode()[:2]) == ""
    assert stream.close() == "\ufffd"


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.5},
        {"repetition_penalty": 0.0},
        {"tokens": 0},
        {"stop": ("",)},
        {"stop": "end"},
    ],
)
def test_impossible_settings_are_refused_by_name(settings):
    with pytest.raises(LabError, match=next(iter(settings))):
        Sampling(**settings)
