"""(g) Where the time of a training step goes: attention, matmuls, element-wise, head and loss, optimizer, overhead.

On torch's engine, torch.profiler gives the time of each operator without what it calls; an operator belongs to the section that
its name and shapes tell. The profiler itself costs time, so the shares are the profile's and the milliseconds are these shares of
a step that was timed without it. The native engine keeps clocks of its own, in which activations belong to the products that they
are fused with; its optimizer is timed around its call, and what no clock saw (the batch, Python, threads that wait) is overhead.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from unittest import mock

from benchmarks.options import Found, Options
from benchmarks.ours import build_step
from benchmarks.results import Measurement
from benchmarks.shapes import ENGINES, HEADLINES, Shape, parameter_counts, recipe_for
from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.preparation import prepare
from lmlab.optim.native import NativeUpdate
from lmlab.recipe import Data
from lmlab.training.state import State

QUANTITY = "section"
STEP = "whole step"
SECTIONS = ("attention", "matmuls", "element-wise", "head and loss", "optimizer", "overhead")
MATMULS = ("aten::mm", "aten::addmm", "aten::matmul", "aten::linear", "mkl::", "mkldnn::")
LOSS = ("log_softmax", "nll_loss", "cross_entropy", "logsumexp")
ATTENTION = ("scaled_dot_product", "aten::bmm", "aten::baddbmm", "aten::softmax", "aten::_softmax")
"""Only attention has batched products."""
WARM_UP = 3
MOST_PROFILED = 20
"""Steps: the profiler keeps every operator of them."""
NATIVE_SECTIONS = {
    "packing": "matmuls",
    "matrices": "matmuls",
    "attention": "attention",
    "head": "head and loss",
    "embedding": "element-wise",
    "norms": "element-wise",
    "rotary": "element-wise",
    "adding up": "element-wise",
}


def measure(options: Options) -> Found:
    """The headline shapes on each engine."""
    import torch

    torch.set_num_threads(options.threads)
    found = Found()
    dataset = prepare(Data(corpus=str(options.corpus), tokenizer="characters", split="tail"))
    for shape in options.shapes(HEADLINES):
        for engine in ENGINES:
            try:
                samples, details = _profile(options, shape, engine, dataset)
            except LabError as error:
                found.skip(shape.name, f"lmlab {engine}", str(error))
                continue
            for section, values in samples.items():
                found.measurements.append(
                    Measurement(
                        case=f"{shape.name}, {section}",
                        side=f"lmlab {engine}",
                        quantity=QUANTITY,
                        unit="ms",
                        samples=tuple(1e3 * value for value in values),
                        details=details,
                    )
                )
    return found


def _profile(
    options: Options, shape: Shape, engine: str, dataset: Dataset
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds a step by section, a sample a round, the whole step among them; and what belongs beside them."""
    recipe = recipe_for(shape, options.corpus, options.threads, engine)
    step = build_step(recipe, dataset.tokens("train"), dataset.vocabulary_size)
    state = State()
    steps = max(1, round(options.turn_seconds / (_take(step, state, WARM_UP) / WARM_UP)))
    samples: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        whole = _take(step, state, steps) / steps
        sections = _native_sections if engine == "native" else _torch_sections
        found = sections(step, state, min(steps, MOST_PROFILED), dataset.vocabulary_size, whole)
        for section, seconds in {**found, STEP: whole}.items():
            samples.setdefault(section, []).append(seconds)
    counts = parameter_counts(recipe.model, dataset.vocabulary_size)
    return samples, {"steps_a_sample": steps, "parameters": counts}


def _take(step: Any, state: State, steps: int) -> float:
    """Take so many steps; the seconds they took."""
    started = time.perf_counter()
    for _ in range(steps):
        step.take(state)
        state.step += 1
        state.cursor += step.recipe.train.batch
    return time.perf_counter() - started


def _torch_sections(step: Any, state: State, steps: int, vocabulary: int, whole: float) -> dict[str, float]:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        seconds = _take(step, state, steps)
    totals = dict.fromkeys(SECTIONS, 0.0)
    for event in profiler.events() or []:
        section = section_of(event.name, ancestors(event), event.input_shapes, vocabulary)
        totals[section] += event.self_cpu_time_total * 1e-6
    return of_a_step(totals, seconds, whole)


def _native_sections(step: Any, state: State, steps: int, vocabulary: int, whole: float) -> dict[str, float]:
    spent = 0.0
    update = NativeUpdate.take

    def timed(self: NativeUpdate, clip: float, share: float, proceed: bool = True) -> float:
        nonlocal spent
        started = time.perf_counter()
        norm = update(self, clip, share, proceed)
        spent += time.perf_counter() - started
        return norm

    step.engine.sections()  # what the clocks counted so far
    with mock.patch.object(NativeUpdate, "take", timed):
        seconds = _take(step, state, steps)
    totals = dict.fromkeys(SECTIONS, 0.0)
    for section, count in step.engine.sections().items():
        totals[NATIVE_SECTIONS[section]] += count
    totals["optimizer"] = spent
    return of_a_step(totals, seconds, whole)


def of_a_step(totals: Mapping[str, float], seconds: float, whole: float) -> dict[str, float]:
    """Sections of some profiled steps that took `seconds`, as parts of a step that takes `whole` without the profile.

    What no section accounts for is overhead: Python between operators, and threads that wait.
    """
    unseen = max(0.0, seconds - sum(totals.values()))
    completed = {**totals, "overhead": totals["overhead"] + unseen}
    return {section: whole * total / sum(completed.values()) for section, total in completed.items()}


def ancestors(event: Any) -> list[str]:
    """The names of the operators that called this one, the nearest first."""
    names = []
    while (event := event.cpu_parent) is not None:
        names.append(event.name)
    return names


def section_of(name: str, callers: Sequence[str], shapes: Iterable[Any], vocabulary: int) -> str:
    """The section that an operator's own time belongs to.

    A product with the vocabulary in its shape is the head's; the embedding's look-up is element-wise work.
    """
    names = [name, *callers]
    if any("ptimizer" in one or "foreach" in one or "linalg_vector_norm" in one for one in names):
        return "optimizer"
    if any(part in one for one in names for part in ATTENTION):
        return "attention"
    if any(part in one for one in names for part in LOSS):
        return "head and loss"
    if any(one.startswith(MATMULS) for one in names):
        return "head and loss" if any(vocabulary in (shape or []) for shape in shapes) else "matmuls"
    if not name.startswith(("aten::", "mkl")):
        return "overhead"
    return "element-wise"
