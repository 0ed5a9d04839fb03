"""(a) Training tokens a second at equal model and batch: whole steps of lmlab's engines, nanoGPT and transformers in turns."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.options import Found, Options, rates
from benchmarks.results import compare_all
from benchmarks.shapes import ENGINES, SHAPES, Shape
from benchmarks.turns import Worker, take_turns

QUANTITY = "training"
EAGER, COMPILED = "nanoGPT eager", "nanoGPT compiled"


def measure(options: Options) -> Found:
    """Every shape, a round of all sides at a time."""
    found = Found()
    for shape in options.shapes(SHAPES):
        sides = our_sides(options, shape)
        sides[EAGER] = options.nanogpt_side("training", shape, compiled=False)
        if options.compiled:
            ours = {"engine": "torch", "compiled": True}
            sides["lmlab torch compiled"] = options.side("benchmarks.ours:training", shape, None, **ours)
            sides[COMPILED] = options.nanogpt_side("training", shape, compiled=True)
        sides["transformers"] = options.side("benchmarks.hugging_face:training", shape)
        turns = take_turns(sides, options.rounds, options.turn_seconds)
        measured = rates(turns, shape.name, QUANTITY)
        found.measurements += measured
        found.comparisons += compare_all(measured)
        found.skip_unavailable(shape.name, turns)
    return found


def our_sides(options: Options, shape: Shape, threads: int | None = None) -> dict[str, Callable[[], Worker]]:
    """lmlab on each of its engines."""
    return {
        f"lmlab {engine}": options.side("benchmarks.ours:training", shape, threads, engine=engine) for engine in ENGINES
    }
