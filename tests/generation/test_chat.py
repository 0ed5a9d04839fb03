"""A conversation's text, turn by turn."""

import pytest

from lmlab import LabError
from lmlab.data.tokenizers import build_tokenizer
from lmlab.generation.chat import Conversation
from lmlab.recipe.data import Data


def test_turns_are_joined_by_newlines(characters):
    conversation = Conversation().said("abc", characters).answered("def")
    assert conversation.text == "abc\ndef"
    assert conversation.said("a", characters).text == "abc\ndef\na\n"
    assert Conversation("abc\n").said("a", characters).text == "abc\na\n"
    assert conversation.reset() == Conversation()


def test_the_oldest_lines_go_until_the_answer_fits(characters):
    conversation = Conversation("aaaa\nbbbb\ncccc\n")
    assert conversation.within(characters, 20, 5) == conversation
    assert conversation.within(characters, 20, 6).text == "bbbb\ncccc\n"
    assert conversation.within(characters, 20, 11).text == "bbbb\ncccc\n"
    assert conversation.within(characters, 18, 11).text == "cccc\n"


def test_half_of_the_context_is_kept_for_what_was_said(characters):
    assert Conversation("aaaa\nbbbb\n").within(characters, 20, 500).text == "aaaa\nbbbb\n"


def test_the_last_line_stays_whole(characters):
    assert Conversation("aaaa\nbbbbbbbbbbbb\n").within(characters, 8, 4).text == "bbbbbbbbbbbb\n"


def test_what_can_t_be_read_is_an_error_that_names_it(characters):
    with pytest.raises(LabError, match=r"'X' \(U\+0058\), 'Y'"):
        Conversation("aXYb").within(characters, 8, 4)


def test_a_space_parts_turns_where_the_tokenizer_has_no_newline():
    tokenizer = build_tokenizer(Data(tokenizer="characters"), ["abc "])
    assert Conversation("ab").said("c", tokenizer).text == "ab c "
