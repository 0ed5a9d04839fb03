"""A study's result as text: lines for a terminal, and study.md."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lmlab.stats.paired_seeds import Noise
from lmlab.stats.verdict import LEVEL
from lmlab.study.grid.bounds import least_mean
from lmlab.study.grid.cells import ALSO, Cells
from lmlab.study.grid.effects import Effect, wanted
from lmlab.study.grid.study_plan import StudyPlan
from lmlab.training.table import Part, table

ALSO_TITLES = ("perplexity", "accuracy", "epochs", "ms a step", "s an epoch")
"""Titles of the figures in ALSO; times are those of training alone."""
TITLES = {
    "level": "alone, against the baseline",
    "main": "mean over the settings of the other factors",
    "stack": "stacked, against the baseline",
    "step": "added to the stack, in this order",
    "beyond sum": "together against alone",
    "interaction": "interaction",
    "share": "share of the difference (Shapley value)",
}

EFFECT_HEADINGS = ("effect", "what", "difference", f"{LEVEL:.0%} interval", "verdict", "beside the others")
"""The last column states whether the difference is significant when all effects are tested together (Holm)."""


def lines(
    plan: StudyPlan, cells: Cells, noise: Noise, effects: Sequence[Effect], beside: Sequence[Sequence[str]] = ()
) -> list[Part]:
    """Return the cells, the effects with intervals and verdicts, and their basis; `beside` are further rows below the effects."""
    rows = _cells(plan, cells)
    found: list[Part] = [table(("cell", "seeds", cells.measure, "SD"), rows, wraps=("cell",))]
    found += ["", table(("cell", *ALSO_TITLES), _also(plan, cells), wraps=("cell",))]
    if not rows:
        found = ["no run is finished yet"]
    if effects:
        headings = EFFECT_HEADINGS
        words = {"words": ("effect",), "wraps": ("what", "verdict")}
        found += ["", table(headings, [*map(_effect, effects), *beside], **words)]
    return [*found, "", *notes(plan, cells, noise, effects)]


def markdown(
    plan: StudyPlan, cells: Cells, noise: Noise, effects: Sequence[Effect], beside: Sequence[Sequence[str]] = ()
) -> str:
    """Return the text of study.md; `beside` are further rows below the effects."""
    text = [f"# {plan.name}", "", *([plan.about, ""] if plan.about else [])]
    text += [
        f"{plan.design} design on `{plan.base.name}`, {len(plan.cells)} cells, {plan.seeds} seeds. Losses are of the last model on "
        f"the whole validation split, in {cells.measure}; less is better.",
        "",
    ]
    if effects:
        text += [
            "![effects](effects.png)",
            "",
            *table_head(EFFECT_HEADINGS),
        ]
        text += [table_row(row) for row in (*map(_effect, effects), *beside)] + [""]
    text += [*table_head(["cell", "seeds", "mean", "SD"]), *(table_row(row) for row in _cells(plan, cells)), ""]
    text += [*table_head(["cell", *ALSO_TITLES]), *(table_row(row) for row in _also(plan, cells)), ""]
    text += [f"- {note}" for note in notes(plan, cells, noise, effects)]
    text += ["", "## Runs", "", *table_head(["run", "id", "cell", "seed", "loss"])]
    for run in cells.runs:
        loss = f"{run.loss:.4f}" if run.loss is not None else f"{run.status}{': ' + run.note if run.note else ''}"
        text.append(table_row([run.name, run.id[:12], plan.label(run.cell), str(run.seed), loss]))
    text += [
        "",
        "Every number here is in `study.json`, and `lmlab verify study.json --runs FOLDER` computes it again from these runs.",
    ]
    return "\n".join(text) + "\n"


def notes(plan: StudyPlan, cells: Cells, noise: Noise, effects: Sequence[Effect]) -> list[str]:
    """Return lines on the basis of the figures, and on what is missing."""
    found = [f"{noise.words()}; intervals add the standard error over units of the validation text"]
    if cells.losses():
        found.append("milliseconds a step and seconds an epoch are of training alone, without evaluation and saving")
    if not cells.units and effects:
        found.append("the runs share no units of text, so that intervals are of the seeds alone")
    if len(effects) > 1:
        chance = (1 - LEVEL) * len(effects)
        found.append(
            f"testing {len(effects)} effects, expect {chance:.1f} false alarms among the verdicts; those that hold beside the "
            f"others (Holm) have one in {1 / (1 - LEVEL):.0f} studies"
        )
    every, left = len(list(wanted(plan))), sum(run.status in ("missing", "unfinished") for run in cells.runs)
    if len(effects) < every:
        why = "wait for runs" if left else "can't be computed without the runs that ended early"
        found.append(f"{every - len(effects)} of {every} effects {why}")
    number = sum(cells.stopped().values())
    if number:
        found.append(
            f"{number} of {len(cells.runs)} runs were stopped early and count as censored: a cell or effect with one is bounded on "
            f"one side only, by the run's predicted final loss; such a bound is false in at most one of {2 / (1 - LEVEL):.0f}"
        )
    for status, words in (("lost", "stopped early because it couldn't win"), ("failed", "failed")):
        for run in cells.runs:
            if run.status == status:
                found.append(f"{run.name} {words}: {run.note}")
    if left:
        found.append(f"{left} of {len(cells.runs)} runs are left to train: the same command continues")
    return found


def _cells(plan: StudyPlan, cells: Cells) -> list[list[str]]:
    rows = []
    censored = cells.censored()
    for cell, losses in cells.losses().items():
        sd = f"{float(np.std(losses, ddof=1)):.4f}" if len(losses) > 1 else ""
        rows.append([plan.label(cell), str(len(losses)), f"{math.fsum(losses) / len(losses):.4f}", sd])
    for cell, number in cells.stopped().items():
        seeds = f"{cells.finished().get(cell, 0)} + {number} stopped"
        rows.append(
            [plan.label(cell), seeds, f"at least {least_mean(censored[cell]):.4f}" if cell in censored else "?", ""]
        )
    return rows


def _also(plan: StudyPlan, cells: Cells) -> list[list[str]]:
    """Return a row for each cell: means over its runs, geometric ones for perplexity."""
    rows = []
    for cell in cells.losses():
        runs = [run.also for run in cells.runs if run.cell == cell and run.loss is not None]
        means: list[float | None] = []
        for name in ALSO:
            known = [value for run in runs if (value := run.get(name)) is not None]
            mean = math.exp if name == "perplexity" else float
            logs = [math.log(value) for value in known] if name == "perplexity" else known
            means.append(mean(math.fsum(logs) / len(logs)) if known else None)
        shown = (("{:,.2f}", 1), ("{:.1%}", 1), ("{:.3g}", 1), ("{:,.3g}", 1000), ("{:,.3g}", 1))
        row = [
            "-" if value is None else form.format(factor * value)
            for value, (form, factor) in zip(means, shown, strict=True)
        ]
        rows.append([plan.label(cell), *row])
    return rows


def _effect(effect: Effect) -> list[str]:
    found = effect.verdict
    interval = f"{found.low:+.4f} to {found.high:+.4f}"
    size = f"{found.difference:+.4f}"
    if effect.bound is not None:
        interval = f"{size} or {'more' if effect.bound == 'at least' else 'less'}"
        size = f"{effect.bound} {size}"
    # The count applies to two recipes compared with each other, not to a combination and its parts.
    pairwise = effect.kind in ("level", "stack", "step")
    needed = (
        f" ({found.seeds_needed} seeds would decide)"
        if effect.bound is None and pairwise and found.kind == "indistinguishable" and found.seeds_needed is not None
        else ""
    )
    beside = "" if found.kind == "indistinguishable" else "holds" if effect.holds else "may be chance"
    return [effect.name, TITLES[effect.kind], size, interval, effect.words + needed, beside]


def table_head(titles: Sequence[str]) -> list[str]:
    """Return the header lines of a Markdown table."""
    return [table_row(titles), "|" + "---|" * len(titles)]


def table_row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
