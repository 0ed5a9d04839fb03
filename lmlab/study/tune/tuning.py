"""`lmlab tune`: the learning rate of a recipe, from short real trainings on its own data and machine.

recipe (or a narrower one) -> short trainings by successive halving -> losses -> optimum with an interval -> tuned recipe
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lmlab import LabError, __version__
from lmlab.data.dataset import Dataset
from lmlab.data.fresh import training_split
from lmlab.data.preparation import prepare
from lmlab.data.progress import Progress as DataProgress
from lmlab.data.reading import reading
from lmlab.experiment.fresh import require_parent
from lmlab.experiment.outline import Outline, outline_of
from lmlab.files import FileLock, make_folder, remove_old_temporaries, write_json, write_text
from lmlab.model.families import family_of
from lmlab.recipe import Recipe, check, recipe_hash, to_toml
from lmlab.recipe.quantities import count, duration
from lmlab.scaling.rates import LAWS
from lmlab.study.tune.halving import MOST_TRIALS, Search, ShortRun
from lmlab.study.tune.result import Law, Tuning
from lmlab.study.tune.search_record import SearchRecord, require_optuna
from lmlab.study.tune.short_training import train_briefly
from lmlab.study.tune.variants import narrowed, shortened, tuned, with_rate
from lmlab.training import parallel
from lmlab.training.display import Display, Quiet, TrainingProgress
from lmlab.training.signals import Interrupted, StopRequests
from lmlab.training.step import StepGradients

SizeName = Literal["own", "small"]
SHARE_OF_THE_STEPS = 8
"""The longest trainings of a search have this share (one in 8) of the recipe's steps by default, at least FEWEST_STEPS."""
FEWEST_STEPS = 200
HASH_DIGITS = 12
LOGGED_STEPS = 10
SMOOTHING = 0.9


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """Options of a search; steps 0 for an eighth of the recipe's."""

    steps: int = 0
    trials: int = 7
    seeds: int = 2
    size: SizeName = "own"
    storage: str = ""
    """Optuna's URL; empty for a file in the search's folder."""
    out: Path | None = None
    """The file of the tuned recipe; None for tuned.toml in the search's folder."""

    def __post_init__(self) -> None:
        """Raise LabError for invalid counts."""
        for name, value, least in (("steps", self.steps, 0), ("trials", self.trials, 3), ("seeds", self.seeds, 1)):
            if value < least:
                raise LabError(f"--{name} can't be {value}: expected at least {max(1, least)}")
        if self.trials > MOST_TRIALS:
            raise LabError(
                f"--trials can't be {self.trials}: expected at most {MOST_TRIALS}, a factor of 2 from each other"
            )


def tune(
    recipe: Recipe,
    folder: Path,
    wishes: Wishes,
    *,
    display: Display | None = None,
    progress: DataProgress | None = None,
    say: Callable[[str], object] = print,
) -> Tuning:
    """Search the learning rate of `recipe`, in `folder`, and return the result, also of an interrupted search.

    The same call again continues from the measurements. `say` is called with the lines for the user, `display` with the progress.
    tune.json is written to the folder, and the tuned recipe where one was found. Raises LabError for anything that the user can
    correct.
    """
    check(recipe)
    require_parent(recipe, False)
    _require_able()
    out = wishes.out or folder / "tuned.toml"
    make_folder(folder, "choose another folder with --runs")
    if not out.parent.is_dir():
        raise LabError(f"--out {out}: there is no folder {out.parent}; make it, or choose another")
    measured_on = narrowed(recipe) if wishes.size == "small" else recipe
    dataset = prepare(recipe.data, progress=progress)
    outline = outline_of(measured_on, dataset, training_split(measured_on, dataset), None, say)
    steps = wishes.steps or max(FEWEST_STEPS, outline.steps // SHARE_OF_THE_STEPS)
    search = Search(steps=min(steps, outline.steps), trials=wishes.trials, seeds=wishes.seeds)
    known = published(recipe, *_sizes(recipe, dataset, outline.steps))
    for line in _opening(recipe, measured_on, search, outline, known):
        say(line)
    with FileLock(folder / "lock", say, "another lmlab tune is at work in this folder: waiting until it is done"):
        remove_old_temporaries(folder)
        storage = wishes.storage or f"sqlite:///{(folder / 'study.db').resolve().as_posix()}"
        record = SearchRecord(storage, _name(measured_on, search, outline), recipe.optim.lr)
        finished = _Searcher(measured_on, outline, search, record, display or Quiet()).run(say)
        result = Tuning(
            recipe=recipe,
            measured_on=measured_on,
            rungs=search.rungs(),
            run_steps=outline.steps,
            outcomes=record.measured(),
            laws=known,
            finished=finished,
        )
        found = result.optimum()
        place = found.place.value if found is not None else result.best_tried() if finished else None
        if place is not None:
            write_text(out, to_toml(tuned(recipe, 2.0**place)))
            result = replace(result, tuned_recipe=out)
        write_json(folder / "tune.json", result.to_json())
    return result


def published(recipe: Recipe, parameters: int, tokens: int) -> tuple[Law, ...]:
    """Return the AdamW rates of published laws for a model of this size trained on so many tokens; empty for Muon."""
    if recipe.optim.kind != "adamw":
        return ()
    return tuple(Law(name=law.name, rate=law.rate(parameters, tokens), alarm=law.alarm(parameters)) for law in LAWS)


class _Searcher:
    """Runs one short training after the other and reports progress."""

    def __init__(
        self, recipe: Recipe, outline: Outline, search: Search, record: SearchRecord, display: Display
    ) -> None:
        self._recipe = recipe
        self._outline = outline
        self._search = search
        self._record = record
        self._display = display
        self._planned = search.planned_steps()
        self._step_tokens = reading(recipe, outline.dataset).tokens(recipe.train.batch)
        self._done = 0
        self._here = 0
        self._began = time.monotonic()

    def run(self, say: Callable[[str], object]) -> bool:
        """Run until the search is done, or until a signal; False for a signal."""
        measured = {run: outcome.loss for run, outcome in self._record.measured().items()}
        self._done = sum(run.steps for run in measured)
        if measured:
            say(f"continuing after {len(measured)} trainings that were measured before")
        with StopRequests(set) as stop:
            self._display.open(f"tune {self._recipe.name}")
            try:
                while (run := self._search.next_run(measured)) is not None:
                    measured[run] = self._train(run, stop.stopping)
            except Interrupted:
                return False
            finally:
                self._display.close()
        self._record.close(self._search.steps)
        return True

    def _train(self, run: ShortRun, stopping: Callable[[], bool]) -> float:
        rated = with_rate(self._recipe, 2.0**run.rate)
        short = shortened(rated, run.steps, self._outline.steps, run.seed)
        last = run.steps == self._search.steps
        progress = _Following(self._tell, short, run.steps)
        outcome = train_briefly(short, self._outline, stopping, progress.step, measure_noise=last)
        self._record.add(run, outcome)
        self._done += run.steps
        self._here += run.steps
        self._planned = max(self._planned, self._done)
        seed = f"  seed {short.train.seed}" if run.seed else ""
        loss = f"loss {outcome.loss:.4f}" if outcome.loss < float("inf") else "diverged"
        self._display.note(f"{run.steps:,} steps at {short.optim.lr:.3g}{seed}: {loss}  ({duration(outcome.seconds)})")
        return outcome.loss

    def _tell(self, short: Recipe, step: int, loss: float, gradients: StepGradients, seconds: float) -> None:
        elapsed = time.monotonic() - self._began
        taken = self._here + step
        self._display.progress(
            TrainingProgress(
                step=self._done + step,
                steps=max(self._planned, self._done + step + 1),
                tokens=(self._done + step) * self._step_tokens,
                loss=loss,
                learning_rate=short.optim.lr * gradients.rate,
                gradient_norm=gradients.norm,
                tokens_per_second=step * self._step_tokens / max(seconds, 1e-9),
                mfu=None,
                elapsed_seconds=elapsed,
                remaining_seconds=max(0, self._planned - self._done - step) * elapsed / taken,
            ),
            logged=step % LOGGED_STEPS == 0,
        )


class _Following:
    """Reports the steps of one short training, with a smoothed loss."""

    def __init__(
        self, tell: Callable[[Recipe, int, float, StepGradients, float], None], short: Recipe, steps: int
    ) -> None:
        self._tell = tell
        self._short = short
        self._steps = steps
        self._taken = 0
        self._loss = 0.0
        self._began = time.monotonic()

    def step(self, gradients: StepGradients) -> None:
        """Report a step."""
        self._taken += 1
        self._loss = gradients.loss if self._taken == 1 else SMOOTHING * self._loss + (1 - SMOOTHING) * gradients.loss
        self._tell(self._short, self._taken, self._loss, gradients, time.monotonic() - self._began)


def _require_able() -> None:
    require_optuna()
    if parallel.ranks() > 1:
        raise LabError("lmlab tune works in one process: start it without torchrun")


def _name(recipe: Recipe, search: Search, outline: Outline) -> str:
    """Return a search's name in its storage, which differs wherever its losses would differ."""
    policy = outline.policy
    facts = [recipe_hash(recipe), outline.dataset.id, search.rungs(), policy.engine, policy.precision, __version__]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return f"{recipe.name}-{digest[:HASH_DIGITS]}"


def _sizes(recipe: Recipe, dataset: Dataset, steps: int) -> tuple[int, int]:
    """Return parameters (without n-gram tables) and training tokens of the whole training."""
    from lmlab.model.cost import parameters

    counted = parameters(recipe.model, dataset.vocabulary_size)
    return counted["total"] - counted["ngrams"], reading(recipe, dataset).tokens(steps * recipe.train.batch)


def _opening(recipe: Recipe, measured_on: Recipe, search: Search, outline: Outline, laws: Sequence[Law]) -> list[str]:
    lines = []
    if laws:
        rates = [law.rate for law in laws]
        lines.append(
            f"published laws for the whole training: {min(rates):.2g} to {max(rates):.2g} ("
            + ", ".join(f"{law.name} {law.rate:.2g}" for law in laws)
            + ")"
        )
        lines += [f"alarm: {law.alarm}" for law in laws if law.alarm]
    elif recipe.optim.kind != "adamw":
        lines.append(f"published laws are for AdamW's learning rate: none applies to {recipe.optim.kind}")
    if measured_on is not recipe:
        base = ",".join(map(str, measured_on.optim.transfer_from))
        sizes = [family_of(one.model).size_words(one.model) for one in (measured_on, recipe)]
        lines.append(
            f"measured on a model of {sizes[0]}, scaled so that its best rate is that of {sizes[1]} "
            f"(optim.transfer_from {base})"
        )
    planned = search.planned_steps()
    tokens = reading(recipe, outline.dataset).tokens(planned * recipe.train.batch)
    lines.append(
        f"{search.trials} learning rates around {recipe.optim.lr:.3g}, for {_listed(search.rungs())} steps of a training's "
        f"{outline.steps:,}: about {planned:,} steps ({count(tokens)} tokens) in all"
    )
    return lines


def _listed(rungs: Sequence[int]) -> str:
    return ", ".join(f"{steps:,}" for steps in rungs)
