"""Prune a run on request: what is removed, how much space that frees, and which commands still work afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmlab import LabError
from lmlab.checkpoint.freeing import Freeing, free, to_free
from lmlab.checkpoint.initial import is_noted
from lmlab.checkpoint.layout import SUFFIX, folder_of
from lmlab.checkpoint.layout import steps as checkpoint_steps
from lmlab.checkpoint.manifest import read_manifest
from lmlab.runs import Run, RunLock

OPTIMIZER = f"optimizer{SUFFIX}"
MOST_LISTED = 6


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """A planned pruning of a run."""

    run: Run
    whole_checkpoints: bool
    """Whether checkpoints are removed altogether, rather than only their parts other than weights."""
    made_again: bool
    """Whether step 0 can be regenerated from its seed, and so may be removed."""
    freeing: Freeing

    @property
    def changes(self) -> bool:
        """Whether there is anything to prune."""
        return bool(self.freeing.slimmed or self.freeing.removed)

    def still(self) -> str:
        """Return what can be done with the run afterwards, as text."""
        left = [step for step in checkpoint_steps(self.run.checkpoints) if step not in self.freeing.removed]
        whole = [step for step in left if step not in self.freeing.slimmed and self._has_optimizer(step)]
        again = self.made_again or is_noted(self.run.checkpoints)
        if not left:
            return "it has no checkpoints: lmlab runs, report and compare read its losses"
        parts = [f"training continues exactly, and can be proven, from {_steps(whole)}"] if whole else []
        parts.append(f"sample, evaluate and train --from work at {_steps(left)}")
        parts += ["step 0 is regenerated from its seed"] if again and 0 not in left else []
        return "; ".join(parts)

    def carry_out(self) -> int:
        """Prune, and return the number of bytes freed; LabError where a process is working on the run."""
        with RunLock(self.run.folder) as lock:
            # Planned again under the lock: the run may have continued while the user was asked.
            freeing = to_free(self.run.checkpoints, self.whole_checkpoints, self.made_again)
            return free(self.run.checkpoints, freeing, lock.storage)

    def _has_optimizer(self, step: int) -> bool:
        try:
            return OPTIMIZER in read_manifest(folder_of(self.run.checkpoints, step), step)["files"]
        except LabError:
            return False


def plan_pruning(run: Run, whole_checkpoints: bool = False) -> Pruning:
    """Return what pruning would do to a run; LabError where a pointer is damaged or no checkpoint is intact."""
    made_again = False
    if whole_checkpoints and run.imported is None and 0 in checkpoint_steps(run.checkpoints):
        from lmlab.experiment.keeping import can_be_made_again

        made_again = can_be_made_again(run)
    freeing = to_free(run.checkpoints, whole_checkpoints, made_again)
    return Pruning(run=run, whole_checkpoints=whole_checkpoints, made_again=made_again, freeing=freeing)


def _steps(steps: Sequence[int]) -> str:
    shown = [f"{step:,}" for step in steps[-MOST_LISTED:]]
    more = f"{len(steps) - len(shown)} earlier ones and " if len(steps) > len(shown) else ""
    return f"{more}step{'s' if len(steps) > 1 else ''} {', '.join(shown)}"
