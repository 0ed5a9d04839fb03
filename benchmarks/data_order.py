"""(e) Data order and loading: batches a second, as tokens a second, against nanoGPT's and against one index operation."""

from __future__ import annotations

from benchmarks.options import Found, Options, rates
from benchmarks.results import compare_all
from benchmarks.shapes import large, small
from benchmarks.turns import take_turns

QUANTITY = "loading"
ORDERS = ("shuffle", "shifted", "random")
ALONE = "order alone"
"""Where the windows start, without reading them: comparable with nobody's batches."""


def measure(options: Options) -> Found:
    """The smallest and the largest batch."""
    found = Found()
    for shape in options.shapes((small(64, 12), large(64))):
        sides = {}
        for order in ORDERS:
            sides[f"lmlab {order}"] = options.side("benchmarks.ours:batches", shape, order=order)
            sides[f"lmlab {order}, {ALONE}"] = options.side("benchmarks.ours:order_alone", shape, order=order)
        sides["one index operation"] = options.side("benchmarks.ours:gathered", shape)
        sides["nanoGPT"] = options.nanogpt_side("batches", shape)
        turns = take_turns(sides, options.rounds, options.turn_seconds)
        found.skip_unavailable(shape.name, turns)
        measured = rates(turns, shape.name, QUANTITY)
        found.measurements += measured
        found.comparisons += compare_all([entry for entry in measured if not entry.side.endswith(ALONE)])
    return found
