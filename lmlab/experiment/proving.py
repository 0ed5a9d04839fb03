"""`lmlab prove`: replay some steps of a run from one of its checkpoints, and compare them with the record.

The comparison covers the hash of all batches, every line of metrics and samples, and, where the replay ends at a checkpoint that
the run has kept, every tensor of weights and optimizer. The run's folder is only read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps as checkpoint_steps
from lmlab.checkpoint.opened import Checkpoint
from lmlab.data.dataset import find_dataset
from lmlab.experiment.beginning import start_units
from lmlab.experiment.circumstances import REASONS, circumstances, differing
from lmlab.experiment.judging import checkpoint_in, lost_lines, present_steps, without_checkpoints
from lmlab.experiment.outline import outline_of_run
from lmlab.experiment.proof import FirstDifference, Proof, compare_lines, require_something
from lmlab.experiment.session import Session, open_session
from lmlab.planning.trials.child import trial_folder
from lmlab.recipe import Recipe
from lmlab.runs import Journal, Run, open_run
from lmlab.training.display import Display, make_display
from lmlab.training.policy import Policy, choose_policy, read_policy

DEFAULT_STEPS = 100


class StopAt:
    """Stops a loop at a step, before that step's evaluation, and after so many rewinds."""

    def __init__(self, session: Session, step: int, rewinds: int) -> None:
        self.reason: str | None = None
        self.since: float | None = None
        self._session = session
        self._step = step
        self._rewinds = rewinds

    def stopping(self) -> bool:
        """Return whether the loop has reached that step."""
        state = self._session.state
        if state.step >= self._step and state.guard.rewinds >= self._rewinds:
            self.reason = "the end of the proof"
        return self.reason is not None

    def stopping_now(self) -> bool:
        """See `StopCheck`."""
        return self.stopping()

    def save_requested(self) -> bool:
        """Return False: saves are never requested."""
        return False


def prove(
    reference: str,
    *,
    runs: str | Path = "runs",
    steps: int | None = None,
    display: Display | None = None,
    say: Callable[[str], None] = print,
) -> Proof:
    """Replay RUN, or RUN@STEP to begin at that checkpoint; LabError where there is no checkpoint to begin from, or nothing to
    compare.

    By default the replay ends at the next kept checkpoint; with `steps` after that many steps.
    """
    run, which = open_run(reference, Path(runs))
    run.require_trained()
    recipe, policy = run.recipe(), read_policy(run.read("policy.json"))
    lost = lost_lines(run)
    reached = max((line["step"] for line in run.read_lines("metrics")), default=0)
    if lost is not None:
        if not reached:
            raise LabError(lost)
        say(lost)
    begin, last = _span(run, which, steps, reached)
    recorded = [line for file in ("metrics", "samples") for line in run.read_lines(file)]
    require_something(run.name, recorded, checkpoint_steps(run.checkpoints), begin.step, last)
    chosen = _policy_here(recipe, policy, say)
    dataset = find_dataset(run.origin()["data_id"])
    say(f"replaying {run.name} from step {begin.step:,} to {last:,}")
    with trial_folder() as place:
        shadow = Run(place.path)
        outline = outline_of_run(run, recipe, chosen, dataset, begin.step)
        journal = Journal(shadow.folder, run_id=run.id, segment=0)
        session = open_session(outline, shadow, journal, display or make_display(quiet=True), begin)
        start_units(shadow, recipe, dataset)
        session.replay(StopAt(session, last, _rewinds(run, last)))
        replayed = [line for file in ("metrics", "samples") for line in shadow.read_lines(file)]
    compared = compare_lines(recorded, replayed, begin.step, last)
    tensors, largest, by_tensor = _compare_tensors(run, session, last)
    difference = compared.difference or by_tensor
    reasons = () if difference is None else _reasons(run, begin.step, chosen)
    return Proof(
        run=run.name,
        first=begin.step,
        last=last,
        lines=compared.lines,
        batches=compared.batches,
        tensors=tensors,
        largest_difference=largest,
        difference=difference,
        reasons=reasons,
    )


def _span(run: Run, which: str | None, steps: int | None, reached: int) -> tuple[Checkpoint, int]:
    """Return the checkpoint to begin from, and the step to end at."""
    kept = present_steps(run)
    if not kept:
        raise LabError(without_checkpoints(run))
    whole = []
    for step in kept if which is None else [checkpoint_in(run, which)[0].step]:
        checkpoint, _ = checkpoint_in(run, str(step))
        if "optimizer" in checkpoint.parts and step < reached:
            whole.append(checkpoint)
    if not whole:
        there = ", ".join(f"{step:,}" for step in kept)
        raise LabError(
            f"{run.name} can't be replayed: expected a checkpoint with its optimizer before step {reached:,}, its last"
            f"; it has those of step {there}; a run keeps more with --train.keep N or --train.keep_every STEPS, and their "
            "optimizers with --train.keep_optimizer all"
        )
    # The last checkpoint gives the shortest replay to another one.
    begin = whole[-1]
    if steps is not None:
        return begin, min(begin.step + steps, reached)
    later = [step for step in kept if step > begin.step]
    return begin, later[0] if later else min(begin.step + DEFAULT_STEPS, reached)


def _rewinds(run: Run, last: int) -> int:
    """Return how often the run had rewound before it passed `last` for good."""
    lines = [line for line in run.read_lines("events") if line["kind"] == "rewind" and line["step"] < last]
    return max((line["rewinds"] for line in lines), default=0)


def _policy_here(recipe: Recipe, kept: Policy, say: Callable[[str], None]) -> Policy:
    """Return the run's policy, or the nearest one on this machine."""
    wish = dataclasses.replace(recipe.train, device=kept.device, engine=kept.engine, threads=kept.threads)
    try:
        here = choose_policy(dataclasses.replace(recipe, train=wish), say, kept.engine_identity)
    except LabError as error:
        say(f"the run's policy isn't available here ({error}): replaying with another")
        return choose_policy(recipe, say)
    same = here.engine == kept.engine and here.engine_identity == kept.engine_identity
    return kept if same and here.torch_device.type == kept.torch_device.type else here


def _compare_tensors(run: Run, session: Session, last: int) -> tuple[int, float | None, FirstDifference | None]:
    """Return how many tensors were compared, their largest difference, and the first that differs, in the model's own order."""
    if last not in checkpoint_steps(run.checkpoints):
        return 0, None, None
    checkpoint, _ = find(run.checkpoints, str(last))
    replayed: dict[str, dict[str, Tensor]] = {"weights": dict(session.training.model.state_dict())}
    if "optimizer" in checkpoint.parts:
        replayed["optimizer"] = dict(session.training.optimizer.state_tensors())
    count, largest, difference = 0, 0.0, None
    for part, tensors in replayed.items():
        recorded = checkpoint.tensors(part)
        for name, tensor in tensors.items():
            count += 1
            apart = _apart(recorded[name], tensor.detach().cpu())
            largest = max(largest, apart)
            if apart and difference is None:
                what = f"{part} {name}"
                difference = FirstDifference(
                    step=last, what=what, recorded="its tensor", replayed=f"one up to {apart:.3g} away"
                )
    return count, largest, difference


def _apart(one: Tensor, other: Tensor) -> float:
    if torch.equal(one, other):
        return 0.0
    apart = float((one.double() - other.double()).abs().max())
    return apart if apart > 0 else float("inf")  # a NaN in one of them


def _reasons(run: Run, step: int, policy: Policy) -> tuple[str, ...]:
    """Return the likely reasons for a difference: what has changed since the segment that took these steps."""
    segments = [line for line in run.read_lines("segments") if line["step"] <= step]
    later = next((line for line in run.read_lines("segments") if line["step"] > step and not line["exact"]), None)
    found = [
        f"{name} was {before}, is {now}: {REASONS[name]}"
        for name, (before, now) in differing(segments[-1] if segments else {}, circumstances(policy)).items()
    ]
    if later is not None:
        found.append(f"the run itself continued from step {later['step']:,} not bit for bit")
    if not policy.repeatable:
        found.append(f"some sums on {policy.device} are in varying order without train.deterministic")
    return tuple(
        found or ["nothing that lmlab records differs: suspect memory, overclocking, or a file that was changed"]
    )
