"""`lmlab plan`: the cost and the expected loss of a training on this machine, tried in child processes before the run exists."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from lmlab.data.fresh import training_split
from lmlab.data.preparation import prepare
from lmlab.data.progress import Progress
from lmlab.data.reading import Reading, reading
from lmlab.data.shards.existing import Beginning
from lmlab.data.tokenizers import load_tokenizer
from lmlab.experiment.ladder import run_ladder
from lmlab.experiment.outline import Outline, outline_of, with_known_prompts
from lmlab.experiment.parent import Parent
from lmlab.experiment.planned_data import data_for_plan
from lmlab.files import read_json
from lmlab.hardware.device import choose_device
from lmlab.hardware.energy import EnergyMeter
from lmlab.hardware.nvml import nvidia_gpu
from lmlab.planning.cards.price import Price
from lmlab.planning.combine import product
from lmlab.planning.forecasts.duration import Duration, duration_of
from lmlab.planning.forecasts.forecast import forecast_from
from lmlab.planning.forecasts.history import finished_runs
from lmlab.planning.forecasts.usual_rate import usual_rate
from lmlab.planning.forecasts.validation import Validation, validation_of
from lmlab.planning.losses.ladder import ladder_seconds
from lmlab.planning.memory.by_micro_batch import CostLines, measure_lines
from lmlab.planning.memory.largest import largest_that_fits
from lmlab.planning.memory.parts import MemoryParts, computed_in_chunks, memory_parts
from lmlab.planning.plan import Plan
from lmlab.planning.position import Position, position_of
from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.from_arithmetic import counted_trial
from lmlab.planning.trials.from_layers import measured_or_extended
from lmlab.planning.trials.here import NOTICE, in_this_process, refusal
from lmlab.planning.trials.peaks import datasheet_of, peak_flops
from lmlab.planning.trials.stored_trials import keep_trial, kept_trial
from lmlab.recipe import Recipe, check
from lmlab.scaling.estimate import Estimate
from lmlab.scaling.estimate import Evidence as Kind
from lmlab.training.display import Display, make_display
from lmlab.training.length import times_in
from lmlab.training.memory import device_memory_bytes
from lmlab.training.wall import WallClock


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """The results of the child processes."""

    trial: Measurement
    """With the memory of a run: `lmlab train` holds as much before its first step as this process."""
    evidence: Kind
    lines: CostLines | None
    watts: Estimate | None
    more_bytes: int
    """How much more memory a run holds than the child processes did."""
    seconds: float
    """Time that the start of a training will spend on its trial: 0 where this one is stored for it."""


class _Stopwatch:
    """Measures the seconds of a `with` block."""

    seconds = 0.0

    def __enter__(self) -> _Stopwatch:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began


def plan(
    recipe: Recipe,
    *,
    runs: str | Path = "runs",
    parent: Parent | None = None,
    ladder: bool = False,
    price: Price | None = None,
    display: Display | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] = print,
    clock: WallClock | None = None,
) -> Plan:
    """Return the plan for a run of `recipe`; its data is prepared (of a large corpus the beginning), and with `ladder` short
    trainings are run to extrapolate the loss. Of a branch of `parent` on conversations no loss is expected.

    The run is a separate process. Its start is measured here: Python and imports from this process's time until this call, where a
    command passes its `clock`, else from a child process; then data, engine and trial in the state in which the run finds them
    (prepared, chosen and stored), and reading the runs from which a forecast is calibrated.

    Raises LabError for anything that the user can correct, including a training that can't run here.
    """
    imports = clock.seconds() if clock is not None and clock.since == "process" else None
    check(recipe)
    if price is not None:
        price.require_power(_power_can_be_read(choose_device(recipe.train.device)))
    root = Path(runs)
    given = None if parent is None else load_tokenizer(read_json(parent.run.folder / "tokenizer.json"))
    recipe, dataset = data_for_plan(recipe, progress, given)
    with _Stopwatch() as data:
        if not isinstance(dataset, Beginning):
            dataset = prepare(recipe.data, tokenizer=given)
    recipe = with_known_prompts(recipe, dataset.tokenizer, say)
    outline = outline_of(recipe, dataset, training_split(recipe, dataset), parent, say)
    with _Stopwatch() as choice:
        outline_of(recipe, dataset, training_split(recipe, dataset), parent, lambda line: None)
    read = reading(recipe, dataset)
    if ladder:
        run_ladder(recipe, dataset, outline.steps, display or make_display(quiet=True), say)
    outline, tried = outline.fitted(lambda one: _try(one, say), say)
    with _Stopwatch() as learning:
        history = finished_runs(root)
    expectation = outline.expectation(history)
    arguments = (recipe, dataset, outline.steps, 0, outline.plan, expectation.calibrations, expectation.loss)
    if imports is None:
        imports = max(0.0, tried.trial.start_seconds - tried.trial.build_seconds)
    start = imports + data.seconds + choice.seconds + learning.seconds + tried.seconds
    forecast = forecast_from(tried.trial, *arguments, start_seconds=start, since="process")
    step_tokens = read.tokens(recipe.train.batch)
    duration = duration_of(
        recipe, tried.trial, outline.steps, outline.plan, expectation.calibrations, step_tokens, start
    )
    evidence = expectation.evidence
    loss = expectation.loss
    peak = peak_flops(outline.policy)
    return Plan(
        recipe=recipe,
        policy=outline.policy,
        data_id=dataset.id,
        steps=outline.steps,
        position=_position(outline, read),
        reading=read,
        forecast=forecast,
        duration=duration,
        trial=tried.trial,
        evidence=tried.evidence,
        peak_flops=peak,
        datasheet=datasheet_of(outline.policy),
        usual_rate=usual_rate(recipe, outline.policy, dataset.vocabulary_size, history, peak),
        memory=_memory(outline, tried),
        largest=_largest(outline, tried),
        memory_bytes=device_memory_bytes(outline.policy.torch_device),
        free_disk_bytes=shutil.disk_usage(_existing(root)).free,
        validation=_validation(outline, tried, duration, loss),
        law=None if evidence is None else evidence.law,
        law_rests_on="" if evidence is None else evidence.law_rests_on,
        ladder_seconds=None
        if parent is not None
        else ladder_seconds(recipe, dataset.vocabulary_size, outline.steps, duration.train_seconds),
        cost=_cost(price, duration.total_seconds, tried.watts),
        preparation=dataset.preparation if isinstance(dataset, Beginning) else None,
    )


def _position(outline: Outline, read: Reading) -> Position:
    tokens = read.tokens(outline.steps * outline.recipe.train.batch)
    return position_of(outline.recipe, outline.dataset.vocabulary_size, outline.steps, read.unique_tokens, tokens)


def _validation(outline: Outline, tried: _Tried, time: Duration, loss: Estimate | None) -> Validation:
    return validation_of(
        outline.recipe.evaluate.share,
        times_in(outline.steps, outline.recipe.evaluate.every),
        time.train_seconds,
        tried.trial.forward_tokens_per_second,
        outline.plan.split_tokens,
        outline.plan.valid_tokens,
        None if loss is None else loss.value,
    )


def _power_can_be_read(device: torch.device) -> bool:
    with EnergyMeter(gpu=nvidia_gpu(device)) as meter:
        pass
    return meter.watts() is not None


def _try(outline: Outline, say: Callable[[str], object]) -> _Tried:
    recipe, dataset = outline.recipe, outline.dataset
    kept = None if _power_can_be_read(outline.policy.torch_device) else kept_trial(recipe, outline.policy, dataset)
    with EnergyMeter(gpu=nvidia_gpu(outline.policy.torch_device)) as meter, _Stopwatch() as trying:
        if kept is not None:
            trial, evidence = kept, kept.evidence
        else:
            say(NOTICE)
            trial, evidence = measured_or_extended(
                recipe,
                outline.policy,
                dataset.folder,
                dataset.vocabulary_size,
                micro_batch=outline.policy.micro_batch,
                batch=recipe.train.batch,
            )
    if trial.was_too_long:
        counted = counted_trial(recipe, outline.policy, dataset.vocabulary_size, peak_flops(outline.policy))
        return _Tried(trial=counted, evidence="formula", lines=None, watts=None, more_bytes=0, seconds=trying.seconds)
    if trial.failed is not None:
        raise refusal(trial.failed)
    if kept is None:
        keep_trial(trial, recipe, outline.policy, dataset)
        kept = kept_trial(recipe, outline.policy, dataset)
    watts, drawn = None, meter.watts()
    if drawn is not None:
        watts = Estimate(
            value=drawn, low=0.8 * drawn, high=1.2 * drawn, evidence="measured", rests_on="the machine's own counters"
        )
    lines = None
    # Where a batch is computed in chunks, its passes take the same memory at any size, and each size would need a process.
    if not computed_in_chunks(recipe, outline.policy):
        known = (trial, evidence)
        lines = measure_lines(recipe, outline.policy, dataset.folder, dataset.vocabulary_size, known=known)
    here = in_this_process(trial, outline.policy, outline.idle_bytes)
    return _Tried(
        trial=here,
        evidence=evidence,
        lines=lines,
        watts=watts,
        more_bytes=here.peak_memory_bytes - trial.peak_memory_bytes,
        seconds=0.0 if kept is not None else trying.seconds,
    )


def _memory(outline: Outline, tried: _Tried) -> tuple[MemoryParts, ...]:
    """Return the parts at the run's own micro-batch, and at those of the fitted lines."""
    recipe, policy, trial = outline.recipe, outline.policy, tried.trial
    peaks = (
        {}
        if tried.lines is None
        else {int(size): int(peak) + tried.more_bytes for size, peak in tried.lines.memory.points}
    )
    peaks[policy.micro_batch] = trial.peak_memory_bytes
    vocabulary = outline.dataset.vocabulary_size
    return tuple(
        memory_parts(recipe, policy, vocabulary, size, trial.checkpoint_bytes, trial.idle_memory_bytes, peak)
        for size, peak in sorted(peaks.items())
    )


def _largest(outline: Outline, tried: _Tried) -> int | None:
    if tried.lines is None:
        return None
    dataset = outline.dataset
    found = largest_that_fits(outline.recipe, outline.policy, dataset.folder, dataset.vocabulary_size, tried.lines)
    return found.micro_batch


def _cost(price: Price | None, seconds: Estimate, watts: Estimate | None) -> Mapping[str, Estimate]:
    found = {}
    if watts is not None:
        found["kJ"] = product(seconds, watts).scaled(1 / 1e3)
    if price is not None:
        found[price.currency or "money"] = price.cost(seconds, watts)
    return found


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest existing ancestor."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return place
