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


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_without_a_terminal_a_long_task_has_a_line_now_and_then(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr("lmlab.cli.progress.time.monotonic", clock)
    progress = RichProgress()
    progress.begin("encoding web", 3_300_000_000, "tokens")
    progress.advance(300_000_000)  # by an earlier process
    for second in range(1, 61):
        clock.now = float(second)
        progress.advance(10_000_000)
    progress.end()
    assert capsys.readouterr().err.splitlines() == [
        "encoding web: 600M of 3.3B tokens, 10M tokens/s, 4 min 30 s left",
        "encoding web: 900M of 3.3B tokens, 10M tokens/s, 4 min 00 s left",
    ]


def test_in_a_terminal_the_bar_of_tokens_has_their_rate(monkeypatch):
    terminal, clock = Terminal(), Clock()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    progress = RichProgress()
    monkeypatch.setattr("lmlab.cli.progress.time.monotonic", clock)
    progress.begin("encoding web", 1_000_000, "tokens")
    progress.advance(0)
    clock.now = 10.0
    progress.advance(200_000)
    progress.end()
    assert "200k of 1M tokens, 20k tokens/s" in terminal.getvalue()
