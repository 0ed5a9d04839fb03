"""The inventory of a run's folder: what is present, missing or damaged, and which commands still work. Used for a run that can't
resume.

Read-only. `experiment.judging` explains missing checkpoints and lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.header import read_header
from lmlab.checkpoint.layout import SUFFIX
from lmlab.checkpoint.layout import steps as checkpoint_steps
from lmlab.checkpoint.opened import Checkpoint
from lmlab.data.dataset import find_dataset
from lmlab.data.tokenizers import load_tokenizer
from lmlab.experiment.judging import lost_lines, saved_step, train_again
from lmlab.files import read_json
from lmlab.model.build import build_model
from lmlab.runs import Run
from lmlab.runs.run import ORIGIN, RECIPE, SEGMENTS
from lmlab.training.policy import read_policy
from lmlab.training.saving import require_weights

MOST_STEPS_LISTED = 6


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The contents of a run's folder, and the commands for which they suffice."""

    there: tuple[str, ...]
    """The readable parts, in words."""
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    works: tuple[str, ...]
    """Commands that work with what is present."""
    fails: tuple[str, ...]
    """Those that don't."""
    cure: str = ""
    """What can be done about missing checkpoints or lines."""

    @property
    def whole(self) -> bool:
        """Whether nothing is missing or damaged."""
        return not self.missing and not self.damaged

    def sentence(self) -> str:
        """Return the inventory in one line."""
        parts = [f"there: {', '.join(self.there) or 'nothing'}"]
        parts += [f"missing: {', '.join(self.missing)}"] if self.missing else []
        parts += [f"damaged: {', '.join(self.damaged)}"] if self.damaged else []
        parts += [self.cure] if self.cure else []
        works = f"{_listed(self.works)} still work{'s' if len(self.works) == 1 else ''}" if self.works else ""
        fails = f"{_listed(self.fails)} do{'es' if len(self.fails) == 1 else ''} not" if self.fails else ""
        return "; ".join([*parts, ", ".join(filter(None, (works, fails)))])


def take_inventory(run: Run) -> Inventory:
    """Check everything that a resume, `sample`, `evaluate` and `report` need, including every checkpoint's hashes."""
    found: dict[str, list[str]] = {"there": [], "missing": [], "damaged": []}

    def look(name: str, read: Callable[[], object]) -> bool:
        if not (run.folder / name).exists():
            found["missing"].append(name)
            return False
        try:
            read()
        except LabError:
            found["damaged"].append(name)
            return False
        found["there"].append(name)
        return True

    origin = look(ORIGIN, run.origin)
    recipe = look(RECIPE, run.recipe)
    look("policy.json", lambda: read_policy(run.read("policy.json")))
    tokenizer = look("tokenizer.json", lambda: load_tokenizer(read_json(run.folder / "tokenizer.json")))
    look(SEGMENTS, lambda: run.read_lines("segments"))
    metrics = look("metrics.jsonl", lambda: _curve(run))
    data = origin and _data(run, found)
    weights = _checkpoints(run, found)
    model = origin and recipe and tokenizer and weights is not None and _fits(run, weights)
    verbs = {"report": origin and recipe and metrics, "sample": model, "evaluate": model and data}
    works = tuple(f"lmlab {verb}" for verb, does in verbs.items() if does)
    fails = tuple(f"lmlab {verb}" for verb, does in verbs.items() if not does)
    cure = train_again(run) if origin and not checkpoint_steps(run.checkpoints) and saved_step(run) else ""
    there, missing, damaged = (tuple(found[kind]) for kind in ("there", "missing", "damaged"))
    return Inventory(there=there, missing=missing, damaged=damaged, works=works, fails=fails, cure=cure)


def _curve(run: Run) -> None:
    """Raise LabError where the lines of metrics are damaged, or missing though there should be some."""
    if not run.read_lines("metrics") and (lost := lost_lines(run)):
        raise LabError(lost)


def _checkpoints(run: Run, found: dict[str, list[str]]) -> Checkpoint | None:
    """Return the newest checkpoint that is intact."""
    newest, intact, broken = None, [], []
    for step in checkpoint_steps(run.checkpoints):
        try:
            newest, _ = find(run.checkpoints, str(step))
            intact.append(step)
        except LabError:
            broken.append(step)
    for kind, steps in (("there", intact), ("damaged", broken)):
        if steps:
            found[kind].append(f"the checkpoint{'s' if len(steps) > 1 else ''} of step {_steps(steps)}")
    if not intact and not broken:
        found["missing"].append("checkpoints")
    return newest


def _fits(run: Run, checkpoint: Checkpoint) -> bool:
    """Return whether the weights have the names and shapes of the recipe's model, which is built on the meta device."""
    recipe, vocabulary = run.recipe(), load_tokenizer(read_json(run.folder / "tokenizer.json")).vocabulary_size
    try:
        require_weights(checkpoint, recipe.model, vocabulary)
        entries = read_header(checkpoint.folder / f"weights{SUFFIX}")
    except LabError:
        return False
    with torch.device("meta"):
        model = build_model(recipe.model, vocabulary)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return shapes == {entry.name: tuple(entry.shape) for entry in entries}


def _data(run: Run, found: dict[str, list[str]]) -> bool:
    identity = run.origin().get("data_id")
    try:
        find_dataset(str(identity))
    except LabError:
        found["missing"].append(f"data set {identity} in the cache")
        return False
    return True


def _steps(steps: list[int]) -> str:
    shown = [f"{step:,}" for step in steps[-MOST_STEPS_LISTED:]]
    more = f"{len(steps) - len(shown)} earlier ones, " if len(steps) > len(shown) else ""
    return more + ", ".join(shown)


def _listed(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
