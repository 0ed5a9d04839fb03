"""Which part of a text a model is scored on: the common rule of `lmlab evaluate` and `lmlab compare --on`.

For a text with a split of its own (a catalogue corpus or a copy of one, files named after the parts of a split, a prepared
data set) the validation split is scored, for any other text all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.data.all_splits import ALL, AllSplits
from lmlab.data.dataset import Dataset, is_reference
from lmlab.data.preparation import prepare
from lmlab.data.progress import Progress, Silent
from lmlab.data.remembered import READING, datasets_of, reading_of
from lmlab.data.seen import seen_units
from lmlab.data.sources import Source, resolve
from lmlab.data.tokenizers import Tokenizer
from lmlab.evaluation.result import Evaluation
from lmlab.recipe import Data, Recipe, override

CHOICES = ("train", "valid", "test", ALL)
SPLITS = {"train": "the training split", "valid": "the validation split", "test": "the test split", ALL: "all"}
SETTINGS = (*READING, "data.valid_documents", "data.template", "data.targets")
"""What may be set of a text that is scored: how it is read, and of a large corpus how many of its first documents validate."""
FEWEST_TOKENS = 2
"""Training tokens of a data set that is needed for its validation split alone."""
UNITS = {"document": "documents", "block": "blocks of 1,024 bytes"}


@dataclass(frozen=True, kw_only=True)
class Reader:
    """The properties of a model that decide how a text is read for it."""

    name: str
    data: Data
    """The settings that its own data were read with."""
    tokenizer: Tokenizer
    dataset: Callable[[], Dataset]
    """Returns the data set that it was trained on; LabError where there is none here."""


@dataclass(frozen=True, kw_only=True)
class ScoredPart:
    """A split of a data set, or all of it, on which a model is scored."""

    dataset: AllSplits
    split: str
    """train, valid, test or all."""
    given: str
    """The text as it was named; empty for the run's own data."""
    trained: Dataset | None
    """The data set that the run was trained on; None where it isn't here."""
    data: Data
    """How it is read."""

    def title(self) -> str:
        """Describe what is scored."""
        part = SPLITS[self.split]
        if self.data.conversations:
            part = (
                f"{'the responses' if self.data.targets == 'response' else 'all tokens'} of the conversations in {part}"
            )
        if not self.given:
            return f"{part} of its own data set {self.dataset.id}"
        if is_reference(self.given):
            return f"{part} of data set {self.dataset.id}"
        return f"{part} of {self.given} (data set {self.dataset.id})"

    def seen(self) -> NDArray[np.bool_] | None:
        """Return bool for each unit: whether the run was trained on it; None where its data set is gone."""
        return None if self.trained is None else seen_units(self.dataset, self.split, self.trained)


def part_to_score(
    reader: Reader,
    on: str | None,
    split: str | None,
    reading: Mapping[str, Any],
    progress: Progress | None = None,
) -> ScoredPart:
    """Return what a model is scored on: `on`, encoded with its tokenizer and read with its own settings of READING, except those in
    `reading` (those of SETTINGS); None: its own data. `split`: train, valid, test or all; None: by the rule.

    LabError where the text can't be read, or doesn't fit the model.
    """
    if split is not None and split not in CHOICES:
        raise LabError(f"there is no split {split[:40]!r}: expected one of {', '.join(CHOICES)}")
    unknown = [name for name in reading if name not in SETTINGS]
    if unknown:
        raise LabError(f"--{unknown[0]} doesn't apply to a text that is scored: expected {', '.join(SETTINGS)}")
    if on is None:
        kept = [name for name in reading if not (name == "data.targets" and reader.data.conversations)]
        if kept:
            raise LabError(f"--{kept[0]} needs --on TEXT: the run's own data is read as it was in training")
        own, data = reader.dataset(), override(Recipe(data=reader.data), dict(reading)).data
        part = ScoredPart(dataset=AllSplits(own), split=split or "valid", given="", trained=own, data=data)
    else:
        part = _of_text(reader, on, split, reading, progress or Silent())
    _require_fit(reader, part)
    return part


def seen_figures(part: ScoredPart, scores: Evaluation) -> dict[str, Any] | None:
    """Return how much of what was scored the run was trained on, and the losses on that and on the rest; None where unknown."""
    seen = part.seen()
    if seen is None:
        return None
    (loss, tokens), (rest, _) = scores.loss_over(seen), scores.loss_over(~seen)
    return {
        "units": int(seen.sum()),
        "of_units": len(seen),
        "unit": part.dataset.unit_kind(part.split),
        "tokens": tokens,
        "share_of_tokens": tokens / scores.tokens,
        "loss": loss,
        "loss_of_the_rest": rest,
    }


def seen_line(run: str, part: ScoredPart, found: Mapping[str, Any] | None) -> str:
    """Return those figures as text; empty for the run's own validation and test splits, however named, for which duplicates are
    reported instead.
    """
    own = not part.given or (part.trained is not None and part.dataset.id == part.trained.id)
    if own and part.split in ("valid", "test"):
        return ""
    if own and part.split == "train":
        return f"this is the split that {run} was trained on"
    if found is None:
        return f"whether {run} was trained on it is unknown: its data set is no longer here"
    units = f"the {found['of_units']:,} {UNITS[found['unit']]}"
    if not found["units"]:
        return f"{run} was trained on none of {units}"
    if found["units"] == found["of_units"]:
        return f"{run} was trained on all of {units}: this is its training text"
    hint = "; --split valid scores what it was not trained on" if part.split == ALL and _is_own(part) else ""
    return (
        f"{run} was trained on {found['units']:,} of {units} ({found['share_of_tokens']:.1%} of the tokens): loss "
        f"{found['loss']:.4f} on these, {found['loss_of_the_rest']:.4f} on the rest{hint}"
    )


def _of_text(reader: Reader, on: str, split: str | None, reading: Mapping[str, Any], progress: Progress) -> ScoredPart:
    default = Data()
    own = dataclasses.replace(
        reader.data, split="auto", tokens=None, valid_documents=default.valid_documents, test_share=default.test_share
    )
    data = _in_fitting_windows(dataclasses.replace(override(Recipe(data=own), dict(reading)).data, corpus=on), own)
    trained = _trained(reader)
    if is_reference(on):
        found = prepare(data, progress=progress, tokenizer=reader.tokenizer)
        return ScoredPart(dataset=AllSplits(found), split=split or "valid", given=on, trained=trained, data=data)
    source = resolve(data, progress=progress)
    chosen = split or ("valid" if source.entry or source.published else ALL)
    if chosen == ALL:
        # The same division for every run, so that units are equal whatever a run's own recipe sets.
        data = dataclasses.replace(data, valid_share=Data().valid_share)
    elif trained is not None and _is_of(trained, source, data):
        return ScoredPart(dataset=AllSplits(trained), split=chosen, given=on, trained=trained, data=data)
    if source.in_shards and chosen not in (ALL, "train"):
        # All of a large corpus isn't read for its validation split, which comes first.
        data = dataclasses.replace(data, tokens=data.tokens or FEWEST_TOKENS)
    found = prepare(data, progress=progress, tokenizer=reader.tokenizer)
    return ScoredPart(dataset=AllSplits(found), split=chosen, given=on, trained=trained, data=data)


def _in_fitting_windows(data: Data, own: Data) -> Data:
    """Return `data` with windows that fit its template, where that isn't the model's `own`.

    Conversations are read one a window, and plain text by a model that was tuned on conversations as one stream.
    """
    if data.template == own.template:
        return data
    if data.conversations:
        return dataclasses.replace(data, windows="cropped", stride=None)
    return dataclasses.replace(data, windows="stream", targets="all")


def _trained(reader: Reader) -> Dataset | None:
    try:
        return reader.dataset()
    except LabError:
        return None


def _is_of(trained: Dataset, source: Source, data: Data) -> bool:
    """Return whether a data set was prepared from this same text, read in the same way."""
    if (trained.conversations or {}).get("template", "none") != data.template:
        return False
    if trained.whole.id not in [one.id for one in datasets_of(source)]:
        return False
    default = Data()
    wanted = {name: str(getattr(data, name.partition(".")[2])) for name in READING}
    own = {name: str(getattr(default, name.partition(".")[2])) for name in READING} | reading_of(trained)
    return all(wanted[name] in (own[name], own[name].replace("\\n", "\n")) for name in READING)


def _is_own(part: ScoredPart) -> bool:
    """Return whether the scored text is the one that the run was trained on."""
    trained = part.trained
    mine = part.dataset.facts["corpus"].get("text_sha256")
    return trained is not None and mine is not None and trained.facts["corpus"].get("text_sha256") == mine


def _require_fit(reader: Reader, part: ScoredPart) -> None:
    dataset, split = part.dataset, part.split
    if dataset.vocabulary_size != reader.tokenizer.vocabulary_size:
        raise LabError(
            f"data {dataset.id} has a vocabulary of {dataset.vocabulary_size:,} tokens, the model of {reader.name} one of "
            f"{reader.tokenizer.vocabulary_size:,}: give the text itself with --on"
        )
    if split not in dataset.splits:
        raise LabError(f"data {dataset.id} has no split '{split}': expected one of {', '.join(dataset.splits)}")
