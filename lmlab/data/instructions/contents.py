"""What a data set of conversations holds as a recipe reads it: how many are cropped, and what is left to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.reading import reading, scored_targets
from lmlab.data.windows import split_windows
from lmlab.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class SplitContents:
    """One split."""

    conversations: int
    cropped: int
    """Conversations longer than the context, of which the beginning is read."""
    without_targets: int
    """Of those, the ones of which nothing that counts is left (`data.targets response`); they aren't read."""
    targets: int
    """Targets in one pass."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All splits, and one pass over the training split."""

    template: str
    unanswered: int
    """Records left out because their last answer is empty."""
    several_turns: int
    splits: dict[str, SplitContents]
    sequences: int
    """Windows of a pass, with those that complete its last batch."""
    padding_share: float
    """Padding as a share of the training positions that are computed in the first epoch, at most 64 batches of it."""

    def lines(self, recipe: Recipe) -> list[str]:
        """Return what the user should know before the training."""
        sizes = ", ".join(f"{one.conversations:,} {name}" for name, one in self.splits.items())
        train, context = self.splits["train"], recipe.model.context
        counted = "the responses" if recipe.data.targets == "response" else "everything but the padding"
        lines = [
            f"conversations: {sizes}; template {self.template}; the loss is over {counted}",
            f"{train.targets:,} targets an epoch ({train.targets / max(1, train.conversations):,.0f} a conversation), "
            f"{self.sequences:,} windows, {self.padding_share:.1%} of the computed positions are padding",
        ]
        cropped = {name: one for name, one in self.splits.items() if one.cropped}
        if cropped:
            counts = ", ".join(f"{one.cropped:,} of {one.conversations:,} {name}" for name, one in cropped.items())
            lost = sum(one.without_targets for one in cropped.values())
            rest = f"; {lost:,} of them have no response left and are not read" if lost else ""
            lines.append(f"longer than the context of {context:,} tokens and cropped: {counts}{rest}")
        if self.unanswered:
            lines.append(f"left out: {self.unanswered:,} records without an answer")
        return lines


def contents_of(recipe: Recipe, dataset: Dataset) -> Contents:
    """Return the contents; raises LabError if the data set isn't of conversations, or has no target in the training split."""
    facts = dataset.conversations
    windows = split_windows(recipe, dataset, "train")
    if facts is None or windows is None:
        raise LabError(f"data set {dataset.id} is plain text: expected conversations, with a data.template")
    if not windows.count:
        raise LabError(
            f"no conversation has a response within the context of {recipe.model.context:,} tokens: begin from a model with a "
            "longer one, or use shorter conversations"
        )
    return Contents(
        template=facts["template"],
        unanswered=facts["unanswered"],
        several_turns=facts["several_turns"],
        splits={name: _split(recipe, dataset, name) for name in dataset.splits},
        sequences=reading(recipe, dataset).sequences,
        padding_share=_padding(recipe, dataset),
    )


def _split(recipe: Recipe, dataset: Dataset, name: str) -> SplitContents:
    starts, most = dataset.document_starts(name), recipe.model.context + 1
    windows = split_windows(recipe, dataset, name)
    assert windows is not None
    longer = np.diff(starts) > most
    if windows.counted is None:
        empty = 0
    else:
        empty = int((windows.targets_in(starts[:-1], starts[1:]) == 0).sum())
    return SplitContents(
        conversations=len(starts) - 1,
        cropped=int(longer.sum()),
        without_targets=empty,
        targets=scored_targets(recipe, dataset, name),
    )


def _padding(recipe: Recipe, dataset: Dataset) -> float:
    windows = split_windows(recipe, dataset, "train")
    assert windows is not None
    batch = recipe.train.batch
    held = computed = 0
    for first in range(0, min(windows.epoch, 64 * batch), batch):
        starts, ends = windows.at(recipe.train.seed, first, batch)
        held += int(np.maximum(ends - starts - 1, 0).sum())
        computed += batch * (windows.width(starts, ends) - 1)
    return 1 - held / max(1, computed)
