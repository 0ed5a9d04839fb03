"""Tokenizers: characters, bytes, words, GPT-2's, and a trained byte-level BPE.

`build_tokenizer` makes the one that a recipe names, `load_tokenizer` restores the one stored in a data set or run, `add_tokenizer`
registers another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lmlab import LabError
from lmlab.data.tokenizers.base import FORMAT, Tokenizer, damaged
from lmlab.data.tokenizers.kinds import KINDS, TokenizerKind, add_tokenizer
from lmlab.recipe.data import Data

__all__ = ["Tokenizer", "TokenizerKind", "add_tokenizer", "build_tokenizer", "load_tokenizer"]


def build_tokenizer(data: Data, texts: Iterable[str], documents_end: bool = False) -> Tokenizer:
    """Return the tokenizer that `data` names, trained on `texts` if it is trained.

    characters needs the whole corpus, words and bpe the training split; bytes and gpt2 don't read it. `documents_end`:
    whether characters and bytes have an end of text, which a corpus of one document doesn't need; the others always have one.
    """
    return KINDS[data.tokenizer].learn(data, texts, documents_end)


def load_tokenizer(value: Any) -> Tokenizer:
    """Return the tokenizer that `to_json` converted; raises LabError if the value is damaged or of another format."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise damaged("unnamed", "expected its format and name")
    if value.get("format") != FORMAT:
        raise LabError(
            f"the stored tokenizer has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab"
        )
    if value["name"] not in KINDS:
        raise LabError(f"the stored tokenizer is '{value['name'][:40]}': expected one of {', '.join(KINDS)}")
    return KINDS[value["name"]].restore(value)
