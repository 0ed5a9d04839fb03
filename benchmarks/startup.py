"""(f) Start-up: seconds from the start of the process to the end of the first training step, cold and warm, in turns.

Both sides evaluate before their first step, as their commands do by default. Cold is an empty cache of compiled things, with the
data prepared; the system's own cache of files stays warm.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import lmlab_command
from benchmarks.commands import run_command
from benchmarks.nanogpt_command import CONFIG, FLAGS
from benchmarks.options import NO_CHECKOUT, Found, Options
from benchmarks.results import Measurement, compare_all
from benchmarks.shapes import ENGINES, RECIPE, Shape, parameter_counts, recipe_for, small
from benchmarks.speed import COMPILED, EAGER
from benchmarks.worker import ROOT, thread_settings
from lmlab import LabError
from lmlab.data.preparation import prepare

QUANTITY = "first step"
FIRST_STEP = "iter 0:"
"""How the line begins that nanoGPT prints after its first step."""
COMPILE_CACHES = ("LMLAB_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def measure(options: Options) -> Found:
    """The 0.8M model, each side cold and then warm in each round."""
    found = Found()
    shape = options.shapes([small(64, 12)])[0]
    sides = _sides(found, options, shape)
    samples: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        for name, run in list(sides.items()):
            try:
                # The first run in an empty folder is the cold one, the second the warm one.
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                    caches = {variable: str(Path(folder) / variable) for variable in COMPILE_CACHES}
                    _prepare_data(options, caches)
                    for state in ("cold", "warm"):
                        samples.setdefault((state, name), []).append(run(caches))
            except LabError as error:
                found.skip(shape.name, name, str(error))
                del sides[name]
    recipe = recipe_for(shape, options.corpus, options.threads)
    # nanoGPT's model has the same numbers.
    details = {"parameters": parameter_counts(recipe.model, prepare(recipe.data).vocabulary_size)}
    for state in ("cold", "warm"):
        measured = [
            Measurement(
                case=f"{shape.name}, {state}",
                side=name,
                quantity=QUANTITY,
                unit="s",
                samples=tuple(samples[state, name]),
                details=details,
            )
            for name in sides
        ]
        found.measurements += measured
        found.comparisons += compare_all(measured)
    return found


Run = Callable[[dict[str, str]], float]
"""Seconds to the first step, given the folders of the caches."""


def _sides(found: Found, options: Options, shape: Shape) -> dict[str, Run]:
    sides: dict[str, Run] = {}
    for engine in ENGINES:
        settings = {
            "data.corpus": str(options.corpus.resolve()),
            **{f"model.{name}": getattr(shape, name) for name in ("layers", "heads", "width", "context")},
            "train.batch": shape.batch,
            "train.engine": engine,
            "train.steps": 1,
            "train.log_every": 1,
        }
        sides[f"lmlab {engine}"] = partial(_lmlab, options, settings)
    if options.nanogpt is None:
        found.skip(shape.name, "nanoGPT", NO_CHECKOUT)
        return sides
    sides[EAGER] = partial(_nanogpt, options, shape, False)
    if options.compiled:
        sides[COMPILED] = partial(_nanogpt, options, shape, True)
    return sides


def _prepare_data(options: Options, caches: dict[str, str]) -> None:
    words = ["data", "prepare", str(options.corpus.resolve()), "--data.tokenizer", "characters", "--data.split", "tail"]
    run_command([sys.executable, "-m", "lmlab", *words], ROOT, caches)


def _lmlab(options: Options, settings: dict[str, object], caches: dict[str, str]) -> float:
    trained = lmlab_command.train(RECIPE, settings, options.threads, caches)
    if trained.first_step_seconds is None:
        raise LabError("lmlab's metrics.jsonl has no line for step 1")
    return trained.first_step_seconds


def _nanogpt(options: Options, shape: Shape, compiled: bool, caches: dict[str, str]) -> float:
    assert options.nanogpt is not None
    own = {
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "n_embd": shape.width,
        "block_size": shape.context,
        "batch_size": shape.batch,
        "max_iters": 0,
        "compile": compiled,
    }
    with tempfile.TemporaryDirectory() as out:
        flags = [*FLAGS, *(f"--{name}={value}" for name, value in own.items()), f"--out_dir={out}"]
        finished = run_command(
            [sys.executable, "train.py", CONFIG, *flags],
            options.nanogpt,
            {**thread_settings(options.threads), **caches},
            lambda line: line.startswith(FIRST_STEP),
        )
    if finished.noticed_seconds is None:
        raise LabError(f"nanoGPT printed no line that begins with '{FIRST_STEP}'")
    return finished.noticed_seconds
