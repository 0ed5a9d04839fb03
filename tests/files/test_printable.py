"""`printable` keeps ordinary text and escapes characters that a terminal would interpret."""

import sys
import unicodedata

import pytest

from lmlab import printable

ACTED_ON = {
    "\x1b[2J": "\\x1b[2J",
    "\x1b]52;c;aGk=\x07": "\\x1b]52;c;aGk=\\x07",
    "a\nb": "a\\nb",
    "a\rb": "a\\rb",
    "\x9b31m": "\\x9b31m",
    "\x7f": "\\x7f",
    "\u202egpj.exe": "\\u202egpj.exe",
    "\u2066x\u2069": "\\u2066x\\u2069",
    "\u2028": "\\u2028",
    "\ud800": "\\ud800",
    "\ufeff": "\\ufeff",
    "\U000e0041": "\\U000e0041",
}


@pytest.mark.parametrize(("given", "shown"), ACTED_ON.items())
def test_what_a_terminal_acts_on_is_shown_as_an_escape(given, shown):
    assert printable(given) == shown


WRITTEN = (
    *("run-1", "größer", "日本語\u3000と", "עברית\u200f", "می\u200cخواهم", "👩\u200d🚀"),
    *("a\u00a0b", "co\u00adop", "[/x] 50 %", "\\x1b"),
)


@pytest.mark.parametrize("text", WRITTEN)
def test_what_people_write_stays(text):
    assert printable(text) == text


def test_lines_and_tabs_stay_where_text_is_shown_as_it_was_written():
    assert printable("to be\n\tor\r\x1b", lines=True) == "to be\n\tor\\r\\x1b"


def test_no_control_passes_and_nothing_changes_twice():
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = printable(everything)
    assert printable(shown) == shown
    assert not [sign for sign in shown if unicodedata.category(sign) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")]
    shown.encode("utf-8")
