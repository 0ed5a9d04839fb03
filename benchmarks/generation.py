"""(d) Generation: tokens a second from one newline to the last token of the context, one stream against nanoGPT, and 16 of ours."""

from __future__ import annotations

from benchmarks.options import Found, Options, rates
from benchmarks.results import compare, compare_all
from benchmarks.shapes import HEADLINES
from benchmarks.turns import take_turns

QUANTITY = "generation"
ONE, BATCHED, PLAIN = "lmlab, one stream", "lmlab, 16 streams", "lmlab torch, one stream"
STREAMS = 16


def measure(options: Options) -> Found:
    """The three models, with random weights: what a token costs doesn't depend on them."""
    found = Found()
    for shape in options.shapes(HEADLINES):
        sides = {
            ONE: options.side("benchmarks.ours:generation", shape, streams=1, engine="auto"),
            BATCHED: options.side("benchmarks.ours:generation", shape, streams=STREAMS, engine="auto"),
            PLAIN: options.side("benchmarks.ours:generation", shape, streams=1, engine="torch"),
            "nanoGPT": options.nanogpt_side("generation", shape, streams=1),
        }
        turns = take_turns(sides, options.rounds, options.turn_seconds)
        found.skip_unavailable(shape.model_name, turns)
        measured = rates(turns, shape.model_name, QUANTITY)
        found.measurements += measured
        found.comparisons += compare_all(measured)
        by_side = {entry.side: entry for entry in measured}
        found.comparisons.append(compare(by_side[BATCHED], by_side[ONE]))
    return found
