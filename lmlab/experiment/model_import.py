"""`lmlab import model`: another project's model as a run, with its weights as a checkpoint of step 0 and a recipe to train on with.

The run has no data set, policy, optimizer state or losses. Its recipe's model and tokenizer are the file's; the rest is that of a
fine-tuning, which `lmlab train --from` begins with.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.checkpoint.pointers import Best, update_pointers
from lmlab.checkpoint.saving import save
from lmlab.data.progress import Progress, shown
from lmlab.exchange.models.foreign import ForeignModel, Given
from lmlab.exchange.models.forms import AUTO, read_model
from lmlab.files import write_json
from lmlab.model.cost import parameters
from lmlab.recipe import Constant, Data, Recipe, check
from lmlab.recipe.optim import AdamW
from lmlab.recipe.quantities import count
from lmlab.recipe.train import Evaluate, Train
from lmlab.runs import Run, create_run, require_free_name
from lmlab.runs.names import check_name, stem_of
from lmlab.training.state import State

NO_CORPUS = "none"
"""data.corpus of such a run."""
LEARNING_RATE, BATCH = 3e-5, 32
"""Those of nanoGPT's fine-tuning of GPT-2 (config/finetune_shakespeare.py)."""
STEPS, EVERY = 100, 20
BLOCK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class ImportedModel:
    """A run that was created, and the model that it is from."""

    run: Run
    model: ForeignModel
    parameters: int

    def lines(self) -> list[str]:
        """Return a description of the import for the user."""
        found, shape = self.model, self.model.model
        return [
            f"{self.run.name}: {found.form}, {found.kind}, {count(self.parameters)} parameters: {shape.layers} layers, "
            f"{shape.heads} heads, width {shape.width}, context {shape.context:,}, vocabulary {found.vocabulary:,} "
            f"({found.tokenizer.name})",
            *(f"  {note}" for note in found.notes),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the value for `--json`."""
        return {
            "run": self.run.name,
            "folder": str(self.run.folder),
            "form": self.model.form,
            "kind": self.model.kind,
            "parameters": self.parameters,
            "vocabulary": self.model.vocabulary,
            "tokenizer": self.model.tokenizer.name,
            "notes": list(self.model.notes),
        }


def import_model(
    path: Path,
    root: Path,
    name: str | None = None,
    form: str = AUTO,
    given: Given = Given(),  # noqa: B008 - a constant
    progress: Progress | None = None,
) -> ImportedModel:
    """Create a run in `root` from the model at `path`, named `name` (default: the file's or folder's name).

    LabError where the model can't be read or expressed, or the name is taken; no run is created then.
    """
    stem = check_name(name) if name else stem_of(path.resolve().stem if path.is_file() else path.resolve().name)
    require_free_name(root, stem)
    with shown(progress) as progress:
        model = read_model(path, form, given)
        files = _hashed(model.files, progress)
        recipe = check(recipe_of(model, stem))
        total = parameters(model.model, model.vocabulary)["total"]
        facts = {
            "path": str(path),
            "form": model.form,
            "kind": model.kind,
            "parameters": total,
            "tokenizer": model.tokenizer.name,
            "files": files,
            **{key: value for key, value in model.facts.items() if value is not None},
        }
        progress.begin("writing the checkpoint", None)
        run = create_run(root, stem, recipe, _origin(model, facts), lambda folder: _write(folder, model))
    return ImportedModel(run=run, model=model, parameters=total)


def recipe_of(model: ForeignModel, name: str) -> Recipe:
    """Return the recipe of an imported model's run."""
    tokenizer = model.tokenizer
    return Recipe(
        name=name,
        about=f"{model.kind}, imported",
        data=Data(
            corpus=NO_CORPUS,
            tokenizer=tokenizer.name,
            vocabulary=tokenizer.vocabulary_size if tokenizer.name == "bpe" else None,
            lowercase=bool(getattr(tokenizer, "lowercase", False)),
            unknown="replace" if getattr(tokenizer, "replace", False) else "refuse",
        ),
        model=model.model,
        optim=AdamW(lr=LEARNING_RATE),
        schedule=Constant(),
        train=Train(steps=STEPS, batch=BATCH),
        evaluate=Evaluate(every=EVERY),
    )


def _origin(model: ForeignModel, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": sys.argv,
        "vocabulary_size": model.vocabulary,
        "parent": None,
        "model_from": facts,
    }


def _write(folder: Path, model: ForeignModel) -> None:
    """Write the tokenizer and the checkpoint of step 0 into a run's folder."""
    write_json(folder / "tokenizer.json", model.tokenizer.to_json())
    checkpoints = folder / "checkpoints"
    save(checkpoints, 0, {"weights": model.weights}, State().to_json({}))
    update_pointers(checkpoints, 0, Best(step=0, loss=math.nan))


def _hashed(files: Sequence[Path], progress: Progress) -> list[dict[str, Any]]:
    """Return name, SHA-256 and size of each file."""
    found = []
    for file in files:
        digest, size = hashlib.sha256(), file.stat().st_size
        progress.begin(f"reading {file.name}", size)
        with open(file, "rb") as content:
            while block := content.read(BLOCK):
                digest.update(block)
                progress.advance(len(block))
        found.append({"name": file.name, "sha256": digest.hexdigest(), "bytes": size})
    return found
