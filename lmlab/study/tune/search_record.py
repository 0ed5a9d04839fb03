"""The measurements of a search, stored by Optuna: in a file, or in any database that several machines can read.

An Optuna trial is a learning rate. The losses of its short trainings are its intermediate values, by steps, and all of them with
their seeds are in its attribute `short_runs`. Trials stay open while the search runs; at its end those that reached the last rung
become complete, and the others pruned. So `optuna-dashboard` shows the search, and a killed search loses one training.
"""

from __future__ import annotations

import math
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lmlab import LabError, StorageError
from lmlab.scaling.noise import GradientNoise
from lmlab.study.tune.halving import FURTHEST, ShortRun
from lmlab.study.tune.short_training import ShortResult

if TYPE_CHECKING:
    from optuna.trial import Trial

NAME = "optim.lr"
ATTRIBUTE = "short_runs"
DIVERGED = "diverged"
REFUSED = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
"""SQLite's error codes for failures of the disk."""


def require_optuna() -> None:
    """Raise LabError where Optuna isn't installed."""
    with _plain_errors("optuna"):
        import optuna  # noqa: F401


class SearchRecord:
    """One search in its storage."""

    def __init__(self, storage: str, name: str, rate: float) -> None:
        """`storage` is a URL such as sqlite:///study.db, `rate` the recipe's own. LabError where it can't be opened."""
        with _plain_errors(storage):
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self._optuna = optuna
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="minimize", load_if_exists=True
            )
        self._storage = storage
        self._rate = rate
        self._spread = optuna.distributions.FloatDistribution(rate * 2.0**-FURTHEST, rate * 2.0**FURTHEST, log=True)

    def measured(self) -> dict[ShortRun, ShortResult]:
        """Return every short training so far."""
        found: dict[ShortRun, ShortResult] = {}
        with _plain_errors(self._storage):
            trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            for entry in trial.user_attrs.get(ATTRIBUTE, []):
                run, outcome = _read(entry)
                found[run] = outcome
        return found

    def add(self, run: ShortRun, outcome: ShortResult) -> None:
        """Store a short training."""
        with _plain_errors(self._storage):
            trial = self._open_trial(run.rate)
            if run.seed == 0 and math.isfinite(outcome.loss):
                trial.report(outcome.loss, step=run.steps)
            entries = [*trial.user_attrs.get(ATTRIBUTE, []), _written(run, outcome)]
            trial.set_user_attr(ATTRIBUTE, entries)

    def close(self, steps: int) -> None:
        """Finish the search: trials that were trained for so many steps become complete, the others pruned."""
        states = self._optuna.trial.TrialState
        with _plain_errors(self._storage):
            for trial in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
                losses = [
                    outcome.loss
                    for run, outcome in map(_read, trial.user_attrs.get(ATTRIBUTE, []))
                    if run.steps == steps and math.isfinite(outcome.loss)
                ]
                if losses:
                    self._study.tell(trial.number, sum(losses) / len(losses))
                else:
                    state = states.PRUNED if trial.intermediate_values else states.FAIL
                    self._study.tell(trial.number, state=state)

    def _open_trial(self, rate: int) -> Trial:
        """Return the open trial of that rate, also one that another process began, or a new one."""
        wanted = self._rate * 2.0**rate
        states = self._optuna.trial.TrialState
        for frozen in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            if math.isclose(frozen.params.get(NAME, 0.0), wanted, rel_tol=1e-9):
                return self._optuna.trial.Trial(self._study, frozen._trial_id)
        self._study.enqueue_trial({NAME: wanted})
        return self._study.ask({NAME: self._spread})


def _written(run: ShortRun, outcome: ShortResult) -> dict[str, Any]:
    noise = outcome.noise
    return {
        "steps": run.steps,
        "seed": run.seed,
        "rate": run.rate,
        "loss": outcome.loss if math.isfinite(outcome.loss) else DIVERGED,
        "error": outcome.error if math.isfinite(outcome.error) else 0.0,
        "seconds": outcome.seconds,
        "noise": [noise.square, noise.trace, noise.steps],
    }


def _read(entry: Any) -> tuple[ShortRun, ShortResult]:
    try:
        square, trace, steps = entry["noise"]
        loss = math.inf if entry["loss"] == DIVERGED else float(entry["loss"])
        run = ShortRun(int(entry["steps"]), int(entry["seed"]), int(entry["rate"]))
        noise = GradientNoise(square=float(square), trace=float(trace), steps=int(steps))
        return run, ShortResult(loss=loss, error=float(entry["error"]), seconds=float(entry["seconds"]), noise=noise)
    except (KeyError, TypeError, ValueError):
        raise LabError(
            f"the storage has a trial that lmlab did not write ({str(entry)[:80]}): name another --storage"
        ) from None


@contextmanager
def _plain_errors(storage: str) -> Iterator[None]:
    """Raise what Optuna and its database raise as one line; its warnings about settings that the user can't change are
    suppressed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        if error.name == "optuna":
            raise LabError('tuning needs the package optuna: pip install "lmlab[tune]"') from None
        raise LabError(f"--storage {storage} needs the package {error.name}, which is not installed") from None
    except LabError:
        raise
    except Exception as error:  # Optuna re-raises the exceptions of a dozen database drivers
        refused = _refused(error)
        if refused:
            raise StorageError(
                f"the storage {storage} can't be written: {refused}; free some space or repair the disk, then start again"
            ) from None
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise LabError(
            f"the storage {storage} can't be used: {said[0][:200]}; expected an URL such as sqlite:///study.db"
        ) from None


def _refused(error: BaseException | None) -> str:
    """Return SQLite's message where its disk failed; empty for another cause."""
    while error is not None:
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in REFUSED:
            return str(error)
        error = error.__cause__ or error.__context__
    return ""
