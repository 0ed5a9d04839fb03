"""Results as Markdown: a table a part, with where and when it was measured below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks import loss, mfu, step_profile
from benchmarks.paired import spread
from benchmarks.results import Comparison, Measurement, Results
from benchmarks.targets import LOSSES, MINUTES, Verdict, verdicts

NOTHING = "-"
RECURRENCE_SIDES = ("lmlab native", "lmlab torch", "products alone", "plain loop")


def tables(results: Sequence[Results]) -> list[str]:
    """The Markdown of results of one part: their tables, what was left out, and captions.

    Goals of part `loss` are measured a few at a time; those of a processor share a table.
    """
    if results[0].part == "loss":
        groups: dict[str, list[Results]] = {}
        for one in results:
            groups.setdefault(one.processor, []).append(one)
        return [text for group in groups.values() for text in _table(group)]
    return [text for one in results for text in _table([one])]


def _table(results: Sequence[Results]) -> list[str]:
    make = MAKERS.get(results[0].part, rate_table)
    parts = [loss_table(results) if results[0].part == "loss" else make(results[0])]
    skipped = [one for each in results for one in each.skipped]
    if skipped:
        parts.append("\n".join(f"- {one.case}, {one.side}: {one.reason}" for one in skipped))
    return [*parts, caption(results)]


def rate_table(results: Results) -> str:
    """A row a case and side: parameters, the median with its spread, and the ratio to each peer."""
    peers = list(dict.fromkeys(entry.against for entry in results.comparisons))
    unit = results.measurements[0].unit if results.measurements else ""
    rows = []
    for entry in results.measurements:
        ratios = [results.comparison(entry.case, entry.side, peer, entry.quantity) for peer in peers]
        rows.append(
            [entry.case, entry.side, parameters(entry.details), with_spread(entry), *(ratio(one) for one in ratios)]
        )
    return markdown(["case", "side", "parameters", unit, *(f"times {peer}" for peer in peers)], rows)


def mfu_table(results: Results) -> str:
    """A row a case and side: the share of the peak by both counts, and the peak itself."""
    rows = []
    for case in results.cases():
        for side in _sides(results, case):
            plain, causal = (results.measurement(case, side, quantity) for quantity in mfu.COUNTS)
            peak = results.measurement(case, side, "peak")
            beside = plain or peak
            rows.append(
                [
                    case,
                    side,
                    parameters(beside.details if beside else {}),
                    percent(plain),
                    percent(causal),
                    NOTHING if peak is None else f"{peak.median / 1e9:,.0f} ({_percent(spread(peak.samples))})",
                ]
            )
    head = ["case", "side", "parameters", "of the peak", "of the peak, causal count", "peak, GFLOP/s (spread)"]
    return markdown(head, rows)


def loss_table(results: Sequence[Results]) -> str:
    """A row a goal and side: length, times, the loss reached, and how many times sooner than nanoGPT."""
    rows = []
    goals = sorted(((case, one) for one in results for case in one.cases()), key=lambda goal: _place(goal[0]))
    for case, one in goals:
        for side in _sides(one, case):
            wall, all_wall, cpu = (one.measurement(case, side, quantity) for quantity in loss.TIMES)
            reached = one.measurement(case, side, loss.LOSS)
            if wall is None or reached is None:
                continue
            sooner = [one.comparison(case, side, loss.PEER, quantity) for quantity in loss.TIMES]
            rows.append(
                [
                    case,
                    side,
                    parameters(wall.details),
                    f"{wall.details['steps']:,}",
                    str(len(wall.samples)),
                    with_range(wall),
                    with_range(all_wall),
                    with_range(cpu),
                    with_range(reached, 4),
                    *(ratio(one) for one in sooner),
                ]
            )
    head = ["goal", "side", "parameters", "steps", "seeds", "seconds", "with evaluation", "CPU seconds", "loss"]
    return markdown([*head, "times sooner", "so with evaluation", "CPU times less"], rows)


def profile_table(results: Results) -> str:
    """A row a shape and engine, milliseconds and share of each section."""
    shapes: dict[tuple[str, str], dict[str, float]] = {}
    counts: dict[str, str] = {}
    for entry in results.measurements:
        case, _, section = entry.case.rpartition(", ")
        shapes.setdefault((case, entry.side), {})[section] = entry.median
        counts[case] = parameters(entry.details)
    sections = list(dict.fromkeys(section for found in shapes.values() for section in found))
    rows = []
    for (case, side), found in shapes.items():
        whole = found[step_profile.STEP]
        rows.append([case, side, counts[case], *(_part(found.get(section), whole) for section in sections)])
    return markdown(["case", "side", "parameters", *(f"{section}, ms" for section in sections)], rows)


def recurrence_table(results: Results) -> str:
    """A row a size, batch and count of threads: milliseconds a step, times as fast as the plain loop, share of the peak."""
    rows = []
    for case in results.cases():
        steps = {side: results.measurement(case, side, "step") for side in RECURRENCE_SIDES}
        ours = next(side for side in RECURRENCE_SIDES if steps[side] is not None)
        fastest, peak = steps[ours], results.measurement(case, "registers", "peak")
        assert fastest is not None
        rate = fastest.details["flops"] / fastest.median
        rows.append(
            [
                case,
                *(NOTHING if step is None else f"{1e3 * step.median:,.0f} ms" for step in steps.values()),
                ratio(results.comparison(case, ours, "plain loop", "step")),
                NOTHING if peak is None else f"{rate / peak.median:.0%} of {peak.median / 1e9:,.0f} GFLOP/s",
            ]
        )
    return markdown(["size, batch, threads", *RECURRENCE_SIDES, "times as fast", "share of the peak"], rows)


def signal_table(results: Results) -> str:
    """A row a model: root mean squares of its outputs' spread over tokens and of two gradients, before the first update."""
    quantities = {
        "spread": "outputs of different tokens apart by",
        "first_layer_gradient": "gradient, first layer",
        "head_gradient": "gradient, head",
    }
    rows = []
    for case in results.cases():
        found = [results.measurement(case, "lmlab", quantity) for quantity in quantities]
        rows.append([case, *(NOTHING if one is None else _scientific(one.median) for one in found)])
    return markdown(["model", *quantities.values()], rows)


def targets_table(results: Sequence[Results]) -> str:
    """A row a target and processor: what was promised beside what was measured."""
    rows = []
    for verdict in verdicts(results):
        target = verdict.target
        sign = "at least" if target.at_least else "at most"
        aim = f" (aim {target.aim:g}{target.unit})" if target.aim is not None else ""
        rows.append(
            [
                target.what,
                target.case,
                f"{sign} {target.bound:g}{target.unit}{aim}",
                _measured(verdict),
                verdict.side or NOTHING,
                verdict.processor or NOTHING,
                {None: verdict.reason, True: "met", False: "**not met**"}[verdict.met],
            ]
        )
    return markdown(["what", "case", "target", "measured", "side", "on", ""], rows)


def caption(results: Sequence[Results]) -> str:
    """When, where and with what; several of one processor together."""
    context = results[0].context
    machine, versions = context["machine"], context["versions"]
    instructions = ", ".join(machine["instructions"]) or "instructions unknown"
    parts = [
        f"{_each(str(one.context['date'])[:10] for one in results)}, "
        f"lmlab {versions['lmlab']} ({_each(_commit(one.context['source']) for one in results)})",
        f"{results[0].processor}, {machine['physical_cores']} cores ({instructions})",
        f"torch {versions['torch']}, Python {versions['python']}, compiler {versions['compiler'] or 'none'}",
        _each(_how(one.part, one.settings) for one in results),
    ]
    loads = [one.context["machine"].get("load_average_before") for one in results]
    if all(loads):
        parts.append(f"load before {_each(f'{load[0]:.2f}' for load in loads)}")
    smoke = "**A smoke run: its figures mean nothing.** " if any(one.quick for one in results) else ""
    return smoke + "; ".join(parts) + "."


def parameters(details: Mapping[str, Any]) -> str:
    """A model's numbers, lookup tables apart."""
    counts = details.get("parameters")
    if counts is None:
        return NOTHING
    tables_too = f" + {counts['lookup_tables']:,} in tables" if counts["lookup_tables"] else ""
    return f"{counts['without_tables']:,}{tables_too}"


def with_spread(entry: Measurement | None) -> str:
    """The median, and the distance between the quartiles as a share of it."""
    return NOTHING if entry is None else f"{number(entry.median)} ({_percent(spread(entry.samples))})"


def with_range(entry: Measurement | None, digits: int | None = None) -> str:
    """The median, the least and the most."""
    if entry is None:
        return NOTHING
    middle, low, high = (number(value, digits) for value in (entry.median, min(entry.samples), max(entry.samples)))
    return middle if low == high else f"{middle} ({low} to {high})"


def ratio(entry: Comparison | None) -> str:
    """The median ratio, the least and the most."""
    if entry is None:
        return NOTHING
    return f"{entry.median:.2f} ({min(entry.samples):.2f} to {max(entry.samples):.2f})"


def percent(entry: Measurement | None) -> str:
    """A share with its range."""
    if entry is None:
        return NOTHING
    return f"{_percent(entry.median)} ({_percent(min(entry.samples))} to {_percent(max(entry.samples))})"


def number(value: float, digits: int | None = None) -> str:
    """Three significant digits, or so many after the point."""
    if digits is not None:
        return f"{value:.{digits}f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _place(case: str) -> int:
    """The goals that targets name come first, in their order."""
    goals = [*LOSSES, *MINUTES]
    return goals.index(case) if case in goals else len(goals)


def _commit(source: Mapping[str, Any]) -> str:
    return (source["commit"] or "no commit")[:10] + (" with changes" if source["dirty"] else "")


def _each(texts: Iterable[str]) -> str:
    """Every text once."""
    return ", ".join(dict.fromkeys(texts))


def _sides(results: Results, case: str) -> list[str]:
    return list(dict.fromkeys(entry.side for entry in results.measurements if entry.case == case))


def _scientific(value: float) -> str:
    """Two significant digits with the exponent as it is typed: 2.9e-4."""
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _part(seconds: float | None, whole: float) -> str:
    return NOTHING if seconds is None else f"{number(seconds)} ({seconds / whole:.0%})"


def _how(part: str, settings: Mapping[str, Any]) -> str:
    threads = f"{settings['threads']} threads"
    if part in ("loss", "signal"):
        return threads
    if part in ("startup", "recurrence"):
        return f"{threads}, {settings['rounds']} rounds"
    return f"{threads}, {settings['rounds']} rounds of about {settings['turn_seconds']:g} s a side"


def _measured(verdict: Verdict) -> str:
    if verdict.measured is None:
        return NOTHING
    digits = {" nats": 4, "": 3}.get(verdict.target.unit, 2)
    middle = f"{verdict.measured:.{digits}f}{verdict.target.unit}"
    if verdict.low is None or verdict.high is None or verdict.low == verdict.high:
        return middle
    return f"{middle} ({verdict.low:.{digits}f} to {verdict.high:.{digits}f})"


MAKERS = {"mfu": mfu_table, "profile": profile_table, "recurrence": recurrence_table, "signal": signal_table}
"""Part -> the function that makes its table; `rate_table` makes the others."""
