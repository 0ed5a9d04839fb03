"""What the verbs print fits the terminal, loses nothing in a pipe, and never fails for what an encoding lacks."""

import io
import sys

import pytest

from lmlab.cli import main
from lmlab.cli.printing import show
from lmlab.hardware.terminal import columns_of
from lmlab.training.table import Styled

WIDTHS = (60, 80, 160)
ENCODINGS = ("ascii", "cp1252", "latin-1", "utf-16", "cp037", "shift_jis")
VERBS = {
    "recipes": ["recipes"],
    "data": ["data", "show"],
    "runs": ["runs"],
    "runs of seeds": ["runs", "--group"],
    "compare": ["compare", "one", "two"],
    "events": ["events", "one"],
    "evaluate": ["evaluate", "one"],
    "report": ["report", "one", "--format", "svg"],
    "help": ["--help"],
}


class Terminal(io.TextIOWrapper):
    """A terminal, or a pipe, that keeps what is written to it."""

    def __init__(self, encoding="utf-8", terminal=True):
        super().__init__(io.BytesIO(), encoding=encoding)
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs that differ in the seed, named one and two."""
    from tests.cli.conftest import SMALL_WORDS

    folder = tmp_path_factory.mktemp("terminals")
    text = folder / "text.txt"
    text.write_text("".join(f"line {number} of a text – with a dash\n" for number in range(300)), encoding="utf-8")
    for name, seed in (("one", "1"), ("two", "2")):
        words = ["train", str(text), *SMALL_WORDS, "--run", name, "--train.seed", seed, "--quiet"]
        assert main([*words, "--runs", str(folder / "runs")]) == 0
    return folder / "runs"


@pytest.fixture
def printed(runs, monkeypatch):
    """`printed(words, stream)` -> the text that a verb writes to that stream."""
    monkeypatch.setenv("LMLAB_RUNS", str(runs))
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(words, stream, width=None):
        if width:
            monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys, "stdout", stream)
        status = main(words)
        monkeypatch.undo()
        assert status == 0
        return stream.text()

    return call


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", VERBS)
def test_no_line_is_wider_than_the_terminal_unless_a_word_is(printed, verb, width, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    for line in printed(VERBS[verb], Terminal(), width).splitlines():
        assert columns_of(line) <= width or len(line.split()) == 1, line
        assert "\x1b" not in line


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_pipe_of_any_encoding_gets_every_line_whole(printed, verb, encoding):
    lines = printed(VERBS[verb], Terminal(encoding, terminal=False)).splitlines()
    assert lines and not any("\x1b" in line for line in lines)
    if verb == "runs":
        assert sum(line.startswith(("one ", "two ")) for line in lines) == 2


def test_in_a_pipe_a_recipe_is_one_line(printed):
    lines = printed(VERBS["recipes"], Terminal(terminal=False)).splitlines()
    (row,) = [line for line in lines if line.startswith("shakespeare-cpu")]
    assert "804,096" in row and "validation loss 1.88" in row and row.rstrip().endswith("minutes on a laptop")


@pytest.mark.parametrize(("told", "escapes"), [(None, True), ("1", False)])
def test_colours_are_for_terminals_without_no_color(monkeypatch, told, escapes):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if told:
        monkeypatch.setenv("NO_COLOR", told)
    stream = Terminal()
    show(Styled("better", "green"), file=stream)
    assert ("\x1b[32m" in stream.text()) == escapes
