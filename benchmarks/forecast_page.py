"""docs/forecasts.md from the passes of docs/forecasts.json: the newest in full, a line for each earlier one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmlab.scaling.estimate import LEVEL

SHAPING = "shaping"
LADDER_LAW = (
    *("shakespeare-0.8M", "shakespeare-1M-muon", "shakespeare-3M-muon", "shakespeare-10M", "wikitext-300k-muon"),
    *("wikitext-1M-muon", "wikitext-1M-adamw", "stories-0.8M", "stories-1M-muon", "stories-3M-muon"),
    *("stories-300k-muon", "stories-10.8M"),
)
"""The twelve trainings that the ladder's widths and its exponent were chosen on (docs/notes/ladders-of-narrow-models.md)."""
RATE_RULE = ("shakespeare-0.8M", "stories-0.8M", "wikitext-1M-adamw", "wikitext-3M-adamw")
"""Those that the ladder's rule for AdamW's rate was chosen on."""


@dataclass(frozen=True)
class Figure:
    """A figure that is forecast."""

    name: str
    """In a score."""
    title: str
    limit: float
    """The error that is asked for."""
    shown: Callable[[float], str]


FIGURES = (
    Figure("total_seconds", "time", 0.10, lambda value: f"{value:,.0f} s"),
    Figure("peak_memory_bytes", "memory", 0.07, lambda value: f"{value / 1e6:,.0f} MB"),
    Figure("final_loss", "loss", 0.03, lambda value: f"{value:.3f}"),
)


def page(passes: Sequence[dict[str, Any]]) -> str:
    """docs/forecasts.md, of one pass or more."""
    *earlier, newest = passes
    cases = newest["cases"]
    return "\n".join(
        [
            "# Forecasts against what came",
            "",
            f"{len(cases)} trainings {_where(newest)}.",
            "Each forecast was written to forecast.json before step 1: time and memory from a trial of a few seconds, the loss",
            "from a ladder of four small trainings (`lmlab plan --ladder`, about a tenth of the run's arithmetic), all",
            "corrected by what the runs above it in the table had shown. In brackets the interval that is to hold in four of",
            f"five; * marks where it did not. {_time_words(cases)}",
            "Made by `python -m benchmarks.forecasts` from [forecasts.json](forecasts.json), which keeps every pass.",
            *([f"This pass: {newest['note']}."] if newest["note"] else []),
            "",
            *_summary(cases),
            "",
            f"Intervals are made to hold in {LEVEL:.0%} of cases.{still_to_come(cases)}",
            "",
            *_table(cases),
            "",
            "## Earlier passes",
            "",
            *_lines(earlier),
            "",
            "## Which trainings shaped what is judged here",
            "",
            f"Twelve of the thirteen trainings of the first set ({', '.join(LADDER_LAW)})",
            "shaped the ladder's law: its widths and exponent were chosen on them. The thirteenth, wikitext-3M-adamw, and three",
            f"of the twelve ({', '.join(RATE_RULE[:-1])}) shaped its rule for AdamW's rate. So none of the",
            "thirteen is unseen. The sets with another name were named before they were run; their figures stand apart. The losses",
            "of the eighteen trainings of 2026-11-23, the five unseen ones among them, went afterwards into the law of published",
            "small runs ([losses-before-a-run.md](losses-before-a-run.md)), which tells a loss where there is no ladder.",
            "",
            "The second set that was named before it was run (2026-11-25) was unseen in its own pass, and led to changes",
            "afterwards: ladders have no width twice, memory extrapolated from few layers counts the copy of a background",
            "checkpoint from the first layer on, trainings below 200 steps have wider intervals, the growth of the heap is added.",
            "The third set was named after these changes and before it was run, with nothing else computing. Why memory was",
            "too low in eight of its fourteen forecasts: fitting a stored ladder's law imports scipy.optimize, which takes 20 MB",
            "of the run and wasn't counted (it is since then); one run wrote the black box of a spike. On python.txt, which",
            "repeats itself, the ladders' losses were 5% to 17% off in both directions: their models are narrow, and learn",
            "repeated text differently. Notes:",
            "[ladders of few steps](notes/ladders-of-few-steps.md), [ladders of narrow models](notes/ladders-of-narrow-models.md).",
            "",
        ]
    )


def _where(one: dict[str, Any]) -> str:
    machine = one["machine"]
    cards = "".join(f" and an {card.get('name', card)}" for card in machine.get("accelerators") or [])
    return f"on {machine['physical_cores']} cores of an {machine['cpu']}{cards}, {one['date'][:10]}, {_commit(one)}"


def _commit(one: dict[str, Any]) -> str:
    if one["commit"] is None:
        return "commit not recorded"
    return f"commit {one['commit'][:7]}{'' if one['clean'] else ' with changes'}"


def _time_words(cases: Sequence[dict[str, Any]]) -> str:
    walls = [case["score"]["total_seconds"].get("since") for case in cases if "total_seconds" in case["score"]]
    if walls and all(walls):
        return (
            "The time is wall time from the start of the\n"
            "process until the summary: imports, data, choice of the engine and trial count."
        )
    return "The time is that of training, evaluation and\nsaving: imports, data, choice of the engine and trial were not counted."


def groups(cases: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """(title, cases): all, and by what they were to what is judged, where that differs."""
    parts = [
        (
            "that shaped the ladder's law",
            [case for case in cases if case["set"] == SHAPING and case["name"] in LADDER_LAW],
        ),
        (
            "that shaped its rule for rates",
            [case for case in cases if case["set"] == SHAPING and case["name"] not in LADDER_LAW],
        ),
        ("unseen", [case for case in cases if case["set"] != SHAPING]),
    ]
    there = [part for part in parts if part[1]]
    return there if len(there) == 1 else [("all", list(cases)), *there]


def still_to_come(cases: Sequence[dict[str, Any]]) -> str:
    """How well the time was forecast without what had passed when the forecast was made; nothing where passes don't say that."""
    rest, share = [], []
    for case in cases:
        entry, start = case["score"].get("total_seconds", {}), case.get("start_seconds")
        if "since" in entry and start is not None:
            rest.append(abs((entry["measured"] - start) / (entry["forecast"] - start) - 1))
            share.append(start / entry["measured"])
    if not rest:
        return ""
    limit = FIGURES[0].limit
    within = sum(error <= limit for error in rest)
    return (
        f" Of the time, {np.median(share):.0%} in the median ({max(share):.0%} at most) had passed when the forecast was made. "
        f"What was still to come was within {limit:.0%} in {_of(within, len(rest))}, {np.median(rest):.1%} off in the median."
    )


@dataclass(frozen=True)
class Tally:
    """How good the forecasts of one figure were over some cases."""

    count: int
    within: int
    errors: tuple[float, ...]
    held: int
    intervals: int


def tally(cases: Sequence[dict[str, Any]], figure: Figure) -> Tally:
    """Count the cases that have this figure."""
    entries = [case["score"][figure.name] for case in cases if figure.name in case["score"]]
    errors = tuple(abs(entry["ratio"] - 1) for entry in entries)
    inside = [entry["inside"] for entry in entries if "inside" in entry]
    return Tally(len(entries), sum(error <= figure.limit for error in errors), errors, sum(inside), len(inside))


def _summary(cases: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        "| trainings | figure | forecast | within | median error | four of five below | intervals that held |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, some in groups(cases):
        for figure in FIGURES:
            found = tally(some, figure)
            if not found.count:
                continue
            rows.append(
                f"| {title} ({len(some)}) | {figure.title} | {found.count} | {_of(found.within, found.count)} within "
                f"{figure.limit:.0%} | {np.median(found.errors):.1%} | {np.quantile(found.errors, 0.8):.1%} | "
                f"{_of(found.held, found.intervals)} |"
            )
    return rows


def _of(some: int, all_of_them: int) -> str:
    return f"{some} of {all_of_them} ({some / all_of_them:.0%})" if all_of_them else "none"


def _table(cases: Sequence[dict[str, Any]]) -> list[str]:
    titles = " | ".join(f"{figure.title} forecast | measured | off" for figure in FIGURES)
    rows = [
        f"| run | parameters | tokens | micro-batch | a step | {titles} |",
        "|---" * (5 + 3 * len(FIGURES)) + "|",
    ]
    for case in cases:
        step = case.get("step_seconds") or case["score"]["train_seconds"]["forecast"] / case["steps"]
        cells = [
            case["name"] if case["set"] == SHAPING else f"{case['name']} (unseen)",
            f"{case['parameters'] / 1e6:.2f}M",
            f"{case['tokens'] / 1e6:.2f}M",
            str(case["micro_batch"]),
            f"{step:.2f} s" if step >= 0.1 else f"{step * 1e3:.0f} ms",
        ]
        for figure in FIGURES:
            entry = case["score"].get(figure.name)
            if entry is None:
                cells += ["", "", ""]
                continue
            shown = figure.shown
            interval = f" ({shown(entry['low'])} to {shown(entry['high'])})" if "low" in entry else ""
            mark = "" if entry.get("inside", True) else " *"
            cells += [shown(entry["forecast"]) + interval, shown(entry["measured"]), f"{entry['ratio'] - 1:+.1%}{mark}"]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _lines(passes: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each pass, and one more for its unseen trainings where it had others too; the newest first."""
    if not passes:
        return ["There is none."]
    titles = [f"{figure.title} within {figure.limit:.0%}" for figure in FIGURES]
    held = [f"intervals of {figure.title}" for figure in FIGURES]
    rows = ["| " + " | ".join(["pass", "trainings", *titles, *held, ""]) + " |", "|---" * (3 + 2 * len(FIGURES)) + "|"]
    for one in reversed(passes):
        whole, *parts = groups(one["cases"])
        for title, some in (whole, *(part for part in parts if part[0] == "unseen")):
            tallies = [tally(some, figure) for figure in FIGURES]
            first = f"{one['date'][:10]}, {_commit(one)}" if some is whole[1] else ""
            cells = [first, f"{len(some)}" if title == "all" or title == whole[0] else f"{len(some)} {title}"]
            cells += [_of(found.within, found.count) for found in tallies]
            cells += [_of(found.held, found.intervals) for found in tallies]
            rows.append("| " + " | ".join([*cells, one["note"] if first else ""]) + " |")
    return rows
