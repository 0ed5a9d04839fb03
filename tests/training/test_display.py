"""What people read: numbers in words, and displays that fit where they are shown."""

import io
import os
import re

import pytest

from lmlab.recipe.quantities import count, duration
from lmlab.training.display import (
    LivePanel,
    PlainLines,
    Quiet,
    TrainingProgress,
    Unfailing,
    make_display,
    panel_cells,
    progress_line,
    sparkline,
)


def progress(**changes):
    values = {
        "step": 250, "steps": 2000, "tokens": 192_000, "loss": 2.4312, "learning_rate": 9.5e-4, "gradient_norm": 1.25,
        "tokens_per_second": 15_432.1, "mfu": 0.47, "elapsed_seconds": 12.0, "remaining_seconds": 93.0,
    }  # fmt: skip
    return TrainingProgress(**{**values, **changes})


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (12_000, "3 h 20 min"),
        (1e6, "277 h 46 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(812, "812"), (7_680, "7.68k"), (1_536_000, "1.54M"), (3.26e9, "3.26B")])
def test_counts_have_three_digits_and_a_unit(number, words):
    assert count(number) == words


def test_the_useful_batch_is_shown_where_it_is_known():
    assert "useful batch" not in progress_line(progress())
    assert "useful batch 48" in progress_line(progress(useful_batch=48.2))
    assert ("useful batch", "48 sequences") in panel_cells(progress(useful_batch=48.2))


def test_the_share_of_the_datasheet_stands_beside_that_of_the_measured_peak_where_it_is_known():
    assert "datasheet" not in progress_line(progress())
    assert "MFU 47%, 31% of the datasheet's  " in progress_line(progress(mfu_datasheet=0.312))
    cells = dict(panel_cells(progress(mfu_datasheet=0.312)))
    assert cells["MFU"] == "47% of the peak measured here, 31% of the datasheet's"


def test_epochs_and_what_each_takes_are_shown_where_they_are_known():
    assert "epochs" not in progress_line(progress())
    assert "tokens 192k  epochs 2.96, 0.21 s each  loss" in progress_line(progress(epochs=2.958, epoch_seconds=0.2101))
    assert ("epochs", "0.152, 1 min 02 s each") in panel_cells(progress(epochs=0.1516, epoch_seconds=61.6))


def test_the_line_holds_every_figure():
    line = progress_line(progress(end="about 1.52 (1.49 to 1.56)"))
    for part in (
        "250/2,000",
        "192k",
        "2.4312",
        "9.50e-04",
        "1.250",
        "15,432 tokens/s",
        "MFU 47%",
        "12 s",
        "left 1 min 33 s",
        "at the end about 1.52 (1.49 to 1.56)",
    ):
        assert part in line
    assert "at the end" not in progress_line(progress())


def test_plain_lines_come_at_most_so_often_but_always_for_the_last_step():
    stream = io.StringIO()
    lines = PlainLines(stream, every_seconds=3600)
    for step in range(10, 2010, 10):
        lines.progress(progress(step=step), logged=True)
    written = stream.getvalue().splitlines()
    assert len(written) == 2
    assert "step 2,000/2,000" in written[-1]


def test_the_live_panel_shows_progress_and_keeps_its_notes():
    from rich.console import Console

    stream = io.StringIO()
    panel = LivePanel(Console(file=stream, force_terminal=True, width=110))
    panel.open("my-run")
    panel.progress(progress(), logged=True)
    panel.progress(progress(step=2000, end="about 1.52 (1.49 to 1.56)"), logged=True)
    panel.note("step 250  valid [2.5]")
    panel.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    for part in (
        "my-run",
        "250/2,000",
        "gradient norm",
        "47% of the peak measured here",
        "left 1 min 33 s",
        "valid [2.5]",
        "at the end about 1.52 (1.49 to 1.56)",
    ):
        assert part in shown


def test_output_that_is_no_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert isinstance(make_display(quiet=False, json=False).shown, PlainLines)


def test_training_goes_on_where_the_reader_of_its_lines_is_gone_or_does_not_read():
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        display = Unfailing(PlainLines(stream), stream)
        for number in range(3000):  # many times what a pipe holds
            display.note(f"line {number} " + "." * 80)
        received = os.read(reader, 1 << 20).decode().splitlines()
        assert received[0].startswith("line 0 ") and len(received) < 3000
        display.note("after that")
        told = os.read(reader, 1 << 20).decode().splitlines()
        assert told == [
            f"({3000 - len(received):,} lines were left out here, because standard output was blocked)",
            "after that",
        ]
        os.close(reader)
        display.note("to nobody")
        display.close()
    assert isinstance(display.shown, Quiet)


def test_the_trend_is_a_row_of_bars_of_bounded_length():
    assert sparkline([]) == ""
    assert sparkline([3.0, 2.0, 1.0]) == "█▅▁"
    assert len(sparkline([float(value) for value in range(1000)])) <= 40
    assert sparkline([1.0, 1.0]) == "▁▁"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_panel_keeps_every_value_at_any_width_and_encoding(width, encoding):
    from rich.console import Console

    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    panel = LivePanel(Console(file=stream, force_terminal=True, width=width))
    panel.open("a-run-with-a-long-name-that-says-much: shakespeare-cpu-of-others")
    now = progress(step_seconds=0.0748, useful_batch=48.2, remaining_seconds=None, end="about 1.52 (1.49 to 1.56)")
    for number in range(200):
        panel.losses.append(4.0 - number / 100)
    panel.progress(now, logged=True)
    panel.note("word " * 40)
    panel.close()
    stream.flush()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.buffer.getvalue().decode(encoding)).splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    shown = "\n".join(lines)
    for label, value in panel_cells(now):
        assert f"{label} {value.replace('…', '…' if encoding != 'ascii' else '...')}" in shown, label
    assert "about 1.52 (1.49 to 1.56)" in shown and "a-run-with-a-long-name-that-says-much: shake" in shown
    assert shown.count("word") == 40


def test_the_line_has_milliseconds_a_step():
    assert "74.8 ms a step" in progress_line(progress(step_seconds=0.0748))
