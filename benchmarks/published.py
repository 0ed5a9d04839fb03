"""The figures of README.md and of the pages in docs that `pages` names, from JSON: `docs/results.json`, `docs/demo.json`,
`docs/shakespeare-cpu.json`, the forecasts and the results of training speed.

    python -m benchmarks.published add RUN [--runs DIR]     # a finished run's figures into docs/results.json, then render
    python -m benchmarks.published render                   # the pages again

`add` takes the place of the row of the same recipe, machine and command. A row whose `source` is TYPED was typed by hand from a run
whose folder is gone: its commit is unknown, and the next run of the recipe replaces it.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.forecast_page import FIGURES
from benchmarks.forecast_passes import read_passes
from benchmarks.machine import ROOT, without_folder
from benchmarks.render import fill
from benchmarks.run_source import differs_from_commit
from lmlab import LabError
from lmlab.cli.recipes import described
from lmlab.files import read_json, write_json, write_text
from lmlab.recipe import load_recipe
from lmlab.recipe.quantities import count, duration
from lmlab.runs import Run, open_run

DATA = ROOT / "docs" / "results.json"
TYPED = "typed from a run that was not kept"
KEPT = "summary.json and origin.json of the run"
NOTHING = "-"
FORMAT = 1
WIDEST = 120
"""Characters of a line of README.md."""
INDENT = "    "
"""Of a block of code."""


def pages(root: Path = ROOT) -> dict[Path, str]:
    """The text that each page should have, by its path."""
    docs = root / "docs"
    results, rounds = read_json(docs / "results.json"), read_json(docs / "shakespeare-cpu.json")
    printed = read_json(docs / "demo.json")
    speed = [read_json(path) for path in sorted((root / "benchmarks" / "results").glob("speed-*.json"))]
    texts = {
        root / "README.md": {"demo-short": demo_short(printed), "speed": speed_range(speed)},
        docs / "getting-started.md": {"demo": demo(printed)},
        docs / "planning.md": {"forecasts": forecasts_held(read_passes(docs / "forecasts.json")[-1])},
        docs / "recipes.md": {"recipes": recipes_table(results), "best": best_loss(results)},
        docs / "results.md": {
            "machines": " ".join(f"Machine {name}: {one['about']}." for name, one in results["machines"].items()),
            "runs": runs_table(results),
            "rounds": rounds_table(rounds),
            "ratio": f"{statistics.median(one['wall_ratio'] for one in rounds['rounds']):.2f}",
            "loss": ", ".join(dict.fromkeys(repr(one["lmlab"]["valid_loss"]) for one in rounds["rounds"])),
            "estimate": ", ".join(
                dict.fromkeys(str(one["nanogpt"]["valid_loss_estimate"]) for one in rounds["rounds"])
            ),
            "verdict": verdict_table(results),
        },
    }
    return {path: fill(path.read_text(encoding="utf-8"), of_page) for path, of_page in texts.items()}


def runs_table(results: Mapping[str, Any]) -> str:
    """A row a run: what was published of the recipe, what was measured, where and by which command."""
    published = {name: one["published"] for one in results["recipes"] for name in one["names"]}
    rows = ["| recipe | published | measured | machine | command | rests on |", "|---|---|---|---|---|---|"]
    for run in results["runs"]:
        name = run["title"] or f"`{run['recipe']}`"
        rows.append(
            f"| {name} | {published.get(run['recipe']) or NOTHING} | {measured(run)} | {run['machine']} | `{run['command']}` "
            f"| {_rests_on(run)} |"
        )
    return "\n".join(rows)


def measured(run: Mapping[str, Any]) -> str:
    """A run's figures in words: those that are known of it."""
    low_high = run["loss_interval"]
    parts = [f"{run['loss']:.4f}" + (f" (95% {low_high[0]:.4f} to {low_high[1]:.4f})" if low_high else "")]
    if run["best"] is not None and run["best"]["loss"] < run["loss"]:
        parts.append(f"best {run['best']['loss']:.4f} at step {run['best']['step']:,}")
    if run["at_steps"]:
        parts.append(_at_last(run))
    parts += [f"perplexity {run['perplexity']:.2f}"] if run["perplexity"] else []
    parts += [f"{run['bits_per_byte']:.4f} bits per byte"] if run["bits_per_byte"] else []
    if run["seconds"]:
        parts.append(f"after {duration(run['seconds'])}" + (" on one core" if run["threads"] == 1 else ""))
    return ", ".join(parts)


def _rests_on(run: Mapping[str, Any]) -> str:
    if run["source"] == TYPED:
        return "a run that was not kept"
    return f"{run['date'][:10]}, {(run['commit'] or 'no commit')[:10]}"


def _at_last(run: Mapping[str, Any]) -> str:
    last = run["at_steps"][-1]
    return f"step {last['step']}: {last['train_loss']:.3f} train, {last['valid_loss']:.3f} validation"


def recipes_table(results: Mapping[str, Any]) -> str:
    """A row a recipe, or a group of the same size: parameters and length by the recipe, published, measured."""
    first = {run["recipe"]: run for run in reversed(results["runs"])}
    rows = ["| recipe | parameters | length | published | measured |", "|---|---|---|---|---|"]
    for one in results["recipes"]:
        names = ", ".join(f"`{name}`" for name in one["names"])
        group = [load_recipe(name) for name in full_names(one["names"])]
        lengths = dict.fromkeys(_length(described(recipe)) for recipe in group)
        run = first.get(one["names"][0])
        found = one["not_run"] or NOTHING if run is None else _short(run)
        cells = (names, _parameters(described(group[0])), " or ".join(lengths), one["published"] or NOTHING, found)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def full_names(names: Sequence[str]) -> list[str]:
    """`-a` behind `wikitext2-context-baseline` is `wikitext2-context-a`: it replaces what follows the second dash."""
    stem = "-".join(names[0].split("-")[:2])
    return [stem + name if name.startswith("-") else name for name in names]


def _parameters(entry: Mapping[str, Any]) -> str:
    """162,419,712, or 1,049,737 + 4.19M in tables."""
    tables = entry["table_parameters"]
    return f"{entry['parameters']:,}" + (f" + {count(tables)} in tables" if tables else "")


def _length(entry: Mapping[str, Any]) -> str:
    return f"{entry['steps']:,} steps" if entry["epochs"] is None else f"{entry['epochs']:g} epochs"


def _short(run: Mapping[str, Any]) -> str:
    if run["at_steps"]:
        return _at_last(run)
    beside = [f"perplexity {run['perplexity']:.2f}"] if run["perplexity"] else []
    beside += [f"accuracy {run['accuracy']:.1%}"] if run["accuracy"] else []
    return f"{run['loss']:.4f}" + (f" ({', '.join(beside)})" if beside else "")


def rounds_table(rounds: Mapping[str, Any]) -> str:
    """A row a round of `benchmarks.shakespeare_cpu`."""
    rows = ["| round | nanoGPT | lmlab | ratio |", "|---|---|---|---|"]
    for number, one in enumerate(rounds["rounds"], 1):
        ours = one["lmlab"]
        parts = f"training {ours['train_seconds']:.1f}, evaluation and samples {ours['evaluate_seconds']:.1f}"
        parts += f", saving {ours['save_seconds']:.1f}"
        theirs = one["nanogpt"]["seconds"]
        rows.append(f"| {number} | {theirs:.1f} s | {ours['seconds']:.1f} s ({parts}) | {one['wall_ratio']:.2f} |")
    typed = rounds.get("source_of_figures")
    return "\n".join([*rows, *(["", f"These figures were {typed}."] if typed else [])])


def verdict_table(results: Mapping[str, Any]) -> str:
    """The recipe the-verdict step by step, beside its claims."""
    run = next(run for run in results["runs"] if run["recipe"] == "the-verdict")
    claims = {(claim.metric, claim.step): claim.value for claim in load_recipe("the-verdict").claims}
    head = "| step | train published | train measured | validation published | validation measured |"
    rows = [head, "|---|---|---|---|---|"]
    for one in run["at_steps"]:
        cells = [
            f"{value:.3f}" for name in ("train_loss", "valid_loss") for value in (claims[name, one["step"]], one[name])
        ]
        rows.append(f"| {one['step']} | {' | '.join(cells)} |")
    return "\n".join(rows)


def demo(value: Mapping[str, Any]) -> str:
    """What the demo printed, as a block of code, and where."""
    return f"{_code_block(value['lines'])}\n\n({value['about']})"


def demo_short(value: Mapping[str, Any]) -> str:
    """The demo's forecast, its closing lines and the first paragraph that the model wrote, as a block of code of WIDEST characters.

    Lines that were broken at the terminal's width are broken again; `...` stands for what is left out.
    """
    lines = value["lines"]
    forecast = _index(lines, "forecast: ")
    done = _index(lines, "done: ")
    sample = _index(lines, "the model of step ")
    end = next((place for place in range(sample + 2, len(lines)) if not lines[place]), len(lines))
    shown = [
        *_rewrapped(lines[forecast:done])[:1],
        ["..."],
        *_rewrapped(lines[done : sample - 1]),
        ["", *lines[sample:end]],
    ]
    return _code_block([line for part in shown for line in part])


def _index(lines: Sequence[str], start: str) -> int:
    """Where the first line is that begins with `start`; LabError where there is none."""
    for place, line in enumerate(lines):
        if line.startswith(start):
            return place
    raise LabError(f"docs/demo.json has no line that begins with {start!r}: expected one; python -m benchmarks.demo")


def _rewrapped(lines: Sequence[str]) -> list[list[str]]:
    """Each printed line, whose continuations begin with spaces, as lines that fit into README.md."""
    parts: list[str] = []
    for line in lines:
        if line.startswith("  ") and parts:
            parts[-1] += f" {line.strip()}"
        else:
            parts.append(line)
    width = WIDEST - len(INDENT)
    return [textwrap.wrap(part, width, subsequent_indent="  ", break_on_hyphens=False) for part in parts]


def _code_block(lines: Sequence[str]) -> str:
    return "\n".join(f"{INDENT}{line}".rstrip() for line in lines)


def speed_range(results: Sequence[Mapping[str, Any]]) -> str:
    """The least and the most of the median ratios of the native engine to nanoGPT eager, over models and processors."""
    ratios = [
        statistics.median(one["samples"])
        for result in results
        for one in result["comparisons"]
        if (one["side"], one["against"]) == ("lmlab native", "nanoGPT eager")
    ]
    return f"{min(ratios):.1f} to {max(ratios):.1f}"


def best_loss(results: Mapping[str, Any]) -> str:
    """The loss of shakespeare-best against the published one of the larger model on a GPU."""
    ours = next(run["loss"] for run in results["runs"] if run["recipe"] == "shakespeare-best")
    published = min(claim.value for claim in load_recipe("shakespeare-gpu").claims if claim.metric == "valid_loss")
    return f"{ours:.2f} against {published:.2f}"


def forecasts_held(value: Mapping[str, Any]) -> str:
    """How many trainings came as forecast, and how many intervals held."""
    scores = [case["score"] for case in value["cases"]]
    parts = []
    for figure in FIGURES:
        off = [abs(score[figure.name]["ratio"] - 1) for score in scores if figure.name in score]
        within = sum(one <= figure.limit for one in off)
        parts.append(f"{figure.title} was within {figure.limit:.0%} for {within} of {len(off)}")
    inside = [score[one.name]["inside"] for score in scores for one in FIGURES if "inside" in score.get(one.name, {})]
    held = f"{sum(inside) / len(inside):.0%} of the intervals for 80% held"
    return f"{len(scores)} varied trainings on CPUs, {', '.join(parts)}; {held}"


def record_of(run: Run, machines: Mapping[str, Any], title: str | None) -> dict[str, Any]:
    """A finished run's row; LabError where it hasn't finished, or on a machine that the file doesn't describe."""
    origin, summary, policy = run.origin(), run.summary(), run.read("policy.json")
    if summary is None or not summary["finished"]:
        raise LabError(
            f"{run.folder.name} hasn't finished: expected a run with a summary; lmlab resume {run.folder.name}"
        )
    cpu = origin["hardware"]["cpu"]
    machine = next((name for name, one in machines.items() if one["cpu"] == cpu), None)
    if machine is None:
        raise LabError(
            f"{run.folder.name} is of an {cpu}: expected one of `machines` in docs/results.json; describe it there"
        )
    final, code = summary["final"], origin["code"]
    pairs = [(one["step"], one["metric"], one["measured"]) for one in summary["claims"] if one["step"] is not None]
    steps: dict[int, dict[str, float]] = {}
    for step, metric, value in pairs:
        steps.setdefault(step, {"step": step})[metric] = value
    return {
        "recipe": origin["recipe"],
        "title": title,
        "command": shlex.join(["lmlab", *map(without_folder, _without_place(origin["command"][1:]))]),
        "machine": machine,
        "source": KEPT,
        "date": origin["created"],
        "commit": code["commit"],
        "dirty": differs_from_commit(code["commit"], code["source_sha256"]),
        "steps": summary["steps"],
        **{name: final.get(name) for name in ("loss", "loss_interval", "perplexity", "accuracy", "bits_per_byte")},
        "seconds": summary["seconds"]["total"],
        "threads": policy["threads"],
        "best": {name: summary["best"][name] for name in ("step", "loss")},
        "at_steps": [one for one in steps.values() if {"train_loss", "valid_loss"} <= set(one)],
    }


def _without_place(words: Sequence[str]) -> list[str]:
    """The words without `--run NAME` and `--runs DIR`, which change no figure."""
    places = {place + more for place, word in enumerate(words) for more in (0, 1) if word in ("--run", "--runs")}
    return [word for place, word in enumerate(words) if place not in places]


def with_run(results: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """The file with that row in the place of the one of the same recipe, machine and command, or at the end."""
    same = [tuple(run[name] for name in ("recipe", "machine", "command")) for run in results["runs"]]
    key = tuple(record[name] for name in ("recipe", "machine", "command"))
    place = same.index(key) if key in same else len(same)
    return {**results, "runs": [*results["runs"][:place], dict(record), *results["runs"][place + 1 :]]}


def main() -> int:
    """Add the run that is named, if any, and write the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["add", "render"])
    parser.add_argument("run", nargs="?", help="with add: the run's name or folder")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--title", help="with add: what stands in place of the recipe's name")
    flags = parser.parse_args()
    if (flags.what == "add") != (flags.run is not None):
        parser.error("expected: add RUN, or render")
    try:
        if flags.what == "add":
            results = read_json(DATA)
            run, _ = open_run(flags.run, flags.runs)
            record = record_of(run, results["machines"], flags.title)
            if record["dirty"]:
                raise LabError(
                    f"{flags.run} was trained by code that differs from its commit: expected a clean checkout; train again"
                )
            write_json(DATA, with_run(results, record))
        for path, text in pages().items():
            write_text(path, text)
            print(path.relative_to(ROOT))
    except (LabError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
