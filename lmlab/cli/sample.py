"""`lmlab sample`: generate text with a trained model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lmlab import LabError
from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.drawing import Drawing, sampling_of
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json, show_text
from lmlab.cli.progress import progress_for
from lmlab.files.storage import reason

if TYPE_CHECKING:
    from lmlab.experiment.loaded import Loaded
    from lmlab.generation.settings import Sampling
    from lmlab.generation.writer import Completion

SEPARATOR = "-" * 40


@dataclass(frozen=True, kw_only=True)
class Sample(Drawing):
    """Generate text with a run's model after prompts, or with several models side by side.

    The same arguments on the same machine give the same text.
    """

    target: tyro.conf.Positional[tuple[str, ...]]
    """RUN, RUN@best (the default), RUN@latest, RUN@STEP or RUN@init; hf:FOLDER for a local model of transformers."""
    prompt: tuple[str, ...] = ()
    """The text to continue; may be repeated; default: an empty prompt."""
    prompts_file: Annotated[str, tyro.conf.arg(aliases=["--prompts"])] = ""
    """A file with more prompts, one a line; empty lines are left out."""
    table: bool = False
    """Print a table with a row for each prompt and a column for each model; default for several models."""
    reference: str = ""
    """The address of an OpenAI-compatible server whose model writes too, such as http://127.0.0.1:11434/v1."""
    reference_model: str = ""
    """With --reference: the model's name there."""
    samples: int = 1
    """How many texts for each prompt."""
    measure: bool = False
    """Measure repetition, copying and known words of the texts, beside real text, and store the figures with the run."""
    count: int = 0
    """With --measure: how many texts, after prompts from validation text (default: 32)."""
    measure_copies: Annotated[Literal["auto", "yes", "no"], tyro.conf.arg(name="measure.copies")] = "auto"
    """With --measure: whether copies of training text are looked for; auto: in up to 256 MB of it."""
    measure_reference: Annotated[str, tyro.conf.arg(name="measure.reference")] = ""
    """With --measure: RUN or hf:FOLDER, a model whose loss on the texts is a figure, too."""
    stream: bool = True
    """Print a single text while it's generated."""
    json: bool = False
    """The texts and figures as JSON on standard output."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""


def run(arguments: list[str]) -> int:
    """Parse, generate, print; return the exit status."""
    flags = parse(Sample, arguments, "lmlab sample")
    if flags.samples < 1:
        raise UsageError(f"--samples {flags.samples}: expected at least 1")
    if not flags.target:
        raise UsageError("lmlab sample needs a run: lmlab sample RUN --prompt TEXT")
    from lmlab.experiment.loaded import load
    from lmlab.experiment.models_of_others import is_foreign

    _require_measure(flags)
    sampling = sampling_of(flags)
    prompts = list(flags.prompt) + (_lines(Path(flags.prompts_file)) if flags.prompts_file else [])
    if flags.measure:
        return _measure(flags, [prompt for prompt in prompts for _ in range(flags.samples)], sampling)
    prompts = [prompt for prompt in prompts or [""] for _ in range(flags.samples)]
    if flags.table or flags.reference or len(flags.target) > 1 or is_foreign(flags.target[0]):
        return _side_by_side(flags, prompts, sampling)
    loaded = load(flags.target[0], runs_folder(flags.runs), flags.device)
    for warning in loaded.warnings:
        show(warning, file=sys.stderr)
    if flags.stream and len(prompts) == 1 and not flags.json:
        _print_while_written(loaded, prompts[0], sampling)
        return 0
    completions = loaded.complete(prompts, sampling)
    if flags.json:
        show_json(_figures(loaded, completions))
    else:
        show_text(f"\n{SEPARATOR}\n".join(completion.prompt + completion.text for completion in completions))
    return 0


def _require_measure(flags: Sample) -> None:
    """Raise UsageError where flags of --measure are given without it, or contradict each other."""
    given = [
        name
        for name, value in (
            ("count", flags.count),
            ("measure.reference", flags.measure_reference),
            ("measure.copies", flags.measure_copies != "auto"),
        )
        if value
    ]
    if given and not flags.measure:
        raise UsageError(f"--{given[0]} needs --measure")
    if flags.count < 0:
        raise UsageError(f"--count {flags.count}: expected at least 1")
    if flags.count and (flags.prompt or flags.prompts_file):
        raise UsageError(
            "--count is the number of prompts from validation text: with --prompt or --prompts-file, use --samples"
        )
    if flags.measure and flags.samples > 1 and not (flags.prompt or flags.prompts_file):
        raise UsageError("--samples needs --prompt with --measure: the number of texts is --count")


def _measure(flags: Sample, prompts: list[str], sampling: Sampling) -> int:
    from lmlab.experiment.measuring import AskedMeasures, measure
    from lmlab.report.measures_table import measures_parts

    asked = AskedMeasures(
        prompts=tuple(prompts),
        count=flags.count or AskedMeasures.count,
        sampling=sampling,
        reference=flags.measure_reference,
        copies=flags.measure_copies,
    )
    found = measure(
        flags.target,
        asked,
        runs=runs_folder(flags.runs),
        device=flags.device,
        address=flags.reference,
        model=flags.reference_model,
        progress=progress_for(flags.json),
    )
    if flags.json:
        show_json(found.to_json())
    else:
        show(*measures_parts(found))
    return 0


def _side_by_side(flags: Sample, prompts: list[str], sampling: Sampling) -> int:
    from lmlab.experiment.side_by_side import side_by_side

    found = side_by_side(
        flags.target,
        prompts,
        sampling,
        runs=runs_folder(flags.runs),
        device=flags.device,
        address=flags.reference,
        model=flags.reference_model,
        say=lambda line: show(line, file=sys.stderr),
    )
    for warning in [warning for writer in found.writers for warning in writer.warnings]:
        show(warning, file=sys.stderr)
    if flags.json:
        show_json(found.to_json())
    else:
        show(found.table())
    return 0


def _print_while_written(loaded: Loaded, prompt: str, sampling: Sampling) -> None:
    # The prompt is printed with the first piece, so that a rejected prompt isn't printed.
    pending = [prompt]

    def show(_: int, text: str) -> None:
        show_text((pending.pop() if pending else "") + text, end="")

    loaded.complete([prompt], sampling, on_text=show)
    show_text("".join(pending))


def _figures(loaded: Loaded, completions: list[Completion]) -> dict[str, Any]:
    tokens = sum(completion.tokens for completion in completions)
    seconds = max(completion.seconds for completion in completions)
    fields = ("prompt", "text", "tokens", "reason")
    return {
        "run": loaded.run.name,
        "step": loaded.step,
        "samples": [{field: getattr(completion, field) for field in fields} for completion in completions],
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "warnings": list(loaded.warnings),
    }


def _lines(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line]
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "it isn't UTF-8"
        raise LabError(f"prompts can't be read from {path} ({why}): expected a text file in UTF-8") from None
    if not lines:
        raise LabError(f"{path} holds no prompt: expected one a line")
    return lines
