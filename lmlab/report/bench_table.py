"""The results of a benchmark as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lmlab.hardware.load import BUSY
from lmlab.planning.benchmark.bench import MOST_BATCH
from lmlab.planning.benchmark.result import Bench
from lmlab.recipe.quantities import duration
from lmlab.report.labels import amount
from lmlab.training.table import Part, table

HEADINGS = (
    "batch",
    "precision",
    "step by",
    "threads",
    "tokens/s",
    "quartiles",
    "ms a step",
    "MFU",
    "memory",
    "this recipe",
)


BESIDE = HEADINGS.index("MFU") + 1
"""Position of the column with the share of the datasheet's peak, where that is known."""


def headings(bench: Bench) -> tuple[str, ...]:
    """Return `HEADINGS`, with the share of the datasheet's peak beside the measured one's where it is known."""
    known = any(row.datasheet is not None for row in bench.rows)
    return (*HEADINGS[:BESIDE], "of datasheet", *HEADINGS[BESIDE:]) if known else HEADINGS


def table_rows(bench: Bench) -> list[tuple[str, ...]]:
    """Return the cells under `headings`, a tuple for each combination, in the order of measurement."""
    known = headings(bench) is not HEADINGS
    return [_cells(bench.figures(row), known) for row in bench.rows]


def bench_lines(bench: Bench) -> list[Part]:
    """Return all lines: what was measured where, the table, what was left out, the other figures, and the recommendations."""
    rounds = max((len(row.rounds) for row in bench.rows), default=0)
    lines: list[Part] = [
        f"{bench.recipe.name} (data {bench.data_id}) on {bench.device}: medians of the steps of {rounds} "
        f"round{'' if rounds == 1 else 's'}, "
        f"{_sequence(bench)} a sequence, {amount(bench.recipe_tokens)} tokens in this recipe",
        "",
        table(headings(bench), table_rows(bench), words=("precision", "step by")),
    ]
    if rounds:
        lines.append(
            "MFU: share of the fastest matrix products here in the same precision, or in fp32 where those are faster"
        )
    sheets = dict.fromkeys(row.datasheet.card.sheet for row in bench.rows if row.datasheet is not None)
    if sheets:
        lines.append(f"of datasheet: share of the dense peak in the same precision by {', '.join(sheets)}")
    if bench.load > BUSY:
        lines.append(
            f"the machine was busy (other programs: {bench.load:.1f} running tasks a core); run bench again when it is quiet"
        )
    if bench.left_out:
        lines += ["", "left out:", *(f"  {reason}" for reason in bench.left_out)]
    others = list(_other_figures(bench))
    lines += ["", *others] if others else []
    if bench.advice:
        lines += [
            "",
            "recommended settings, with their speedup over the next best choice:",
            *(f"  {one.line}" for one in bench.advice),
        ]
    if bench.interrupted:
        lines += ["", "interrupted: only what was measured by then is shown"]
    return lines


def _sequence(bench: Bench) -> str:
    """Return the tokens of a sequence, and for windows of documents the share of padding."""
    context = bench.recipe.model.context
    padding = 1 - bench.sequence_tokens / context
    return f"{context:,} tokens" + (f" ({padding:.1%} of them padding, which no figure counts)" if padding else "")


def _cells(figures: dict[str, Any], with_datasheet: bool) -> tuple[str, ...]:
    how = (
        "native engine" if figures["engine"] == "native" else "torch compiled" if figures["compile"] else "torch eager"
    )
    known = (f"{figures['batch']:,}", figures["precision"], how, str(figures["threads"]))
    if figures["failed"] or "tokens_per_second" not in figures:
        failed = "OOM" if figures["failed"] == "out of memory" else figures["failed"] or "not measured"
        return (*known, failed, *[""] * (6 if with_datasheet else 5))
    low, high = figures["tokens_per_second_quartiles"]
    return (
        *known,
        f"{figures['tokens_per_second']:,.0f}",
        f"{low:,.0f} to {high:,.0f}",
        f"{figures['step_milliseconds']:,.1f}",
        _share(figures["mfu"]),
        *([_share(figures["mfu_datasheet"])] if with_datasheet else []),
        _size(figures["peak_memory_bytes"]),
        duration(figures["recipe_seconds"]),
    )


def _other_figures(bench: Bench) -> Iterator[str]:
    whole = bench.whole
    if whole is not None:
        yield (
            f"peak memory of a run with batch {whole.batch:,}: {_size(whole.peak_memory_bytes)}; evaluation: "
            f"{whole.forward_tokens_per_second:,.0f} tokens/s"
        )
        waited = (
            ""
            if whole.save_wait_seconds > 0.9 * whole.save_seconds
            else f" (training waits {whole.save_wait_seconds:.2f} s)"
        )
        yield (
            f"checkpoint: {_size(whole.checkpoint_bytes)}, {whole.save_seconds:.2f} s to save and read back{waited}, "
            f"{whole.load_seconds:.2f} s to load its weights"
        )
    if bench.largest is not None:
        most = "or more " if bench.largest >= MOST_BATCH else ""
        yield f"largest batch that fits into memory: {bench.largest:,} {most}({bench.base.how}; {bench.largest_evidence})"
    if bench.tokenizer:
        rates = ", ".join(
            f"{one.how} {one.tokens_per_second:,.0f} tokens/s ({one.bytes_per_second / 1e6:,.1f} MB/s)"
            for one in bench.tokenizer
        )
        yield f"tokenizer: {rates}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _size(count: float) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
