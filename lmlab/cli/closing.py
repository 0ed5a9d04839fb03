"""What `train` and `resume` print before and after: lines of text, or one JSON value."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from lmlab import LabError
from lmlab.cli.printing import show, show_json, show_text
from lmlab.training.display import silence

if TYPE_CHECKING:
    from lmlab.experiment.finish import Outcome

STOPPED = 3
CLOSING_PROMPT_TOKENS = 120


def speaker(json_output: bool, quiet: bool) -> Callable[[object], None]:
    """Return a function that prints lines for the user: to standard output, or to standard error with --json; nothing with `quiet`,
    where `print_outcome` prints the closing lines.

    A closed stream is ignored, so that the work continues.
    """
    if quiet and not json_output:
        return lambda line: None

    def say(line: object) -> None:
        stream = sys.stderr if json_output else sys.stdout
        try:
            show(line, file=stream, flush=True)
        except OSError:
            silence(stream)

    return say


def print_outcome(outcome: Outcome, json_output: bool, quiet: bool) -> int:
    """Print the closing lines; return the exit status."""
    stopped = outcome.ending.kind == "stopped"
    if json_output:
        best = outcome.summary.get("best", {})
        value = {
            **best,
            **outcome.summary,
            "run": outcome.run.name,
            "folder": str(outcome.run.folder),
            "stopped": stopped,
        }
        show_json(value)
        return STOPPED if stopped else 0
    if stopped:
        if quiet:
            show(*outcome.lines, file=sys.stderr)
        return STOPPED
    if quiet:
        show(*outcome.lines)
    else:
        # For a finished run that has lost its model, an earlier line reports that.
        with contextlib.suppress(LabError):
            _print_sample(outcome)
            show(
                f"sample more: lmlab sample {outcome.run.folder} --prompt ...   curves: lmlab report {outcome.run.folder}"
            )
    show(outcome.run.folder)
    return 0


def _print_sample(outcome: Outcome) -> None:
    """Print the best model's continuation of the recipe's first prompt."""
    from lmlab.experiment.loaded import load

    loaded = load(outcome.run)
    prompt = loaded.recipe.evaluate.prompts[0] if loaded.recipe.evaluate.prompts else ""
    template = outcome.run.template()
    stop = () if template is None else template.stop
    text = loaded.generate(prompt, tokens=CLOSING_PROMPT_TOKENS, temperature=0.7, stop=stop)
    show("", f"the model of step {loaded.step:,} generates:", "")
    show_text("".join(f"    {line}\n" for line in text.splitlines()))
