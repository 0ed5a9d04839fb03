"""The tables of docs/studies/evaluation.md: several models on a common text and on benchmark tasks, with the tasks' controls.

    lmlab compare --table RUN RUN... --on TEXT --json > table.json
    lmlab evaluate RUN --tasks all --json > whole.json
    lmlab sample RUN RUN... --prompts FILE --json > samples.json
    python -m benchmarks.evaluation_page --table table.json --whole whole.json --samples samples.json --runs RUNS
    python -m benchmarks.evaluation_page                    # the page again, from what is published

The first form publishes: it writes docs/studies/evaluation/evaluation.json and beside it the archive of the runs, from which
`lmlab verify` computes each figure of the table again. Controls are read from the archive.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.published_studies import DOCS
from benchmarks.render import fill
from benchmarks.study_sources import context_of_runs
from lmlab import LabError, printable
from lmlab.files import read_json, write_json, write_text
from lmlab.study.verify.bundle import NAME, unpack
from lmlab.study.verify.verification import pack, verify

PAGE = DOCS / "evaluation.md"
FOLDER = DOCS / "evaluation"
VALUES = FOLDER / "evaluation.json"
CONTROLS = ("constant", "first", "shuffled", "swapped", "shortest", "corrupted")
COMMAND = ["python", "-m", "benchmarks.evaluation_page"]
NOTHING = "-"
LONGEST_SAMPLE = 88
"""Characters of a continuation in the table."""


def main() -> int:
    """Publish, where the values are given, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation_page", description=(__doc__ or "").split("\n")[0]
    )
    for name in ("table", "whole", "samples"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--runs", type=Path, help="the folder of the table's runs")
    flags = parser.parse_args()
    try:
        if flags.table is not None:
            if None in (flags.whole, flags.samples, flags.runs):
                raise LabError("--table is published with --whole, --samples and --runs: add them")
            print(publish(flags.table, flags.whole, flags.samples, flags.runs))
        write_text(PAGE, page(PAGE.read_text(encoding="utf-8")))
    except LabError as error:
        print(f"evaluation_page: {error}", file=sys.stderr)
        return 1
    return 0


def publish(table: Path, whole: Path, samples: Path, runs: Path) -> str:
    """Write values and archive; return a line about what of it holds."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    value = {**read_json(table), "on": Path(read_json(table)["on"]).name}
    value = {**value, "whole": whole_of(read_json(whole)), "samples": samples_of(read_json(samples))}
    write_json(VALUES, value)
    archive, size = pack(VALUES, runs)
    write_json(VALUES, {**value, "context": context_of_runs(FOLDER / NAME, COMMAND)})
    return f"{verify(VALUES, None).line()}; {archive.name} {size:,} bytes"


def whole_of(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `lmlab evaluate --tasks --json` says of each task with all of its items, in its primary style."""
    rows = []
    for task in found["tasks"]:
        for result in task["results"]:
            one = {**task, **result}
            style = one["styles"][one["style"]]
            kept = {name: style[name] for name in ("accuracy", "low", "high")}
            rows.append(
                {"task": one["name"], **kept, **{name: one[name] for name in ("model", "scored_items", "standing")}}
            )
    return rows


def samples_of(found: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Model and texts of `lmlab sample --json`."""
    return [
        {
            "model": f"{one['run']}@{one['step']}",
            "texts": [{name: text[name] for name in ("prompt", "text")} for text in one["samples"]],
        }
        for one in found
    ]


def page(before: str) -> str:
    """The page with its tables; as it is, where nothing is published yet."""
    if not VALUES.is_file():
        return before
    value = read_json(VALUES)
    with tempfile.TemporaryDirectory() as folder:
        unpack(FOLDER / NAME, Path(folder))
        stored = {
            (one["id"], one["step"], one["task"]): one
            for path in sorted(Path(folder).glob("*/tasks/*.json"))
            for one in [json.loads(path.read_text(encoding="utf-8"))]
        }
    return fill(
        before,
        {
            "text": text_table(value),
            "tasks": tasks_table(value),
            "controls": controls_table(value, stored),
            "whole": whole_table(value["whole"]),
            "samples": samples_table(value["samples"]),
        },
    )


def text_table(value: Mapping[str, Any]) -> str:
    """A row a model: what it is, and its figures on the common text."""
    lines = [
        "| model | parameters | tokens seen | own loss | loss | perplexity | bits per byte | 95% interval | accuracy |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in value["rows"]:
        own, text = row["own"], row["text"]
        loss = NOTHING if own is None or own["loss"] is None else f"{own['loss']:.4f}"
        tokens = NOTHING if row["tokens"] is None else f"{row['tokens']:,}"
        low, high = text["interval"]
        lines.append(
            f"| {row['name']} | {row['parameters']:,} | {tokens} | {loss} | {text['loss']:.4f} | {text['perplexity']:.1f} | "
            f"{text['bits_per_byte']:.4f} | {low:.4f} to {high:.4f} | {text['accuracy']:.1%} |"
        )
    return "\n".join(lines)


def tasks_table(value: Mapping[str, Any]) -> str:
    """A row a task, a column a model; ~ where the accuracy isn't above chance and every constant choice."""
    rows = value["rows"]
    tasks = sorted({task for row in rows for task in row["tasks"]})
    lines = [f"| task | items | {' | '.join(row['name'] for row in rows)} |", f"|---|---:|{'---:|' * len(rows)}"]
    for task in tasks:
        found = [row["tasks"].get(task) for row in rows]
        items = next(one["items"] for one in found if one)
        cells = [
            NOTHING if one is None else f"{one['accuracy']:.1%} {'' if one['standing'] == 'above' else '~'}".strip()
            for one in found
        ]
        lines.append(f"| {task} | {items:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def controls_table(value: Mapping[str, Any], stored: Mapping[tuple[str, int, str], Mapping[str, Any]]) -> str:
    """A row a task: chance, majority, the controls of the table's best-trained model, and what the set can show."""
    row = max((row for row in value["rows"] if row["own"]), key=lambda row: row["tokens"] or 0)
    lines = [
        f"| task | {row['name']} | chance | majority | {' | '.join(CONTROLS)} | shows a difference of | in the training text |",
        f"|---|---:|---:|---:|{'---:|' * len(CONTROLS)}---:|---:|",
    ]
    for task in sorted(row["tasks"]):
        one = stored[row["id"], row["step"], task]
        controls = [_share(one["controls"][name]) for name in CONTROLS]
        found = one["contamination"]
        seen = NOTHING if not found else f"{found['found']:,} of {found['compared']:,}"
        lines.append(
            f"| {task} | {row['tasks'][task]['accuracy']:.1%} | {_share(one['chance'])} | {_share(one['majority'])} | "
            f"{' | '.join(controls)} | {_share(one['power']['between_models'])} | {seen} |"
        )
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def whole_table(rows: list[dict[str, Any]]) -> str:
    """A row a task, scored with all of its items."""
    models = list(dict.fromkeys(one["model"] for one in rows))
    lines = [f"| task | items | {' | '.join(models)} |", f"|---|---:|{'---:|' * len(models)}"]
    for task in dict.fromkeys(one["task"] for one in rows):
        of_task = {one["model"]: one for one in rows if one["task"] == task}
        cells = [
            f"{one['accuracy']:.2%} ({one['low']:.2%} to {one['high']:.2%}){'' if one['standing'] == 'above' else ' ~'}"
            for one in (of_task[model] for model in models)
        ]
        lines.append(f"| {task} | {next(iter(of_task.values()))['scored_items']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def samples_table(found: list[Mapping[str, Any]]) -> str:
    """A row a model for each prompt, in blocks of code, since the texts are anything."""
    blocks = []
    for place, first in enumerate(found[0]["texts"]):
        lines = [f"    {first['prompt']} ..."]
        for one in found:
            text = printable(" ".join(one["texts"][place]["text"].split()))[:LONGEST_SAMPLE]
            lines.append(f"      {one['model']:<26} {text}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


if __name__ == "__main__":
    sys.exit(main())
