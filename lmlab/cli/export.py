"""`lmlab export`: a run's model for transformers, llama.cpp, Ollama, nanoGPT or a browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for


@dataclass(frozen=True)
class Export:
    """Write a run's model, its tokenizer and a README.md in another program's format.

    The other program then loads it, where it is installed, and must compute the same; otherwise nothing is left. lmlab plan says
    before a training what its model can be exported to. html is one file that a browser opens: weights, tokenizer and inference.
    """

    target: tyro.conf.Positional[str]
    """RUN, RUN@best (the default), RUN@latest or RUN@STEP."""
    to: Literal["hf", "gguf", "nanogpt", "html"]
    """hf: transformers (GPT2LMHeadModel, LlamaForCausalLM); gguf: llama.cpp and Ollama; nanogpt: its ckpt.pt; html: one page."""
    out: str = ""
    """The folder to write, new or empty; default: RUN-FORMAT in the current folder. Of html a new file; default: RUN.html."""
    weights: Literal["float32", "int8"] = "float32"
    """Of html: int8 is a quarter of the size, and its loss is measured on the validation split."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """What was written, as JSON on standard output."""


def run(arguments: list[str]) -> int:
    """Parse, export, print; return the exit status."""
    flags = parse(Export, arguments, "lmlab export")
    from lmlab.experiment.model_export import export_model

    made = export_model(
        flags.target,
        flags.to,
        Path(flags.out) if flags.out else None,
        weights=flags.weights,
        runs=runs_folder(flags.runs),
        progress=progress_for(quiet=flags.json),
    )
    if flags.json:
        show_json(made.to_json())
    else:
        show(*made.lines())
    return 0
