"""Extrapolate a model with long steps from one layer and two layers: each further layer costs as much as the second.

    value(L) = value(1) + (L - 1) (value(2) - value(1))

This holds for time, memory and bytes of a model of equal layers; head, embedding and loss are in value(1). Where the first layer
lacks a part of the later ones (value residuals, embedding skips), two and three layers are measured.

Where even a step of few layers takes very long, few sequences are measured instead (`from_sequences.py`).
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lmlab.model.cost import activation_bytes, flops_per_token
from lmlab.model.families import family_of
from lmlab.planning.memory.parts import computed_in_chunks
from lmlab.planning.trials.child import TOO_LONG, Measurement, measure
from lmlab.planning.trials.from_sequences import TIMES, few_sequences, with_all_sequences
from lmlab.planning.trials.peaks import fastest_flops, peak_flops
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Evidence
from lmlab.training.evaluating import TRAINING_STEP_IN_FORWARDS
from lmlab.training.memory import checkpoint_bytes, logit_bytes
from lmlab.training.policy import Policy
from lmlab.training.saving import saves_in_background

LONG_STEP_SECONDS = 1.0
LONGEST_TRIED_SECONDS = 10.0
"""Time of a step of few layers above which few sequences are tried instead of few layers, so that a plan doesn't take an hour."""
USUAL_UTILISATION = 0.4
"""Share of the peak of matrix products that a training step reaches: 0.2 to 0.6 on the machines that were measured."""
FEWEST_STEPS = 3
"""Steps of a child process: the first, one to warm up, and one that counts."""
WHOLE_MODEL_LAYERS = 3
"""Up to this many layers the model itself takes no longer than two smaller ones."""


def expected_step_seconds(recipe: Recipe, vocabulary: int, sequences: int, flops_per_second: float) -> float:
    """Return about how long a step of so many sequences takes where products reach `flops_per_second`, by arithmetic only."""
    tokens = sequences * recipe.model.context
    return tokens * flops_per_token(recipe.model, vocabulary).training / (USUAL_UTILISATION * flops_per_second)


def measured_or_extended(
    recipe: Recipe,
    policy: Policy,
    data_folder: str | Path,
    vocabulary: int,
    *,
    micro_batch: int | None = None,
    batch: int | None = None,
    steps: int = 8,
    seconds: float = 4.0,
    whole: bool = True,
    deadline_seconds: float = 120,
    peak: float | None = None,
    run: Callable[..., Measurement] = measure,
) -> tuple[Measurement, Evidence]:
    """Measure the model itself, or, where a step would take above a second, few layers or sequences, extrapolated to all.

    `peak` is the FLOP/s of products here (default: measured).
    """
    options = {"micro_batch": micro_batch, "batch": batch, "steps": steps, "seconds": seconds, "whole": whole}
    options["deadline_seconds"] = deadline_seconds
    sequences = batch or recipe.train.batch
    passes = min(micro_batch or batch or policy.micro_batch, sequences)
    model = recipe.model
    layers = model.layers
    reached = peak or peak_flops(policy)
    expected = expected_step_seconds(recipe, vocabulary, sequences, reached)
    long = expected > LONG_STEP_SECONDS

    def shortest() -> float:
        """Return the seconds of a step at the fastest rate that is possible here."""
        return USUAL_UTILISATION * expected * reached / (peak or fastest_flops(policy))

    fewest = family_of(model).fewest_layers(model)
    least = dataclasses.replace(recipe, model=dataclasses.replace(model, layers=min(layers, fewest + 1)))
    if sequences >= TIMES and expected_step_seconds(least, vocabulary, sequences, reached) > LONGEST_TRIED_SECONDS:
        few = few_sequences(sequences, expected)
        if FEWEST_STEPS * expected * TIMES * few / sequences > deadline_seconds:
            failed = f"{TOO_LONG} {deadline_seconds:g} s for {FEWEST_STEPS} steps of {TIMES * few} sequences"
            return Measurement(micro_batch=passes, batch=sequences, failed=failed), "extrapolated"

        def tried(count: int) -> Measurement:
            size = min(count, passes)
            return run(recipe, policy, data_folder, **options | {"batch": count, "micro_batch": size})

        least_seconds = shortest() / sequences
        return _from_sequences(recipe, policy, vocabulary, tried, few, sequences, passes, least_seconds), "extrapolated"
    if not long or layers <= WHOLE_MODEL_LAYERS:
        return run(recipe, policy, data_folder, **options), "measured"
    found = []
    # Whether checkpoints are saved in the background depends on their size, and takes a copy of them: as for the whole model.
    background: Literal["on", "off"] = (
        "on" if saves_in_background(recipe, checkpoint_bytes(recipe, vocabulary)) else "off"
    )
    train = dataclasses.replace(recipe.train, background=background)
    for count in (fewest, fewest + 1):
        smaller = dataclasses.replace(recipe, model=dataclasses.replace(model, layers=count), train=train)
        found.append(run(smaller, policy, data_folder, **options))
        if found[-1].failed:
            return found[-1], "extrapolated"
    whole_model = extended(found[0], found[1], fewest, layers)
    if statistics.median(whole_model.step_seconds) < shortest():
        return impossible(whole_model, expected, sequences * model.context), "extrapolated"
    return whole_model, "extrapolated"


def _from_sequences(
    recipe: Recipe,
    policy: Policy,
    vocabulary: int,
    tried: Callable[[int], Measurement],
    few: int,
    sequences: int,
    passes: int,
    least_seconds: float,
) -> Measurement:
    """Return the figures of a step over `sequences` in passes of `passes`, from steps over `few` and `TIMES` as many."""
    found = []
    for count in (few, TIMES * few):
        found.append(tried(count))
        if found[-1].failed:
            return found[-1]
    sizes = (*(one.micro_batch for one in found), passes)
    alike = len({_loss_in_chunks(recipe, policy, vocabulary, size) for size in sizes}) == 1

    def counted_bytes(size: int) -> int:
        return _pass_bytes(recipe, policy, vocabulary, size, with_logits=not alike)

    return with_all_sequences(found[0], found[1], sequences, passes, least_seconds, counted_bytes, alike)


def _loss_in_chunks(recipe: Recipe, policy: Policy, vocabulary: int, size: int) -> bool:
    """Return whether the loss of a pass of `size` sequences computes logits chunk by chunk."""
    tokens, device = size * recipe.model.context, policy.torch_device.type
    return family_of(recipe.model).loss_chunk(vocabulary, tokens, device) is not None


def _pass_bytes(recipe: Recipe, policy: Policy, vocabulary: int, size: int, with_logits: bool) -> int:
    """Return the bytes that a pass of `size` sequences saves for backward, and those of its logits where they are asked for."""
    # Where the engine computes the whole step, it processes a batch in chunks and saves little of it.
    if computed_in_chunks(recipe, policy):
        return 0
    device = policy.torch_device.type
    kept = activation_bytes(recipe.model, vocabulary, size, policy.element_bytes, device)
    return kept + (logit_bytes(recipe, vocabulary, size, device) if with_logits else 0)


def impossible(found: Measurement, expected: float, step_tokens: int) -> Measurement:
    """Replace figures whose steps would exceed the peak of multiply-adds: other work disturbed them, so arithmetic is more
    accurate."""
    forward = TRAINING_STEP_IN_FORWARDS * step_tokens / expected
    return dataclasses.replace(found, step_seconds=(expected,), forward_tokens_per_second=forward, counted=True)


def extended(fewer: Measurement, more: Measurement, fewer_layers: int, layers: int) -> Measurement:
    """Return the figures of a model with `layers` layers, from those with `fewer_layers` and one more."""
    further = layers - fewer_layers

    def at(name: str) -> float:
        first, second = getattr(fewer, name), getattr(more, name)
        # A layer with a negative cost was disturbed by other work.
        found: float = first + further * max(0.0, second - first)
        return found

    # Extrapolated quartile by quartile, which keeps the spread of the smaller models' steps.
    pairs = zip(*(_resampled(one.step_seconds) for one in (fewer, more)), strict=True)
    steps = tuple(first + further * max(0.0, second - first) for first, second in pairs)
    rates = [one.forward_tokens_per_second for one in (fewer, more)]
    forward = 0.0
    if all(rates):
        forward = 1 / (1 / rates[0] + further * max(0.0, 1 / rates[1] - 1 / rates[0]))
    return dataclasses.replace(
        more,
        extended=True,
        step_seconds=steps,
        forward_tokens_per_second=forward,
        first_step_seconds=at("first_step_seconds"),
        build_seconds=at("build_seconds"),
        sample_seconds=at("sample_seconds"),
        save_seconds=at("save_seconds"),
        save_wait_seconds=at("save_wait_seconds"),
        load_seconds=at("load_seconds"),
        checkpoint_bytes=int(at("checkpoint_bytes")),
        peak_memory_bytes=int(at("peak_memory_bytes")),
        peak_with_earlier_best_bytes=int(at("peak_with_earlier_best_bytes")),
    )


def _resampled(values: tuple[float, ...]) -> tuple[float, float, float]:
    """Return the quartiles; all three equal for a single value."""
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
