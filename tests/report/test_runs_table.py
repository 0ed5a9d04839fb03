"""The table for people."""

import pytest

from lmlab.experiment.listing import ListedRun, seeds_of
from lmlab.report.runs_table import HEADINGS, fitting, runs_parts, total_line
from lmlab.training.table import Table


def table_lines(rows, groups, width=None, **how):
    """The table as lines."""
    parts = runs_parts(rows, groups, **how)
    return [line for part in parts for line in (part.lines(width) if isinstance(part, Table) else [part])]


def row(name="one", **changes):
    facts = {
        "id": name,
        "status": "finished",
        "created": "2026-01-01",
        "recipe_name": "hand",
        "corpus": "somewhere/else/tiny.txt",
        "parameters": 1_049_737,
        "seed": 0,
        "step": 40,
        "steps": 40,
        "tokens": 3_280_000,
        "loss": 1.5,
        "perplexity": 4.4817,
        "accuracy": 0.5561,
        "epochs": 3.125,
        "bits_per_byte": 2.1,
        "epoch_seconds": 27.2,
        "step_seconds": 0.0748,
        "seconds": 85.0,
        "tokens_per_second": 41_543.2,
        "device": "2 cores of a processor with a very long name indeed @ 2.00GHz",
        "disk_bytes": 37_900_000,
        "tags": (),
        "family": "f",
        "recipe": None,
    }
    return ListedRun(name=name, **{**facts, **changes})


def test_a_row_has_its_figures_in_short_and_what_is_unknown_is_a_question_mark():
    heading, line = table_lines([row()], [])
    assert heading.split() == [word for name, said in HEADINGS.items() if name != "tags" for word in said.split()]
    figures = ["one", "finished", "tiny.txt", "1.05M", "3.28M", "3.12", "1.5000", "4.48", "55.6%", "2.1000"]
    assert line.split()[:16] == [*figures, "1", "min", "25", "s", "74.8", "27.2"]
    assert "  37.9 MB" in line
    unknown = [name for name in HEADINGS if name not in ("name", "status", "tags", "disk_bytes")]
    _, line = table_lines([row(**dict.fromkeys(unknown), status="imported")], [])
    assert line.split() == ["one", "imported", *("?" * len(unknown)), "37.9", "MB"]


def test_columns_are_chosen_and_then_a_narrow_terminal_loses_none():
    heading, line = table_lines([row()], [], fields=["loss", "perplexity", "step_seconds"])
    assert heading.split() == ["run", "loss", "perplexity", "ms", "a", "step"]
    assert line.split() == ["one", "1.5000", "4.48", "74.8"]
    narrow = " ".join(" ".join(table_lines([row()], [], fields=["device", "loss", "accuracy"], width=60)).split())
    assert "very long name indeed" in narrow and "1.5000" in narrow and "55.6%" in narrow


@pytest.mark.parametrize(("status", "said"), [("running", "running 25%"), ("stopped", "stopped 25%"), ("new", "new")])
def test_how_far_an_unfinished_run_is(status, said):
    assert said in table_lines([row(status=status, step=10)], [])[1]


def test_seeds_stand_below_or_in_place_of_their_runs():
    rows = [row("a", seed=0, loss=1.0), row("b", seed=1, loss=2.0), row("c", family="other")]
    lines = table_lines(rows, seeds_of(rows))
    assert [line.split()[0] for line in lines[1:4]] == ["a", "b", "c"]
    assert lines[5].startswith("seeds of one recipe") and "hand: 2 seeds" in lines[7] and "1.5000 ± 0.7071" in lines[7]
    grouped = table_lines(rows, seeds_of(rows), grouped=True)
    assert len(grouped) == 3 and grouped[1].split() == lines[7].split()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 250])
def test_a_table_fits_its_terminal_keeps_run_and_loss_and_names_what_it_leaves_out(width):
    lines = table_lines([row("a-run", tags=("night", "x"))], [], width=width)
    assert all(len(line) <= width for line in lines)
    assert "a-run" in lines[1] and "1.5000" in lines[1]
    left_out = " ".join(lines[2:]).replace("not shown:", "")
    shown = [heading for heading in HEADINGS.values() if heading in lines[0]]
    assert sorted([*shown, *(name.strip() for name in left_out.split(",") if name.strip())]) == sorted(
        HEADINGS.values()
    )


def test_on_a_low_screen_the_newest_rows_stay_or_the_first_of_a_sorted_table():
    lines = ["heading", *(f"row {number}" for number in range(50))]
    assert fitting(lines, 10, newest_last=True)[1:-1] == [f"row {number}" for number in range(43, 50)]
    assert fitting(lines, 10, newest_last=False)[1:-1] == [f"row {number}" for number in range(7)]
    assert fitting(lines, 10, newest_last=True)[-1] == "and 43 lines before these"
    assert fitting(lines, 99, newest_last=True) == lines


def test_what_the_runs_occupy_stands_in_their_rows_and_together_below():
    rows = [row("a", disk_bytes=1_250_000_000), row("b", disk_bytes=900_000)]
    lines = table_lines(rows, [], fields=["disk_bytes"])
    assert [line.split() for line in lines] == [["run", "disk"], ["a", "1.25", "GB"], ["b", "0.9", "MB"]]
    assert total_line(rows) == "1.25 GB on disk in 2 runs" and total_line(rows[1:]) == "0.9 MB on disk in 1 run"


def test_no_runs_are_said_to_be_none():
    assert runs_parts([], []) == ["no runs"]
