"""The bars of the command line: one at a time in a terminal, and none that stays when the work is over."""

import io
import sys

from lmlab.cli.progress import RichProgress
from lmlab.data.preparation import prepare
from lmlab.recipe import Data

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
"""What a bar writes when it begins and when it goes."""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_no_bar_stays_when_the_data_is_there(monkeypatch, tiny_text_file, tmp_path):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    progress = RichProgress()
    prepare(Data(corpus=str(tiny_text_file), tokenizer="characters", vocabulary=None), tmp_path / "cache", progress)
    drawn = terminal.getvalue()
    # What isn't known isn't shown: "0/? bytes" tells nobody anything.
    assert "finding units" in drawn and "/?" not in drawn
    assert drawn.rindex(SHOW_CURSOR) > drawn.rindex(HIDE_CURSOR)
