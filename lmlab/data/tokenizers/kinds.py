"""The registry of tokenizers: how each is made for a recipe, and restored from a data set or run.

The libraries behind gpt2 and bpe are imported when they are first needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.data.tokenizers.base import Tokenizer
from lmlab.recipe.data import TOKENIZERS, Data
from lmlab.recipe.extensions import note_kind

Learn = Callable[[Data, Iterable[str], bool], Tokenizer]
"""(settings, texts, whether documents have an end) -> tokenizer, trained on the texts if it is trained."""


@dataclass(frozen=True, kw_only=True)
class TokenizerKind:
    """One tokenizer."""

    name: str
    """Its name in recipes and stored tokenizers."""
    learn: Learn
    reads_text: bool = False
    """Whether it is trained on the training split; otherwise `learn` is given the corpus's alphabet."""
    restore: Callable[[Any], Tokenizer]
    """Returns the tokenizer that `to_json` converted; raises LabError if the value is damaged."""


def _restored_by(module: str, name: str) -> Callable[[Any], Tokenizer]:
    """Return `from_json` of a class that is imported on use."""

    def restore(value: Any) -> Tokenizer:
        found: Tokenizer = getattr(importlib.import_module(f"lmlab.data.tokenizers.{module}"), name).from_json(value)
        return found

    return restore


def _characters(data: Data, texts: Iterable[str], documents_end: bool) -> Tokenizer:
    from lmlab.data.tokenizers.characters import learn_characters

    return learn_characters(texts, documents_end=documents_end, replace=data.unknown == "replace")


def _bytes(data: Data, texts: Iterable[str], documents_end: bool) -> Tokenizer:
    from lmlab.data.tokenizers.bytes import Bytes

    return Bytes(documents_end=documents_end)


def _words(data: Data, texts: Iterable[str], documents_end: bool) -> Tokenizer:
    from lmlab.data.tokenizers.words import learn_words

    return learn_words(
        texts,
        vocabulary=data.vocabulary,
        minimum_count=data.minimum_count,
        lowercase=data.lowercase,
        replace=data.unknown == "replace",
    )


def _gpt2(data: Data, texts: Iterable[str], documents_end: bool) -> Tokenizer:
    from lmlab.data.tokenizers.gpt2 import load_gpt2

    return load_gpt2()


def _bpe(data: Data, texts: Iterable[str], documents_end: bool) -> Tokenizer:
    from lmlab.data.tokenizers.bpe import learn_bpe

    return learn_bpe(texts, data.vocabulary)


def _imported(data: Data, texts: Iterable[str], documents_end: bool) -> Tokenizer:
    raise LabError(
        "data.tokenizer imported belongs to a model of another project: train from its run with lmlab train --from, or choose "
        "another tokenizer"
    )


KINDS: dict[str, TokenizerKind] = {
    kind.name: kind
    for kind in (
        TokenizerKind(name="characters", learn=_characters, restore=_restored_by("characters", "Characters")),
        TokenizerKind(name="bytes", learn=_bytes, restore=_restored_by("bytes", "Bytes")),
        TokenizerKind(name="words", learn=_words, reads_text=True, restore=_restored_by("words", "Words")),
        TokenizerKind(name="gpt2", learn=_gpt2, restore=_restored_by("gpt2", "GPT2")),
        TokenizerKind(name="bpe", learn=_bpe, reads_text=True, restore=_restored_by("bpe", "BPE")),
        TokenizerKind(name="imported", learn=_imported, restore=_restored_by("imported", "Imported")),
    )
}
"""Name -> tokenizer."""


def add_tokenizer(kind: TokenizerKind) -> None:
    """Register a tokenizer, and its name for `data.tokenizer`. ValueError if the name is known already."""
    if kind.name in KINDS:
        raise ValueError(f"data.tokenizer {kind.name} exists already")
    KINDS[kind.name] = kind
    TOKENIZERS.append(kind.name)
    note_kind("data.tokenizer", kind.name, kind.learn)
