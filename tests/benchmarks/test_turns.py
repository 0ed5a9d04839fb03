"""The pipe protocol between the process that measures and a worker, with a peer that only counts."""

import sys
import textwrap

import pytest

from benchmarks.turns import Unavailable, Worker, take_turns
from benchmarks.worker import ROOT
from lmlab import LabError

COUNTING = """
print("libraries print what they like", flush=True)
units = []
def run(count):
    print("so do their functions", flush=True)
    units.append(count)
    open(log, "a").write(f"{name} {count}\\n")
    time.sleep(0.01 * count)
return Work(run=run, facts={"tokens": 3})
"""


@pytest.fixture
def peer(tmp_path):
    """A function that starts a worker: its name and the body of its preparation."""

    def start(name, body):
        script = tmp_path / f"{name}.py"
        log = tmp_path / "log"
        lines = [
            "import sys, time",
            f"sys.path.insert(0, {str(ROOT)!r})",
            "from benchmarks.turns import Unavailable, Work, serve",
            f"name, log = {name!r}, {str(log)!r}",
            "def prepare():",
            textwrap.indent(textwrap.dedent(body).strip(), "    "),
            "serve(prepare)",
        ]
        script.write_text("\n".join(lines))
        return Worker([sys.executable, str(script)])

    return start


def test_a_worker_does_as_many_units_as_it_is_told_and_says_how_long_they_took(peer):
    with peer("counting", COUNTING) as worker:
        assert worker.facts == {"tokens": 3}
        assert worker.go(3) >= 0.03


def test_sides_take_turns_and_never_compute_at_the_same_time(peer, tmp_path):
    sides = {name: lambda name=name: peer(name, COUNTING) for name in ("first", "second")}
    turns = take_turns(sides, rounds=3, turn_seconds=0.02)
    order = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert order[-6:] == ["first", "second"] * 3
    assert {name: len(samples) for name, samples in turns.seconds_a_unit.items()} == {"first": 3, "second": 3}
    assert turns.rates("first", 3.0) == pytest.approx([3.0 / seconds for seconds in turns.seconds_a_unit["first"]])


def test_a_side_that_cannot_be_measured_is_left_out_with_its_reason(peer):
    absent = 'raise Unavailable("it is not installed")'
    with pytest.raises(Unavailable, match="not installed"):
        peer("absent", absent)
    turns = take_turns({"there": lambda: peer("there", COUNTING), "absent": lambda: peer("absent", absent)}, 1, 0.01)
    assert turns.unavailable == {"absent": "it is not installed"}
    assert list(turns.seconds_a_unit) == ["there"]


def test_a_worker_that_dies_is_reported_with_its_last_words(peer):
    with pytest.raises(LabError, match="RuntimeError: out of cheese"):
        peer("dying", 'raise RuntimeError("out of cheese")')
