"""The amount of data in a data set as a recipe reads it, for plans, forecasts and speeds.

The tokens that a run has read are its targets: of a split as one stream all targets of a window, of windows of documents those that
aren't padding, where a token counts once in each window in which it is a target.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.data.dataset import Dataset
from lmlab.data.describe import cropping, document_lengths
from lmlab.data.order import epoch_length
from lmlab.data.windows import split_windows
from lmlab.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One pass over a training split."""

    sequences: int
    """In an epoch, including those that complete its last batch."""
    targets: int
    """In all these sequences."""
    context: int
    unique_tokens: int
    """The unit of an epoch: the tokens of the split as one stream, or the targets of the windows of its documents."""
    lost_share: float = 0.0
    """The share of the text's tokens that cropping leaves out (`data.windows cropped`, `bucketed` and `packed`)."""

    trimmed_padding: float | None = None
    """The share of padding where batches are as long as their longest window; None: all are as long as the context."""

    @property
    def padding_share(self) -> float:
        """The share of computed positions without a target, or of those beyond the windows' ends where batches are trimmed."""
        if self.trimmed_padding is not None:
            return self.trimmed_padding
        return 1 - self.targets / max(1, self.sequences * self.context)

    @property
    def sequence_tokens(self) -> float:
        """Mean number of targets of a sequence: the context, or less if there is padding."""
        return self.targets / self.sequences if self.sequences else float(self.context)

    def tokens(self, sequences: int) -> int:
        """Return the approximate number of targets in `sequences` sequences; exact for one stream."""
        if not self.sequences:
            return sequences * self.context
        return round(sequences * self.targets / self.sequences)


def reading(recipe: Recipe, dataset: Dataset) -> Reading:
    """Return one pass over the training split of `dataset` as `recipe` reads it; of the beginning of a data set (`Beginning`) one
    over the whole, whose documents are taken to be like the first ones.
    """
    context, tokens = recipe.model.context, dataset.training_tokens
    windows = split_windows(recipe, dataset, "train")
    if windows is None:
        sequences = epoch_length(recipe.data.order, tokens, context)
        return Reading(sequences=sequences, targets=sequences * context, context=context, unique_tokens=tokens)
    lost = 0.0
    if recipe.data.windows in ("cropped", "bucketed", "packed"):
        lost = 1.0 - cropping(document_lengths(dataset, "train"), context, tokens).kept_share
    larger = tokens / len(dataset.tokens("train"))
    return Reading(
        sequences=round(windows.epoch * larger),
        targets=round(windows.targets * larger),
        context=context,
        unique_tokens=round(windows.targets * larger),
        lost_share=lost,
        trimmed_padding=windows.padding_share(recipe.train.seed, recipe.train.batch) if windows.trimmed else None,
    )


def scored_targets(recipe: Recipe, dataset: Dataset, split: str) -> int:
    """Return the number of tokens that an evaluation of a whole split predicts."""
    windows = split_windows(recipe, dataset, split)
    return len(dataset.tokens(split)) - 1 if windows is None else windows.targets
