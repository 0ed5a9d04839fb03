"""The models that are compared: runs at a checkpoint, or local models of transformers, known before any of them is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmlab import LabError
from lmlab.experiment.judging import checkpoint_in
from lmlab.experiment.loaded import Loaded, load
from lmlab.experiment.models_of_others import PREFIX, Foreign, is_foreign, load_foreign
from lmlab.files import cache_folder, sha256_of_file
from lmlab.judge.questions import digest
from lmlab.model.cost import parameters
from lmlab.recipe.template import TEMPLATES, Template, template_named
from lmlab.runs import open_run

MOST_MODELS = 32
FALLBACK = "alpaca"
"""The template for a model that wasn't tuned with one."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A model that answers."""

    name: str
    """The run and the step, or hf:FOLDER."""
    reference: str
    """By which it is loaded."""
    id: str
    """The run's id, or a hash of the model's files."""
    step: int | None
    folder: Path
    """Where its answers are stored."""
    weights: str
    """The hash of what was loaded."""
    template: Template
    tuned: bool
    """Whether the template is the model's own."""
    parameters: int | None
    """None where it isn't known before the model is loaded."""

    def load(self, device: str) -> Loaded | Foreign:
        """Load the model."""
        return (
            load_foreign(self.reference, device)
            if self.step is None
            else load(self.reference, self.folder.parent, device)
        )


def find_models(references: Sequence[str], runs: Path, template: str = "") -> list[Contestant]:
    """Return the models, in order. `template` is that of all of them (empty: their own, else alpaca).

    LabError if one isn't there, has no checkpoint, or two are the same, or there are none or too many.
    """
    if not 1 <= len(references) <= MOST_MODELS:
        raise LabError(f"expected 1 to {MOST_MODELS} models to compare, got {len(references)}")
    forced = template_named(template) if template else None
    found: dict[str, Contestant] = {}
    for reference in references:
        one = _foreign(reference, forced) if is_foreign(reference) else _own(reference, runs, forced)
        if one.name in found:
            raise LabError(f"{one.name} is named twice: expected different models")
        found[one.name] = one
    return list(found.values())


def _own(reference: str, runs: Path, forced: Template | None) -> Contestant:
    run, which = open_run(reference, runs)
    recipe = run.recipe()
    checkpoint, _ = checkpoint_in(run, which or "best")
    own = run.template()
    return Contestant(
        name=f"{run.name}@{checkpoint.step}",
        reference=f"{run.folder}@{which or 'best'}",
        id=run.id,
        step=checkpoint.step,
        folder=run.folder,
        weights=checkpoint.sha256_of("weights"),
        template=forced or own or TEMPLATES[FALLBACK],
        tuned=own is not None and forced in (None, own),
        parameters=parameters(recipe.model, int(run.fact("vocabulary_size")))["total"],
    )


def _foreign(reference: str, forced: Template | None) -> Contestant:
    folder = Path(reference.removeprefix(PREFIX))
    files = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors", ".txt", ".model"))
    if not files:
        raise LabError(f"{folder} has no model of transformers: expected config.json and *.safetensors")
    weights = digest([[path.name, sha256_of_file(path)] for path in files])
    return Contestant(
        name=reference,
        reference=reference,
        id=weights,
        step=None,
        folder=cache_folder() / "judge" / weights,
        weights=weights,
        template=forced or TEMPLATES[FALLBACK],
        tuned=False,
        parameters=None,
    )
