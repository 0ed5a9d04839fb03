"""Tables fit the width that there is, and lose nothing."""

import random
import re

import pytest

from lmlab.hardware.terminal import columns_of, encodable, wrapped
from lmlab.training.table import Column, Table, table

WIDTHS = (60, 80, 160)
RECIPES = table(
    ("recipe", "parameters", "length", "published", "what"),
    [
        ("context-1.4m-one-layer-as-published", "1,426,152", "50 epochs", "perplexity 46.7", "One layer of context " * 6),
        ("shakespeare", "10,823,534 + 1.05M in tables", "5,000 steps", "validation loss 1.4697", "The GPU recipe, 今日は世界"),
    ],
    words=("recipe", "published"),
    wraps=("what",),
)  # fmt: skip


def random_table(seed):
    """Any table: columns of numbers and of words, cells of one word or of many, some empty."""
    draw = random.Random(seed)
    columns = tuple(
        Column(f"head{place}", draw.random() < 0.5, draw.random() < 0.4) for place in range(draw.randint(1, 12))
    )

    def cell(column):
        words = draw.randint(0, 30) if column.wraps else draw.randint(0, 2)
        return " ".join("w" * draw.randint(1, 14) + str(draw.randint(0, 999)) for _ in range(words))

    rows = tuple(tuple(cell(column) for column in columns) for _ in range(draw.randint(1, 6)))
    return Table(columns=columns, rows=rows)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("seed", range(40))
def test_no_line_is_wider_than_the_terminal_no_word_is_broken_and_no_value_is_lost(width, seed):
    given = random_table(seed)
    lines = given.lines(width)
    assert all(columns_of(line) <= width and line == line.rstrip() for line in lines)
    words = sorted(word for row in given.rows for cell in row for word in cell.split())
    shown = sorted(word for line in lines for word in line.split() if not word.startswith("head"))
    assert shown == words


@pytest.mark.parametrize("seed", range(10))
def test_without_a_width_a_row_is_a_line(seed):
    given = random_table(seed)
    assert len(given.lines()) == 1 + len(given.rows)


def test_words_wrap_within_their_column_and_columns_without_room_go_below_their_row():
    wide, narrow = RECIPES.lines(160), RECIPES.lines(80)
    start = wide[0].index("what")
    assert wide[1][start:].startswith("One layer") and wide[2][:start].strip() == "" and wide[2][start:].strip()
    assert narrow[0].split() == ["recipe", "parameters", "length"]
    assert narrow[2] == "    published: perplexity 46.7" and narrow[3].startswith("    what: One layer of context")


def test_columns_that_are_given_up_go_first_and_are_named():
    given = Table(
        columns=tuple(Column(name) for name in ("run", "loss", "device", "tags")),
        rows=(("one", "1.5", "a processor of a long name", "night, day"),),
        given_up=("tags", "device"),
    )
    assert len(given.lines(80)) == 2
    assert given.lines(40) == ["run  loss  device", "one  1.5   a processor of a long name", "not shown: tags"]
    assert given.lines(20)[:2] == ["run  loss", "one  1.5"] and given.lines(20)[2:] == [
        "not shown: tags,",
        "  device",
    ]


def test_a_word_that_is_wider_than_the_terminal_stays_whole():
    path = "/home/" + "x" * 90
    assert wrapped(f"wrote {path} at last", 60) == ["wrote", f"  {path}", "  at last"]


def test_an_encoding_that_lacks_a_sign_gets_ascii_before_the_table_is_measured():
    given = table(("loss", "n"), [("1.5 ± 0.1…", "1"), ("2", "2")], words=("loss",))
    ascii_lines = given.lines(encoding="ascii")
    assert ascii_lines == ["loss           n", "1.5 +- 0.1...  1", "2              2"]
    assert encodable("▁▂▃▄▅▆▇█ ━ ± 中", "cp1252") == "_.-~=+*# - ± \\u4e2d"


@pytest.mark.parametrize("text", ["a b  c", "    indented text", "one", ""])
@pytest.mark.parametrize("width", [4, 9, 60, None])
def test_wrapping_keeps_every_word(text, width):
    assert re.findall(r"\S+", " ".join(wrapped(text, width))) == text.split()


def test_columns_that_are_alike_come_in_blocks_that_repeat_the_first():
    columns = (Column(""), *(Column(f"run-{number}", right=True) for number in range(5)))
    given = Table(columns=columns, rows=(("loss", *"12345"), ("tokens", *"67890")), blocks=True)
    lines = given.lines(24)
    assert lines[:4] == ["        run-0  run-1", "loss        1      2", "tokens      6      7", ""]
    assert [line.split()[0] for line in lines if line] == ["run-0", "loss", "tokens"] + ["run-2", "loss", "tokens"] + [
        "run-4",
        "loss",
        "tokens",
    ]
