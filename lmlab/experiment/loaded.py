"""A run's model, loaded for generation or scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmlab.data.dataset import Dataset, find_dataset
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.experiment.finish import Outcome
from lmlab.experiment.judging import checkpoint_in
from lmlab.files import read_json
from lmlab.generation.decoding import generate
from lmlab.generation.prompts import begin_of
from lmlab.generation.settings import Sampling
from lmlab.generation.writer import Completion
from lmlab.hardware.device import choose_device
from lmlab.model.build import build_model
from lmlab.model.trainable import TrainableModel
from lmlab.recipe import Recipe
from lmlab.runs import Run, open_run
from lmlab.training.saving import require_weights, restore_weights


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model from a checkpoint, with its tokenizer and its origin."""

    run: Run
    recipe: Recipe
    step: int
    model: TrainableModel
    tokenizer: Tokenizer
    device: torch.device
    warnings: tuple[str, ...] = ()

    def generate(self, prompt: str = "", **settings: Any) -> str:
        """Return the prompt and the model's continuation; `settings` are those of `lmlab.generation.settings.Sampling`."""
        completion = self.complete([prompt], Sampling(**settings))[0]
        return completion.prompt + completion.text

    def complete(self, prompts: Sequence[str | Sequence[int]], sampling: Sampling, **hooks: Any) -> list[Completion]:
        """Return one completion for each prompt, which may be a text or tokens."""
        begin = begin_of(self.recipe.data, self.tokenizer)
        return generate(self.model, self.tokenizer, prompts, sampling, begin=begin, **hooks)

    def dataset(self) -> Dataset:
        """Return the data set that the run was trained on; LabError where it is no longer on this machine."""
        return find_dataset(self.run.fact("data_id"))


def load(reference: str | Path | Run | Outcome, runs: str | Path = "runs", device: str = "auto") -> Loaded:
    """Load the model of RUN, RUN@best (the default), RUN@latest, RUN@STEP or RUN@init, in float32 and in evaluation mode."""
    reference = reference.run if isinstance(reference, Outcome) else reference
    run, which = (reference, None) if isinstance(reference, Run) else open_run(str(reference), Path(runs))
    recipe = run.recipe()
    checkpoint, warnings = checkpoint_in(run, which or "best")
    tokenizer = load_tokenizer(read_json(run.folder / "tokenizer.json"))
    require_weights(checkpoint, recipe.model, tokenizer.vocabulary_size)
    model = build_model(recipe.model, tokenizer.vocabulary_size)
    restore_weights(checkpoint, model)
    target = choose_device(device)
    model.to(target).eval()
    return Loaded(
        run=run,
        recipe=recipe,
        step=checkpoint.step,
        model=model,
        tokenizer=tokenizer,
        device=target,
        warnings=tuple(warnings),
    )
