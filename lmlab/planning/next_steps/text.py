"""The options after a run as lines of text, and for --json."""

from __future__ import annotations

import math
from typing import Any

from lmlab.planning.next_steps.facts import RunFacts
from lmlab.planning.next_steps.ranking import NextSteps, Option, repetition
from lmlab.recipe.quantities import count, duration
from lmlab.training.table import Part, table

LEAST_GAIN = 0.002
"""Nats: a smaller gain counts as none."""


def lines_of(found: NextSteps) -> list[Part]:
    """Return the run, the options as a table, and how much of the text is left."""
    facts = found.facts
    kept = f", its best at step {facts.steps:,}" if facts.turned else ""
    lines: list[Part] = [
        f"{facts.name}: loss {facts.loss:.4f}{kept} after {count(facts.tokens)} tokens with {count(facts.parameters)} parameters"
    ]
    headings = ("nats an hour", "gain (80%)", "loss", "time", "what", "note")
    lines.append(table(headings, [_cells(option) for option in found.options], words=("what",), wraps=("note",)))
    lines.append(text_line(facts))
    if found.options[0].gain.value > LEAST_GAIN:
        lines.append(f"first: {found.options[0].command}")
    else:
        lines.append("nothing here is expected to gain anything: other text, or another recipe, would")
    return [*lines, f"gains: {found.source}"]


def to_json(found: NextSteps) -> dict[str, Any]:
    """Return the value for --json."""
    facts = found.facts
    return {
        "run": facts.name,
        "loss": facts.loss,
        "parameters": facts.parameters,
        "tokens": facts.tokens,
        "unique_tokens": facts.unique_tokens,
        "passes": facts.passes,
        "turned": facts.turned,
        "source": found.source,
        "options": [
            {
                "what": option.what,
                "gain": option.gain.to_json(),
                "gain_an_hour": option.gain_an_hour,
                "loss": option.loss.to_json(),
                "seconds": option.seconds.to_json(),
                "command": option.command,
                "note": option.note,
            }
            for option in found.options
        ],
    }


def text_line(facts: RunFacts) -> str:
    """Describe how much of the text was read, and from which step on it's repeated."""
    unique = facts.unique_tokens
    if facts.passes < 1.0:
        end = facts.steps + math.ceil((unique - facts.tokens) / facts.step_tokens)
        return f"text: {facts.passes:.0%} of {count(unique)} tokens read; it is used up at step {end:,}"
    return f"text: {count(unique)} tokens, read {facts.passes:.3g} times; {repetition(facts.passes)}"


def _cells(option: Option) -> list[str]:
    gain, seconds = option.gain, option.seconds
    worth = gain.value > LEAST_GAIN
    return [
        f"{option.gain_an_hour:.3g}" if worth else "0",
        f"{gain.value:.3f} ({gain.low:.3f} to {gain.high:.3f})" if worth else "0",
        f"{option.loss.value:.3f}",
        duration(seconds.value),
        option.what,
        option.note,
    ]
