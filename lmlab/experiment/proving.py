"""`lmlab prove`: take some steps of a run again, from one of its checkpoints, and hold them against what was recorded.

Compared are the hash of all batches, every line of metrics and sample, and, where the replay ends at a checkpoint that the run
has kept, every tensor of weights and optimizer. The run's folder is only read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmlab import LabError
from lmlab.checkpoint import Checkpoint, find
from lmlab.checkpoint import steps as checkpoint_steps
from lmlab.data import find_dataset
from lmlab.experiment.beginning import evaluation_plan, start_units, steps_of
from lmlab.experiment.circumstances import REASONS, circumstances, differing
from lmlab.experiment.fresh import tokens_of_run
from lmlab.experiment.session import Session, open_session
from lmlab.planning.child import trial_folder
from lmlab.recipe import Recipe
from lmlab.runs import Journal, Run, open_run
from lmlab.training.display import Display, make_display
from lmlab.training.policy import Policy, choose_policy, read_policy

COMPARED = {
    "train": ("batches", "loss", "gradient_norm", "learning_rate"),
    "evaluation": ("valid_loss", "valid_accuracy", "valid_tokens", "train_loss", "train_tokens"),
    "sample": ("prompt", "text"),
}
"""Kind of line -> what must be equal in it, what comes first in a step first."""
DEFAULT_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first thing that isn't as it was recorded."""

    step: int
    what: str
    recorded: Any
    replayed: Any


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a replay came to."""

    run: str
    first: int
    """The step of the checkpoint that it began from."""
    last: int
    lines: int
    """Lines of metrics and samples that were compared."""
    tensors: int
    """Tensors that were compared; 0 where the replay ended at no checkpoint."""
    largest_difference: float | None
    """Over all tensors."""
    difference: Difference | None
    reasons: tuple[str, ...]
    """What differs between the recorded segment and now, the likeliest cause first."""

    @property
    def equal(self) -> bool:
        """Whether every bit was the same."""
        return self.difference is None

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {"equal": self.equal, **dataclasses.asdict(self)}

    def lines_to_read(self) -> list[str]:
        """The same in words."""
        span = f"steps {self.first:,} to {self.last:,} of {self.run}"
        if self.difference is None:
            tensors = (
                f", {self.tensors:,} tensors"
                if self.tensors
                else " (no checkpoint was kept there to compare tensors with)"
            )
            return [f"proven: {span} came out bit for bit as recorded: {self.lines:,} lines{tensors}"]
        found = self.difference
        shown = f"recorded {_shown(found.recorded)}, replayed {_shown(found.replayed)}"
        lines = [f"not proven: {span}: the first difference is at step {found.step:,}, {found.what}: {shown}"]
        if self.largest_difference:
            lines.append(f"the tensors at the end are up to {self.largest_difference:.3g} apart")
        return lines + [f"likely reason: {reason}" for reason in self.reasons]


class StopAt:
    """Asks a loop to stop at a step, before that step's evaluation, and after so many rewinds."""

    def __init__(self, session: Session, step: int, rewinds: int) -> None:
        self.reason: str | None = None
        self.since: float | None = None
        self._session = session
        self._step = step
        self._rewinds = rewinds

    def stopping(self) -> bool:
        """Whether the loop is there."""
        state = self._session.state
        if state.step >= self._step and state.guard.rewinds >= self._rewinds:
            self.reason = "the end of the proof"
        return self.reason is not None

    def take_save(self) -> bool:
        """Nobody asks for one."""
        return False


def prove(
    reference: str,
    *,
    runs: str | Path = "runs",
    steps: int | None = None,
    display: Display | None = None,
    say: Callable[[str], None] = print,
) -> Proof:
    """Replay RUN, or RUN@STEP to begin at that checkpoint; LabError where there is nothing to replay from.

    Without `steps` the replay goes to the next checkpoint that is kept; else so many steps.
    """
    run, which = open_run(reference, Path(runs))
    recipe, policy = run.recipe(), read_policy(run.read("policy.json"))
    reached = max((line["step"] for line in run.read_lines("metrics")), default=0)
    begin, last = _span(run, which, steps, reached)
    chosen = _policy_here(recipe, policy, say)
    dataset = find_dataset(run.origin()["data_id"])
    say(f"replaying {run.name} from step {begin.step:,} to {last:,}")
    with trial_folder() as place:
        shadow = Run(place.path)
        training = tokens_of_run(run, recipe, dataset)
        planned = steps_of(recipe, training)
        plan = evaluation_plan(recipe, dataset, planned)
        journal = Journal(shadow.folder, run_id=run.id, segment=0)
        session = open_session(
            shadow,
            recipe,
            chosen,
            dataset,
            training,
            planned,
            plan,
            journal,
            display or make_display(quiet=True),
            begin,
        )
        start_units(shadow, recipe, dataset)
        session.replay(StopAt(session, last, _rewinds(run, last)))
        replayed = [line for file in ("metrics", "samples") for line in shadow.read_lines(file)]
    recorded = [line for file in ("metrics", "samples") for line in run.read_lines(file)]
    lines, difference = compare_lines(recorded, replayed, begin.step, last)
    tensors, largest, by_tensor = _compare_tensors(run, session, last)
    difference = difference or by_tensor
    reasons = () if difference is None else _reasons(run, begin.step, chosen)
    return Proof(
        run=run.name,
        first=begin.step,
        last=last,
        lines=lines,
        tensors=tensors,
        largest_difference=largest,
        difference=difference,
        reasons=reasons,
    )


def compare_lines(
    recorded: list[dict[str, Any]], replayed: list[dict[str, Any]], first: int, last: int
) -> tuple[int, Difference | None]:
    """How many lines of steps after `first` and up to `last` were compared, and the first difference.

    The evaluation of the last step belongs to what comes after it.
    """
    ours, theirs = (_by_place(lines, first, last) for lines in (recorded, replayed))
    kinds = list(COMPARED)
    places = sorted({*ours, *theirs}, key=lambda place: (place[0], kinds.index(place[1]), place[2]))
    for place in places:
        step, kind, _ = place
        if place not in ours or place not in theirs:
            there = [lines.get(place, "no such line") for lines in (ours, theirs)]
            what = f"a line of kind {kind}"
            return len(places), Difference(step=step, what=what, recorded=there[0], replayed=there[1])
        for name in COMPARED[kind]:
            if name in ours[place] and ours[place][name] != theirs[place].get(name):
                what = "the batches" if name == "batches" else f"{name} of the line of kind {kind}"
                return len(places), Difference(
                    step=step, what=what, recorded=ours[place][name], replayed=theirs[place].get(name)
                )
    return len(places), None


def _shown(value: Any) -> str:
    return str(value)[:60]


def _by_place(lines: list[dict[str, Any]], first: int, last: int) -> dict[tuple[int, str, int], dict[str, Any]]:
    """(step, kind, number among equal ones) -> line."""
    found: dict[tuple[int, str, int], dict[str, Any]] = {}
    for line in lines:
        if line["kind"] in COMPARED and first < line["step"] < last + (line["kind"] == "train"):
            number = sum(1 for step, kind, _ in found if (step, kind) == (line["step"], line["kind"]))
            found[line["step"], line["kind"], number] = line
    return found


def _span(run: Run, which: str | None, steps: int | None, reached: int) -> tuple[Checkpoint, int]:
    """The checkpoint to begin from, and the step to go to."""
    kept = checkpoint_steps(run.checkpoints)
    whole = []
    for step in kept if which is None else [find(run.checkpoints, which)[0].step]:
        checkpoint, _ = find(run.checkpoints, str(step))
        if "optimizer" in checkpoint.parts and step < reached:
            whole.append(checkpoint)
    if not whole:
        raise LabError(
            f"{run.name} has no checkpoint with its optimizer before step {reached:,}, its last: nothing can be replayed"
        )
    # The shortest way between two checkpoints says most for its time.
    begin = whole[-1]
    if steps is not None:
        return begin, min(begin.step + steps, reached)
    later = [step for step in kept if step > begin.step]
    return begin, later[0] if later else min(begin.step + DEFAULT_STEPS, reached)


def _rewinds(run: Run, last: int) -> int:
    """How often the run had gone back before it passed `last` for good."""
    lines = [line for line in run.read_lines("events") if line["kind"] == "rewind" and line["step"] < last]
    return max((line["rewinds"] for line in lines), default=0)


def _policy_here(recipe: Recipe, kept: Policy, say: Callable[[str], None]) -> Policy:
    """The run's policy, or the nearest that this machine has."""
    wish = dataclasses.replace(recipe.train, device=kept.device, engine=kept.engine, threads=kept.threads)
    try:
        here = choose_policy(dataclasses.replace(recipe, train=wish), say, kept.engine_identity)
    except LabError as error:
        say(f"the run's policy can't be had here ({error}): replaying with another")
        return choose_policy(recipe, say)
    same = here.engine == kept.engine and here.engine_identity == kept.engine_identity
    return kept if same and here.torch_device.type == kept.torch_device.type else here


def _compare_tensors(run: Run, session: Session, last: int) -> tuple[int, float | None, Difference | None]:
    """How many tensors were compared, how far they are apart, and the first that differs, in the model's own order."""
    if last not in checkpoint_steps(run.checkpoints):
        return 0, None, None
    checkpoint, _ = find(run.checkpoints, str(last))
    replayed: dict[str, dict[str, Tensor]] = {"weights": dict(session.model.state_dict())}
    if "optimizer" in checkpoint.parts:
        replayed["optimizer"] = dict(session.optimizer.state_tensors())
    count, largest, difference = 0, 0.0, None
    for part, tensors in replayed.items():
        recorded = checkpoint.tensors(part)
        for name, tensor in tensors.items():
            count += 1
            apart = _apart(recorded[name], tensor.detach().cpu())
            largest = max(largest, apart)
            if apart and difference is None:
                what = f"{part} {name}"
                difference = Difference(
                    step=last, what=what, recorded="its tensor", replayed=f"one up to {apart:.3g} away"
                )
    return count, largest, difference


def _apart(one: Tensor, other: Tensor) -> float:
    if torch.equal(one, other):
        return 0.0
    apart = float((one.double() - other.double()).abs().max())
    return apart if apart > 0 else float("inf")  # a NaN in one of them


def _reasons(run: Run, step: int, policy: Policy) -> tuple[str, ...]:
    """Why it may differ: what is otherwise now than in the segment that took these steps."""
    segments = [line for line in run.read_lines("segments") if line["step"] <= step]
    later = next((line for line in run.read_lines("segments") if line["step"] > step and not line["exact"]), None)
    found = [
        f"{name} was {before}, is {now}: {REASONS[name]}"
        for name, (before, now) in differing(segments[-1] if segments else {}, circumstances(policy)).items()
    ]
    if later is not None:
        found.append(f"the run itself went on from step {later['step']:,} with another policy")
    return tuple(
        found or ["nothing that lmlab records differs: suspect memory, overclocking, or a file that was changed"]
    )
