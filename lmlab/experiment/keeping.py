"""Which checkpoints a finished run keeps, and the regeneration of step 0 from its seed where only that is kept.

A run of a few minutes keeps its latest and best checkpoint, since training again is quicker than keeping all. Step 0 is a function
of the recipe; the hashes of its tensors are kept (init.json), and compared when it is regenerated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lmlab import LabError
from lmlab.checkpoint.initial import is_noted, note_initial, read_initial
from lmlab.checkpoint.layout import SUFFIX, folder_of
from lmlab.checkpoint.layout import steps as checkpoint_steps
from lmlab.checkpoint.manifest import read_manifest
from lmlab.checkpoint.opened import Checkpoint
from lmlab.checkpoint.pruning import Retention, prune
from lmlab.checkpoint.tensors import file_sha256
from lmlab.experiment.session import Session
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.optim.build import build_optimizer
from lmlab.planning.forecasts.disk import keeps_least
from lmlab.runs import Run


@dataclass(frozen=True, kw_only=True)
class MadeAgain(Checkpoint):
    """The checkpoint of step 0 in memory: its tensors are regenerated, and not on the disk."""

    made: Mapping[str, Mapping[str, Tensor]]
    """Part -> its tensors."""

    def tensors(self, part: str) -> dict[str, Tensor]:
        """Return the tensors of a part; LabError where there is no such part."""
        self._require(part)
        return dict(self.made[part])

    def elements(self, part: str) -> int:
        """Return the number of elements in a part."""
        return sum(tensor.numel() for tensor in self.tensors(part).values())

    def verify(self) -> None:
        """Do nothing: it was compared with its hashes when it was made."""


def keep_least(session: Session, seconds: float) -> None:
    """Prune a finished run where its recipe and duration say to keep least.

    The session's own model is reinitialised to check that step 0 can be regenerated, so that no second copy of it takes memory,
    unless other processes have parts of it.
    """
    run, recipe, checkpoints = session.run, session.recipe, session.run.checkpoints
    if not keeps_least(recipe, seconds):
        return
    if _begins_at_seed(run) and 0 in checkpoint_steps(checkpoints):
        recorded = read_manifest(folder_of(checkpoints, 0), 0)["files"].get(f"weights{SUFFIX}", {})
        model = session.training.model
        if model.sharded:
            model = build_model(recipe.model, session.dataset.vocabulary_size)
        initialise(model, recipe.train.seed, recipe.optim.transfer_from)
        if file_sha256(dict(model.state_dict())) == recorded.get("sha256"):
            note_initial(checkpoints, session.storage)
    best = session.state.best_step
    retention = Retention(keep=1, weights_only=True, protect=() if best is None else (best,))
    prune(checkpoints, retention, session.storage)


def initial_again(run: Run) -> Checkpoint:
    """Regenerate step 0 of a run that keeps only its seed; LabError where the weights differ from those that the run began with.

    Where only the optimizer's state differs, it has weights alone.
    """
    noted = read_initial(run.checkpoints)
    if noted is None:
        raise LabError(f"{run.name} has no checkpoint of step 0, and no record of how it is made: take another step")
    return _drawn(run, noted["files"], noted["state"])


def can_be_made_again(run: Run) -> bool:
    """Return whether step 0 of a run, which exists, is regenerated from its seed bit for bit here, optimizer included."""
    if not _begins_at_seed(run) or 0 not in checkpoint_steps(run.checkpoints):
        return is_noted(run.checkpoints)
    files = read_manifest(folder_of(run.checkpoints, 0), 0)["files"]
    try:
        drawn = _drawn(run, files, {})
    except LabError:
        return False
    return all(f"{part}{SUFFIX}" in drawn.manifest["files"] for part in _parts(files))


def _begins_at_seed(run: Run) -> bool:
    return run.imported is None and run.model_from is None and run.origin().get("parent") is None


def _parts(files: Mapping[str, Any]) -> list[str]:
    return [name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX)]


def _drawn(run: Run, files: Mapping[str, Any], state: dict[str, Any]) -> Checkpoint:
    recipe = run.recipe()
    model = build_model(recipe.model, run.fact("vocabulary_size"))
    initialise(model, recipe.train.seed, recipe.optim.transfer_from)
    made: dict[str, dict[str, Tensor]] = {"weights": dict(model.state_dict())}
    if "optimizer" in _parts(files):
        made["optimizer"] = dict(build_optimizer(model, recipe.optim, "cpu").state_tensors())
    same = {part: file_sha256(tensors) == files[f"{part}{SUFFIX}"]["sha256"] for part, tensors in made.items()}
    if not same["weights"]:
        torch_then = run.origin().get("torch", "another")
        raise LabError(
            f"the weights from seed {recipe.train.seed} here are not those that {run.name} began with (made by PyTorch "
            f"{torch_then}): take another step, or the versions in {run.folder / 'origin.json'}"
        )
    kept = {name: facts for name, facts in files.items() if same.get(name.removesuffix(SUFFIX), True)}
    return MadeAgain(
        folder=folder_of(run.checkpoints, 0),
        step=0,
        state=state,
        manifest={"files": kept},
        made={part: tensors for part, tensors in made.items() if same[part]},
    )
