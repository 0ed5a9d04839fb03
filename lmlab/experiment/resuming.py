"""Continue a run exactly where its newest intact checkpoint left it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.checkpoint import find, pointed
from lmlab.checkpoint import steps as checkpoints_of
from lmlab.data import Dataset, find_dataset, prepare
from lmlab.data.progress import Progress
from lmlab.experiment.beginning import begin, deadline_of, evaluation_plan, outline_of, parent_again, steps_of
from lmlab.experiment.circumstances import circumstances
from lmlab.experiment.finish import Outcome, finish
from lmlab.experiment.fresh import tokens_of_run
from lmlab.experiment.session import open_session
from lmlab.planning.room import require_memory
from lmlab.recipe import Recipe, check, differences, override, recipe_hash
from lmlab.runs import Journal, Run, RunLock, open_run
from lmlab.training.display import Display, make_display
from lmlab.training.loop import Ending
from lmlab.training.policy import Policy, apply_policy, choose_policy, read_policy
from lmlab.training.state import read_state


def resume(
    reference: str | Run,
    *,
    runs: str | Path = "runs",
    changes: Mapping[str, Any] | None = None,
    display: Display | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Continue RUN to its end; `changes` may set policy only (device, threads, micro-batch, precision...).

    Raises LabError where the run, its data or a change doesn't allow it. A run that is finished is left as it is.
    """
    run, which = (reference, None) if isinstance(reference, Run) else open_run(str(reference), Path(runs))
    if which not in (None, "latest"):
        raise LabError(
            f"a resume goes on from the latest checkpoint: to start from {run.name}@{which}, use lmlab train --from"
        )
    recipe = _policy_only(run, changes or {})
    deadline = deadline_of(recipe)
    with RunLock(run.folder):
        summary = run.summary()
        if summary and summary.get("finished"):
            reason = str(summary.get("reason"))
            further = f"lmlab train --from {run.name}@latest --train.steps N"
            say(f"{run.name} is finished: {reason}; to train it further: {further}")
            return Outcome(run=run, ending=Ending(kind="finished", reason=reason), summary=summary)
        if not checkpoints_of(run.checkpoints) and pointed(run.checkpoints, "latest") is None:
            return _begin_again(run, recipe, _dataset(run, recipe, progress), display or make_display(), say, deadline)
        checkpoint, warnings = find(run.checkpoints, "latest")
        for warning in warnings:
            say(warning)
        dataset = _dataset(run, recipe, progress)
        policy, exact = _policy(run, recipe, changes or {}, say)
        require_memory(recipe, policy, dataset.vocabulary_size)
        apply_policy(policy)
        training = tokens_of_run(run, recipe, dataset)
        steps = steps_of(recipe, training)
        plan = evaluation_plan(recipe, dataset, steps)
        state, lengths = read_state(checkpoint.state)
        segment = run.begin_segment("resume", checkpoint.step, exact, **circumstances(policy))
        journal = Journal(run.folder, run_id=run.id, segment=segment)
        for warning in journal.rewind(lengths):
            say(warning)
        _keep_units(run, state.evaluations)
        if not exact:
            run.write("policy.json", policy.to_json())
        session = open_session(
            run, recipe, policy, dataset, training, steps, plan, journal, display or make_display(), checkpoint
        )
        how = "bit for bit" if exact else "with another policy, not bit for bit"
        say(f"{run.name} continues from step {checkpoint.step:,} of {steps:,}, {how}")
        return finish(session, session.train(deadline), say)


def resume_same(name: str, recipe: Recipe, *, runs: str | Path = "runs", **options: Any) -> Outcome:
    """`resume` for a run that must be of this recipe: LabError that names what differs where it isn't."""
    run, _ = open_run(name, Path(runs))
    different = differences(run.recipe(), recipe)
    if different:
        field, (theirs, ours) = next(iter(different.items()))
        raise LabError(f"{run.name} is another experiment: its {field} is {theirs}, not {ours}; choose another --run")
    return resume(run, **options)


def _begin_again(
    run: Run,
    recipe: Recipe,
    dataset: Dataset,
    display: Display,
    say: Callable[[str], None],
    deadline: float | None,
) -> Outcome:
    """What was killed before its first checkpoint has nothing to lose: from its first step, in its own folder."""
    outline = outline_of(recipe, dataset, tokens_of_run(run, recipe, dataset), parent_again(run), say)
    where = f"from step {outline.first:,} of {outline.steps:,}"
    say(f"{run.name} was stopped before its first checkpoint: it begins again, {where}")
    session = begin(run, outline, outline.forecast(run.folder.parent, say), display, "resume")
    return finish(session, session.train(deadline), say)


def _policy_only(run: Run, changes: Mapping[str, Any]) -> Recipe:
    recipe = run.recipe()
    changed = check(override(recipe, changes))
    different = differences(recipe, changed)
    if different:
        name = next(iter(different))
        raise LabError(
            f"a resume changes only policy, not {name}: start a new run with lmlab train --from {run.name}@latest --{name} ..."
        )
    if recipe_hash(recipe) != run.fact("recipe_hash"):
        raise LabError(f"{run.folder / 'recipe.toml'} was changed after the run began: put it back, or start a new run")
    return changed


def _dataset(run: Run, recipe: Recipe, progress: Progress | None) -> Dataset:
    wanted = run.fact("data_id")
    try:
        return find_dataset(wanted)
    except LabError:
        dataset = prepare(recipe.data, progress=progress)
    if dataset.id != wanted:
        raise LabError(
            f"{recipe.data.corpus} now gives data set {dataset.id}, but {run.name} was trained on {wanted}: put the old text back"
        )
    return dataset


def _keep_units(run: Run, evaluations: int) -> None:
    """Cut units-valid.npy to the evaluations that the checkpoint counts; LabError where it has fewer."""
    found = run.units()["bits"].shape[1]
    if found < evaluations:
        raise LabError(
            f"{run.name} has the units of {found:,} evaluations, its checkpoint counts {evaluations:,}: one is damaged"
        )
    run.truncate_units(evaluations)


def _policy(run: Run, recipe: Recipe, changes: Mapping[str, Any], say: Callable[[str], None]) -> tuple[Policy, bool]:
    """The run's own policy, or a new one where a change was asked for or the old can't be had here; and if it's the same."""
    kept = read_policy(run.read("policy.json"))
    if recipe.train.batch % kept.micro_batch:
        raise LabError(
            f"{run.folder / 'policy.json'} is damaged: micro_batch {kept.micro_batch} doesn't divide the batch"
        )
    wish = recipe.train if changes else dataclasses.replace(recipe.train, device=kept.device)
    if "train.engine" not in changes:
        # The choice was made when the run began: a compiler that was installed since then must not change its sums.
        wish = dataclasses.replace(wish, engine=kept.engine)
    try:
        # A compiler that was exchanged since then must not change its sums either: its own build is taken while it is kept.
        chosen = choose_policy(dataclasses.replace(recipe, train=wish), say, kept.engine_identity)
    except LabError:
        chosen = choose_policy(recipe, say)
        if chosen.engine != kept.engine:
            say(f"{run.name} goes on with PyTorch's kernels: {chosen.reasons['engine']}")
        return chosen, False
    if chosen.engine_identity != kept.engine_identity and chosen.engine == kept.engine:
        say(f"the native engine is another build than the one that {run.name} began with ({chosen.reasons['engine']})")
    elif not changes and chosen.torch_device.type == kept.torch_device.type and chosen.ranks == kept.ranks:
        # What is possible is unchanged, or the wish would have failed: the stored choice stands.
        return kept, True
    return chosen, chosen.exactness() == kept.exactness()
