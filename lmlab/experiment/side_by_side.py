"""The texts of several models after the same prompts: runs, local models of transformers, and a reference behind an address."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.exchange.reference_writer import Asked, ReferenceWriter
from lmlab.experiment.loaded import load
from lmlab.experiment.models_of_others import is_foreign, load_foreign
from lmlab.generation.settings import Sampling
from lmlab.training.table import Column, Table

FIELDS = ("prompt", "text", "tokens", "seconds", "reason")


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What one model wrote."""

    name: str
    step: int | None
    """The run's checkpoint; None for a model that isn't a run."""
    samples: tuple[dict[str, Any], ...]
    """For each prompt: prompt, text, tokens, seconds and reason."""
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return {
            "run": self.name,
            "step": self.step,
            "samples": list(self.samples),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """The texts of several models."""

    writers: tuple[Texts, ...]

    def table(self) -> Table:
        """Return a row for each prompt and a column for each model."""
        columns = [Column("prompt", wraps=True), *(Column(_title(one), wraps=True) for one in self.writers)]
        rows = [
            (row[0]["prompt"] or "(none)", *(entry["text"] for entry in row))
            for row in zip(*(one.samples for one in self.writers), strict=True)
        ]
        return Table(columns=tuple(columns), rows=tuple(rows))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the value for --json."""
        return [one.to_json() for one in self.writers]


def side_by_side(
    references: Sequence[str],
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    runs: Path,
    device: str = "auto",
    address: str = "",
    model: str = "",
    say: Callable[[str], object] = lambda line: None,
    wrote: Callable[[int], object] = lambda characters: None,
) -> SideBySide:
    """Let each model write after each prompt, one model in memory at a time.

    `references` are runs, or hf:FOLDER; `address` that of an OpenAI-compatible server (empty: none) and `model` the model there.
    `say` is told whose turn it is, and `wrote` how many characters more there are. LabError where a model can't be loaded, or
    can't read a prompt.
    """
    found = []
    # Refused before anything is computed.
    reference = ReferenceWriter(address, model) if address else None
    for name in references:
        say(f"{name} writes {len(prompts)} texts")
        found.append(_written(name, prompts, sampling, runs, device, wrote))
    if reference is not None:
        say(f"{reference.name} writes {len(prompts)} texts")
        asked = Asked(**{entry.name: getattr(sampling, entry.name) for entry in dataclasses.fields(Asked)})
        answers = tuple(reference.answers(prompts, asked))
        found.append(Texts(name=reference.name, step=None, samples=answers, warnings=()))
    return SideBySide(writers=tuple(found))


def _written(
    name: str,
    prompts: Sequence[str],
    sampling: Sampling,
    runs: Path,
    device: str,
    wrote: Callable[[int], object],
) -> Texts:
    def on_text(_: int, text: str) -> None:
        wrote(len(text))

    if is_foreign(name):
        foreign = load_foreign(name, device)
        completions = foreign.complete(prompts, sampling, on_text=on_text)
        label, step, warnings = name, None, foreign.warnings
    else:
        loaded = load(name, runs, device)
        label, step, warnings = loaded.run.name, loaded.step, loaded.warnings
        completions = loaded.complete(prompts, sampling, on_text=on_text)
    samples = tuple({field: getattr(one, field) for field in FIELDS} for one in completions)
    return Texts(name=label, step=step, samples=samples, warnings=warnings)


def _title(texts: Texts) -> str:
    return texts.name if texts.step is None else f"{texts.name}@{texts.step}"
