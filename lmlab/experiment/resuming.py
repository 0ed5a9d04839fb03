"""Continue a run exactly from its newest intact checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError, StorageError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import MANIFEST
from lmlab.checkpoint.layout import steps as checkpoints_of
from lmlab.checkpoint.opened import Checkpoint
from lmlab.checkpoint.pointers import pointed, update_pointers
from lmlab.data.dataset import Dataset, find_dataset
from lmlab.data.preparation import prepare
from lmlab.data.progress import Progress
from lmlab.data.tokenizers import load_tokenizer
from lmlab.experiment.beginning import begin, start_units
from lmlab.experiment.circumstances import circumstances
from lmlab.experiment.finish import Outcome, train_to_end
from lmlab.experiment.fresh import tokens_of_run
from lmlab.experiment.inventory import take_inventory
from lmlab.experiment.judging import require_no_progress
from lmlab.experiment.outline import deadline_of, evaluation_plan, outline_of, outline_of_run, with_known_prompts
from lmlab.experiment.parent import parent_again
from lmlab.experiment.session import open_session, read_outlook
from lmlab.files import DISK, Storage, read_json, sha256_of_file
from lmlab.planning.memory.check import require_memory
from lmlab.recipe import Recipe, check, differences, override, recipe_hash
from lmlab.recipe.data import IMPORTED
from lmlab.runs import Journal, Run, RunLock, open_run, require_unlocked
from lmlab.training.display import Display, make_display
from lmlab.training.hooks import Ending
from lmlab.training.policy import Policy, choose_policy, read_policy
from lmlab.training.saving import best_of, forget_lost_best
from lmlab.training.state import read_state
from lmlab.training.wall import WallClock


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """The verified data set and checkpoint that a resume continues from."""

    dataset: Dataset
    checkpoint: Checkpoint | None
    """None where it was stopped before its first one."""
    warnings: tuple[str, ...] = ()
    """Deviations that don't prevent a resume."""

    def is_current(self, run: Run) -> bool:
        """Return whether the run's folder still has this checkpoint as its latest."""
        if self.checkpoint is None:
            return not checkpoints_of(run.checkpoints)
        manifest, pointer = self.checkpoint.folder / MANIFEST, pointed(run.checkpoints, "latest")
        same = manifest.is_file() and sha256_of_file(manifest) == self.checkpoint.sha256
        return same and (pointer is None or bool(self.warnings) or pointer["step"] == self.checkpoint.step)


def resume(
    reference: str | Run,
    *,
    runs: str | Path = "runs",
    changes: Mapping[str, Any] | None = None,
    display: Display | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
    clock: WallClock | None = None,
) -> Outcome:
    """Continue RUN to its end; `changes` may set policy only (device, threads, micro-batch, precision...).

    `clock` is that of the wall time, which counts from this call unless a command passes its process's.

    Raises LabError where the run, its data or a change doesn't allow it, with what is present, what is missing and which commands
    still work. Nothing in the run's folder is changed before everything that the training needs was read and found intact. A
    finished run is left unchanged, except for damaged pointers.
    """
    clock = clock or WallClock.of_call()
    run, which = (reference, None) if isinstance(reference, Run) else open_run(str(reference), Path(runs))
    if which not in (None, "latest"):
        raise LabError(
            f"a resume continues from the latest checkpoint: to start from {run.name}@{which}, use lmlab train --from"
        )
    with _judging(run):
        imported = run.imported is not None
        from_model = run.model_from is not None
    if imported:
        run.recipe()  # raises, with what such a run can be used for
    if from_model:
        run.require_trained()
    with _judging(run):
        own, summary = run.recipe(), run.summary()
    recipe = _policy_only(run, own, changes or {})
    deadline = deadline_of(recipe)
    require_unlocked(run.folder)
    if summary and summary.get("finished"):
        return _finished(run, summary, say)
    with _judging(run):
        judged = _judged(run, recipe, progress)
    with RunLock(run.folder, sign=False) as lock:
        if not judged.is_current(run):  # another process had the lock in between
            with _judging(run):
                judged = _judged(run, recipe, progress)
        return _continue(run, recipe, judged, changes or {}, lock, deadline, display or make_display(), say, clock)


def _continue(
    run: Run,
    recipe: Recipe,
    judged: ResumePoint,
    changes: Mapping[str, Any],
    lock: RunLock,
    deadline: float | None,
    display: Display,
    say: Callable[[str], None],
    clock: WallClock,
) -> Outcome:
    dataset, checkpoint = judged.dataset, judged.checkpoint
    recipe = with_known_prompts(recipe, dataset.tokenizer, say)
    if checkpoint is None:
        return _restart(run, recipe, dataset, display, lock, say, deadline, clock)
    policy, equal = _policy(run, recipe, changes, say)
    require_memory(recipe, policy, dataset.vocabulary_size)
    outline = outline_of_run(run, recipe, policy, dataset, checkpoint.step)
    journal = Journal(run.folder, run_id=run.id, segment=run.next_segment(), storage=lock.storage)
    with _judging(run):
        session = open_session(outline, run, journal, display, checkpoint, lock.storage, clock)
    # From here on the folder is changed.
    lock.sign()
    state, lengths = read_state(checkpoint.state)
    run.begin_segment("resume", checkpoint.step, equal and policy.repeatable, lock.storage, **circumstances(policy))
    for warning in (*judged.warnings, *forget_lost_best(run.checkpoints, session.state)):
        say(warning)
    for name in update_pointers(run.checkpoints, checkpoint.step, best_of(session.state), lock.storage):
        say(f"checkpoints/{name}.json did not match the checkpoint of step {checkpoint.step:,} and was written again")
    for warning in (*journal.rewind(lengths), *_repair_units(run, recipe, dataset, state.evaluations, lock.storage)):
        say(warning)
    read_outlook(session.outlook, run)
    if not equal:
        run.write("policy.json", policy.to_json(), lock.storage)
    _repair_tokenizer(run, dataset, lock.storage)
    say(f"{run.name} continues from step {checkpoint.step:,} of {outline.steps:,}, {_how(policy, equal)}")
    return train_to_end(session, deadline, say)


def _how(policy: Policy, equal: bool) -> str:
    """Return how the continuation compares with an uninterrupted run; `equal`: with the policy that the run had."""
    if not equal:
        return "with another policy (device, precision, threads or engine), so not bit for bit"
    if policy.repeatable:
        return "bit for bit"
    return f"with the same batches, up to the rounding of sums on {policy.device} (train.deterministic repeats them on CUDA)"


def _finished(run: Run, summary: dict[str, Any], say: Callable[[str], None]) -> Outcome:
    """Return the outcome of a finished run; pointers that don't match the last state are repaired."""
    reason, mended = str(summary.get("reason")), []
    with contextlib.suppress(LabError):
        checkpoint, _ = find(run.checkpoints, "latest")
        state, _ = read_state(checkpoint.state)
        with RunLock(run.folder, sign=False):
            mended = update_pointers(run.checkpoints, checkpoint.step, best_of(state))
            mended += _repair_tokenizer(run, find_dataset(run.fact("data_id")), DISK)
    further = f"to train it further: lmlab train --from {run.name}@latest --train.steps N"
    inventory = take_inventory(run)
    if inventory.fails:
        further = inventory.sentence()
    anew = f"; {', '.join(f'{name}.json' for name in mended)} rewritten" if mended else ""
    line = f"{run.name} is finished: {reason}; {further}{anew}"
    say(line)
    return Outcome(run=run, ending=Ending(kind="finished", reason=reason), summary=summary, lines=(line,))


@contextlib.contextmanager
def _judging(run: Run) -> Iterator[None]:
    """Add the run's inventory to a LabError raised in the block."""
    try:
        yield
    except StorageError:
        raise
    except LabError as error:
        raise LabError(f"{run.name} can't resume: {error}; {take_inventory(run).sentence()}") from None


def _judged(run: Run, recipe: Recipe, progress: Progress | None) -> ResumePoint:
    """Check everything that the training needs except the tensors, which are read into the model later; LabError where it isn't
    intact."""
    if recipe_hash(recipe) != run.fact("recipe_hash"):
        raise LabError(f"{run.folder / 'recipe.toml'} was changed after the run began: put it back, or start a new run")
    run.next_segment()
    if not checkpoints_of(run.checkpoints) and pointed(run.checkpoints, "latest") is None:
        require_no_progress(run)
        return ResumePoint(dataset=_dataset(run, recipe, progress), checkpoint=None)
    checkpoint, warnings = find(run.checkpoints, "latest")
    state, _ = read_state(checkpoint.state)
    _require_evaluations(run, state.evaluations)
    read_policy(run.read("policy.json"))
    return ResumePoint(dataset=_dataset(run, recipe, progress), checkpoint=checkpoint, warnings=tuple(warnings))


def _require_evaluations(run: Run, counted: int) -> None:
    """Raise LabError where neither units-valid.npy nor metrics.jsonl has as many evaluations as the state counts: one is damaged.

    Missing columns of the first are filled, so a wrong count would allocate memory for nothing.
    """
    with contextlib.suppress(LabError):
        if run.units()["bits"].shape[1] >= counted:
            return
    lines = sum(line.get("kind") == "evaluation" for line in run.read_lines("metrics"))
    if lines < counted:
        raise LabError(
            f"{run.name} has {lines:,} lines of evaluations, its checkpoint counts {counted:,}: one is damaged"
        )


def resume_same(name: str, recipe: Recipe, *, runs: str | Path = "runs", **options: Any) -> Outcome:
    """Resume a run that must be of this recipe; LabError that names the differences where it isn't."""
    run, _ = open_run(name, Path(runs))
    require_same(run, recipe)
    return resume(run, **options)


def require_same(run: Run, recipe: Recipe, instead: str = "choose another --run") -> None:
    """Raise LabError, with the first difference and how to get a new run `instead`, unless the run is of this recipe."""
    own = run.recipe()
    different = differences(own, recipe)
    # Settings that lmlab derived in both recipes don't count as differences; requested ones are reported first.
    asked = [name for name in different if name not in own.derived or name not in recipe.derived]
    asked.sort(key=lambda name: name in recipe.derived)
    if asked:
        theirs, ours = different[asked[0]]
        longer = f"to train it further: lmlab train --from {run.name}@latest --train.steps {ours}; "
        further = longer if asked[0] == "train.steps" and ours > theirs else ""
        raise LabError(
            f"{run.name} is another experiment: its {asked[0]} is {theirs}, not {ours}; {further}for a new run {instead}"
        )


def _restart(
    run: Run,
    recipe: Recipe,
    dataset: Dataset,
    display: Display,
    lock: RunLock,
    say: Callable[[str], None],
    deadline: float | None,
    clock: WallClock,
) -> Outcome:
    """Restart a run that was killed before its first checkpoint, from its first step, in its own folder."""
    outline = outline_of(recipe, dataset, tokens_of_run(run, recipe, dataset), parent_again(run), say)
    outline = dataclasses.replace(outline, plan=evaluation_plan(recipe, dataset, outline.steps, run))
    where = f"from step {outline.first:,} of {outline.steps:,}"
    say(f"{run.name} was stopped before its first checkpoint: restarting {where}")
    outline, forecast = outline.fitted(lambda one: one.forecast(run.folder.parent, say, clock), say)
    lock.sign()
    session = begin(run, outline, forecast, display, lock.storage, clock, "resume")
    return train_to_end(session, deadline, say)


def _policy_only(run: Run, recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe with `changes`; LabError where one of them isn't policy."""
    changed = check(override(recipe, changes))
    different = differences(recipe, changed)
    if different:
        name = next(iter(different))
        raise LabError(
            f"a resume changes only policy, not {name}: start a new run with lmlab train --from {run.name}@latest --{name} ..."
        )
    return changed


def _dataset(run: Run, recipe: Recipe, progress: Progress | None) -> Dataset:
    wanted = run.fact("data_id")
    try:
        return find_dataset(wanted)
    except LabError:
        given = recipe.data.tokenizer == IMPORTED or recipe.data.conversations
        own = load_tokenizer(read_json(run.folder / "tokenizer.json")) if given else None
        dataset = prepare(recipe.data, progress=progress, tokenizer=own)
    if dataset.id != wanted:
        raise LabError(
            f"{recipe.data.corpus} now gives data set {dataset.id}, but {run.name} was trained on {wanted}: put the old text back"
        )
    return dataset


def _repair_tokenizer(run: Run, dataset: Dataset, storage: Storage) -> list[str]:
    """Write tokenizer.json where it's missing, from the data set; return its name if that was done."""
    if (run.folder / "tokenizer.json").exists():
        return []
    run.write("tokenizer.json", dataset.tokenizer.to_json(), storage)
    return ["tokenizer"]


def _repair_units(run: Run, recipe: Recipe, dataset: Dataset, evaluations: int, storage: Storage) -> list[str]:
    """Truncate units-valid.npy to the evaluations that the checkpoint counts; return lines about what is damaged or missing.

    No training depends on it: a damaged file is moved aside and started again, and missing evaluations stay NaN.
    """
    try:
        units = run.units()
        if not np.array_equal(units["key"], dataset.units("valid")["key"]):
            raise LabError(f"{run.folder / 'units-valid.npy'} has other units than data set {dataset.id}")
    except LabError as error:
        put_aside = run.put_units_aside(storage)
        start_units(run, recipe, dataset, storage)
        kept = f", the old file is {put_aside}" if put_aside else ""
        return [f"{error}: started again without the {evaluations:,} evaluations so far{kept}"]
    found = units["bits"].shape[1]
    if found < evaluations:
        lacking = f"{evaluations - found:,} of the {evaluations:,} evaluations so far"
        return [f"{run.folder / 'units-valid.npy'} lacks {lacking}: they can't be compared unit by unit"]
    run.truncate_units(evaluations, storage)
    return []


def _policy(run: Run, recipe: Recipe, changes: Mapping[str, Any], say: Callable[[str], None]) -> tuple[Policy, bool]:
    """Return the run's own policy, or a new one where a change was requested or the old isn't available here; and whether it's
    equal."""
    kept = read_policy(run.read("policy.json"))
    if recipe.train.batch % kept.micro_batch:
        raise LabError(
            f"{run.folder / 'policy.json'} is damaged: micro_batch {kept.micro_batch} doesn't divide the batch; restore it"
        )
    wish = recipe.train if changes else dataclasses.replace(recipe.train, device=kept.device)
    if "train.engine" not in changes:
        # The choice was made when the run began: a compiler installed since then must not change its sums.
        wish = dataclasses.replace(wish, engine=kept.engine)
    try:
        # A compiler replaced since then must not change its sums either: the run's own build is used while it is kept.
        chosen = choose_policy(dataclasses.replace(recipe, train=wish), say, kept.engine_identity)
    except LabError:
        chosen = choose_policy(recipe, say)
        if chosen.engine != kept.engine:
            say(f"{run.name} continues with PyTorch's kernels: {chosen.reasons['engine']}")
        return chosen, False
    if chosen.engine_identity != kept.engine_identity and chosen.engine == kept.engine:
        say(f"the native engine is another build than the one with which {run.name} began ({chosen.reasons['engine']})")
    elif not changes and chosen.torch_device.type == kept.torch_device.type and chosen.ranks == kept.ranks:
        # The stored choice still applies: otherwise choosing it would have failed.
        return kept, True
    return chosen, chosen.exactness() == kept.exactness()
