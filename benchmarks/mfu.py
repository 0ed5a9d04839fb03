"""(b) Utilisation: a training's FLOP/s as a share of what float32 matrix products reach on the machine in the same round.

FLOPs a token are `lmlab.model.cost.flops_per_token`'s, for both sides. Its plain count has every position attend to the whole
window, as nanoGPT's own estimate does; the causal count only to itself and what is before it, which is all that needs computing.
"""

from __future__ import annotations

from benchmarks.options import Found, Options
from benchmarks.results import Measurement
from benchmarks.shapes import HEADLINES, Shape, recipe_for
from benchmarks.speed import EAGER, our_sides
from benchmarks.turns import Turns, take_turns
from benchmarks.worker import start
from lmlab.model.cost import flops_per_token
from lmlab.native.peak import multiply_add_flops, product_flops

PEAK = "matrix products"
COUNTS = {"mfu": False, "mfu causal": True}
"""Quantity -> whether attention is counted causally."""


def measure(options: Options) -> Found:
    """Every headline shape with one thread and with all, and the peak in each of the same rounds."""
    found = Found()
    for threads in sorted({1, options.threads}):
        _measure_limits(found, options, threads)
        for shape in options.shapes(HEADLINES):
            _measure_shape(found, options, shape, threads)
    return found


def case_name(shape: Shape, threads: int) -> str:
    """A shape and its threads."""
    return f"{shape.name}, {threads} thread{'s' if threads > 1 else ''}"


def _measure_shape(found: Found, options: Options, shape: Shape, threads: int) -> None:
    case = case_name(shape, threads)
    sides = {PEAK: lambda: start("benchmarks.peak:products", threads), **our_sides(options, shape, threads)}
    sides[EAGER] = options.nanogpt_side("training", shape, threads, compiled=False)
    turns = take_turns(sides, options.rounds, options.turn_seconds)
    found.skip_unavailable(case, turns)
    peak = turns.rates(PEAK, turns.facts[PEAK]["flops"])
    details = {"square": turns.facts[PEAK]["side"], "threads": threads}
    found.measurements.append(
        Measurement(case=case, side=PEAK, quantity="peak", unit="FLOP/s", samples=peak, details=details)
    )
    found.measurements += utilisation(turns, case, peak, options, shape)


def utilisation(turns: Turns, case: str, peak: tuple[float, ...], options: Options, shape: Shape) -> list[Measurement]:
    """For each side that trains, its share of the peak of the same round, by both counts."""
    recipe = recipe_for(shape, options.corpus, options.threads)
    measured = []
    for side, facts in turns.facts.items():
        if "tokens" not in facts:
            continue
        for quantity, causal in COUNTS.items():
            vocabulary = next(entry["vocabulary"] for entry in turns.facts.values() if "vocabulary" in entry)
            flops = flops_per_token(recipe.model, vocabulary, causal=causal).training
            achieved = turns.rates(side, facts["tokens"] * flops)
            shares = tuple(one / most for one, most in zip(achieved, peak, strict=True))
            details = {"flops_per_token": flops, "parameters": facts["parameters"]}
            measured.append(
                Measurement(case=case, side=side, quantity=quantity, unit="share", samples=shares, details=details)
            )
    return measured


def _measure_limits(found: Found, options: Options, threads: int) -> None:
    """The processor's own limit, and the engine's products in the cache, where there is an engine."""
    case = f"{threads} thread{'s' if threads > 1 else ''}"
    for side, measured in (("multiply-adds in registers", multiply_add_flops), ("engine's products", product_flops)):
        samples = tuple(flops for _ in range(options.rounds) if (flops := measured(threads)) is not None)
        if samples:
            found.measurements.append(
                Measurement(case=case, side=side, quantity="peak", unit="FLOP/s", samples=samples)
            )
        else:
            found.skip(case, side, "there is no native engine here")
