"""What is asked of a corpus of shards: its settings and files, and the budget of training tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lmlab.data import manifest as shape
from lmlab.data.building import digest
from lmlab.data.catalogue import CATALOGUE
from lmlab.data.catalogue_entry import HubFolder
from lmlab.data.progress import Progress
from lmlab.data.shards.encoding import ShardSettings
from lmlab.data.shards.forecast import published_tokens_a_document
from lmlab.data.shards.rows import ShardMark, Shards
from lmlab.data.sources import Source, corpus_key
from lmlab.data.split import require_used
from lmlab.data.tokenizers import Tokenizer
from lmlab.recipe import Data

PART_ORDER = {"": 0, "valid": 0, "test": 1, "train": 2}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A data set of shards that somebody asks for."""

    data: Data
    source: Source
    """With its files in the order in which they are read: the parts that aren't trained on first."""
    root: Path
    progress: Progress
    given: Tokenizer | None
    """A tokenizer in place of the one that `data` names."""

    @property
    def hub(self) -> HubFolder | None:
        """Where the corpus is on the hub; None for local files."""
        return CATALOGUE[self.source.entry].hub if self.source.entry else None

    @property
    def published_length(self) -> float | None:
        """The published mean length of a document in tokens; None where it isn't known in these tokens."""
        return published_tokens_a_document(self.hub, self.data.tokenizer)

    @property
    def published_tokens(self) -> int | None:
        """The published number of tokens of the corpus; None where it isn't known in these tokens."""
        return self.hub.gpt2_tokens if self.hub and self.published_length else None

    @property
    def total(self) -> int | None:
        """The training tokens that are asked for, or about how many there are; None if that isn't known."""
        return self.data.tokens or self.published_tokens

    @cached_property
    def key(self) -> str:
        """A hash of the settings that determine a data set, besides the shards themselves and the budget.

        Raises LabError for a setting that no split would use.
        """
        data, source = self.data, self.source
        require_used(data, source.published or "first", source)
        rule = ["parts"] if source.published == "parts" else ["first", data.valid_documents]
        tokenizer: Any = [data.tokenizer, data.vocabulary, data.minimum_count, data.lowercase, data.unknown]
        if self.given is not None:
            tokenizer = self.given.to_json()
        read = [self.settings.rule, data.column, source.minimum_words, source.newlines, data.by_document]
        return digest([shape.FORMAT, *read, rule, tokenizer])

    @property
    def plan(self) -> str:
        """A hash of settings and corpus, whatever the budget: one process at a time works on it."""
        return digest([self.key, corpus_key(self.data)])[:32]

    @property
    def settings(self) -> ShardSettings:
        """How rows become documents, and these a split."""
        return ShardSettings(
            rule="articles" if self.source.rule == "articles" else "records",
            parts=tuple(file.part for file in self.source.files),
            valid_documents=self.data.valid_documents,
            minimum_words=self.source.minimum_words,
            newlines=self.source.newlines,
        )

    def shards(self, marks: Sequence[ShardMark] = ()) -> Shards:
        """Return the files to read; `marks` are those that the first ones must have."""
        return Shards(
            files=self.source.files,
            column=self.data.column,
            key=corpus_key(self.data),
            root=self.root,
            progress=self.progress,
            known=dict(enumerate(marks)),
        )

    def with_tokens(self, tokens: int) -> Request:
        """Return the same with another budget."""
        return dataclasses.replace(self, data=dataclasses.replace(self.data, tokens=tokens))


def request_of(data: Data, source: Source, root: Path, progress: Progress, given: Tokenizer | None = None) -> Request:
    """Return the request for the data set that `data` describes of `source`."""
    files = tuple(sorted(source.files, key=lambda file: PART_ORDER[file.part]))
    return Request(
        data=data, source=dataclasses.replace(source, files=files), root=root, progress=progress, given=given
    )
