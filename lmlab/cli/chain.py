"""`lmlab chain`: from text to a base model, its tunings and a comparison of their answers, in one file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.asking import require_yes
from lmlab.cli.closing import print_outcome, speaker
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for

if TYPE_CHECKING:
    from lmlab.judge.asked import Cost

MOST_CALLS = 5_000
"""More calls of a judge need a confirmation."""
MOST_PAIRED = 4
"""With more models the verdicts on all pairs are in judged.json alone."""


@dataclass(frozen=True)
class Chain:
    """Train base models, tune each on conversations, compare the answers, and tell whether these follow the loss of the bases.

    Its runs are ordinary runs, named CHAIN-BASE and CHAIN-BASE-TUNING. The same command continues where it was stopped: what is
    finished is left out.
    """

    file: tyro.conf.Positional[str] = ""
    """The chain's .toml file: [[bases]], [[tunings]] and [judge]."""
    runs: str = ""
    """Where the runs and the chain's folder are made; default: LMLAB_RUNS, or ./runs."""
    yes: bool = False
    """Ask many calls of a judge without a confirmation."""
    quiet: bool = False
    """No display, only the result."""
    json: bool = False
    """The result as JSON on standard output, all else on standard error."""


def run(arguments: list[str]) -> int:
    """Parse, run all steps, print; return 3 where a signal stopped a training after saving."""
    flags = parse(Chain, arguments, "lmlab chain")
    if not flags.file:
        raise UsageError("lmlab chain needs a file: lmlab chain FILE.toml")
    from lmlab.chain.definition import load_chain
    from lmlab.chain.page import chain_parts, write_page
    from lmlab.chain.running import Surroundings, run_chain
    from lmlab.experiment.finish import Outcome
    from lmlab.report.judge_table import judge_parts
    from lmlab.training.display import make_display

    chain = load_chain(Path(flags.file))
    runs = runs_folder(flags.runs)
    around = Surroundings(
        runs=runs,
        options=lambda: {"display": make_display(flags.quiet, flags.json)},
        progress=progress_for(quiet=flags.quiet or flags.json),
        say=speaker(json_output=flags.json, quiet=flags.quiet),
        confirm=lambda cost: _confirm(flags, cost),
    )
    found = run_chain(chain, around)
    if isinstance(found, Outcome):
        return print_outcome(found, json_output=flags.json, quiet=flags.quiet)
    result, figures, path = found
    written = write_page(result, runs)
    if flags.json:
        show_json({**result.to_json(), "file": str(path), "files": [str(one) for one in written]})
    else:
        show(*judge_parts(figures, pairs=len(figures.names) <= MOST_PAIRED), "", *chain_parts(result))
        show(*(str(one) for one in (path, *written)))
    return 0


def _confirm(flags: Chain, cost: Cost) -> None:
    show(cost.line(), file=sys.stderr)
    if cost.calls - cost.known > MOST_CALLS:
        require_yes(f"{cost.line()}.", flags.yes)
