"""`lmlab bench`: the speed of a recipe on this machine, and recommended settings."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from lmlab.cli.arguments import parse, recipe_shown, split_overrides, with_tables
from lmlab.cli.closing import STOPPED
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for
from lmlab.files.durable import without_nan


@dataclass(frozen=True)
class Bench:
    """Measure tokens/s, MFU, peak memory and milliseconds a step by batch size, precision, compilation, engine and threads.

    Real steps in child processes, in rounds over all settings. Ctrl-C prints the results so far. Every field of the recipe is a
    flag too, under its dotted name: --model.width 256.
    """

    target: tyro.conf.Positional[str] = ""
    """A recipe (lmlab recipes), a recipe's .toml file, or a text."""
    size: str = ""
    """For a text: parameters of the model, n-gram tables included, such as 750k, 2M or 10M; default: chosen for this machine."""
    tables: bool = True
    """--no-tables: a model without n-gram tables (model.ngrams none)."""
    batch: str = ""
    """Batch sizes to measure, such as 1,2,4; default: 1, 2, 4, ... while memory and time allow."""
    quick: bool = False
    """About a minute on a CPU for a small recipe (the default): one setting is changed at a time."""
    thorough: bool = False
    """All combinations, more rounds, larger batches, compilation on a CPU too: many minutes."""
    rounds: int = 0
    """How many times each setting is measured; default: 2, with --thorough 5."""
    out: str = ""
    """Write FILE.json, FILE.svg and FILE.png; default: bench-RECIPE in this folder."""
    quiet: bool = False
    """Print nothing while measuring."""
    json: bool = False
    """The figures as JSON on standard output."""


def run(arguments: list[str]) -> int:
    """Parse, measure, print, draw; return 3 where it was interrupted."""
    words, overrides = split_overrides(arguments)
    flags = parse(Bench, words, "lmlab bench", recipe_shown(words, overrides))
    overrides = with_tables(overrides, flags.tables)
    if not flags.target:
        raise UsageError("lmlab bench needs a recipe or a text: lmlab recipes lists the recipes")
    if flags.quick and flags.thorough:
        raise UsageError("--quick and --thorough exclude each other: give one of them")
    batches = _batches(flags.batch)
    from lmlab.experiment.asked import recipe_asked
    from lmlab.experiment.benching import bench
    from lmlab.runs.names import stem_of

    progress = progress_for(flags.quiet or flags.json)
    recipe = recipe_asked(
        flags.target, overrides, flags.size or None, say=lambda line: show(line, file=sys.stderr), progress=progress
    )
    stem = Path(flags.out.removesuffix(".json") or f"bench-{stem_of(recipe.name)}")
    if flags.out and (not stem.name or stem.is_dir()):
        raise UsageError(f"--out {flags.out} is a folder: expected a file's name, such as {stem / 'bench.json'}")
    from lmlab.files import make_folder, write_json
    from lmlab.report.bench_figure import write_bench
    from lmlab.report.bench_table import bench_lines

    make_folder(stem.parent, "choose another --out")  # before the measurements, which take minutes

    def say(line: str) -> None:
        if not flags.quiet:
            show(f"measuring {line}", file=sys.stderr, flush=True)

    found = bench(
        recipe,
        batches=batches,
        thorough=flags.thorough,
        rounds=flags.rounds or None,
        progress=progress,
        say=say,
    )
    written = []
    if any(row.rounds for row in found.rows):
        written = [stem.with_name(f"{stem.name}.json"), *write_bench(found, stem)]
        write_json(written[0], without_nan(found.to_json()))
    if flags.json:
        show_json({**found.to_json(), "files": [str(path) for path in written]})
    else:
        show(*bench_lines(found), "", *written)
    return STOPPED if found.interrupted else 0


def _batches(text: str) -> tuple[int, ...]:
    """Parse "1,2,4" to numbers; UsageError for anything else."""
    try:
        return tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"--batch {text[:40]}: expected batch sizes with commas between, such as 1,2,4") from None
