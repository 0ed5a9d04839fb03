"""Tokenizers: characters, bytes, words, GPT-2's, and a trained byte-level BPE.

`build_tokenizer` makes the one that a recipe names, `load_tokenizer` restores the one stored in a data set or run. The
libraries behind gpt2 and bpe are imported when they are first needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lmlab import LabError
from lmlab.data.tokenizers.base import FORMAT, Tokenizer, damaged
from lmlab.recipe.data import Data

__all__ = ["Tokenizer", "build_tokenizer", "load_tokenizer"]


def build_tokenizer(data: Data, texts: Iterable[str], documents_end: bool = False) -> Tokenizer:
    """Return the tokenizer that `data` names, trained on `texts` if it is trained.

    characters needs the whole corpus, words and bpe the training split; bytes and gpt2 don't read it. `documents_end`:
    whether characters and bytes have an end of text, which a corpus of one document doesn't need; the others always have one.
    """
    replace = data.unknown == "replace"
    if data.tokenizer == "characters":
        from lmlab.data.tokenizers.characters import learn_characters

        return learn_characters(texts, documents_end=documents_end, replace=replace)
    if data.tokenizer == "bytes":
        from lmlab.data.tokenizers.bytes import Bytes

        return Bytes(documents_end=documents_end)
    if data.tokenizer == "words":
        from lmlab.data.tokenizers.words import learn_words

        return learn_words(
            texts,
            vocabulary=data.vocabulary,
            minimum_count=data.minimum_count,
            lowercase=data.lowercase,
            replace=replace,
        )
    if data.tokenizer == "gpt2":
        from lmlab.data.tokenizers.gpt2 import load_gpt2

        return load_gpt2()
    from lmlab.data.tokenizers.bpe import learn_bpe

    return learn_bpe(texts, data.vocabulary)


def load_tokenizer(value: Any) -> Tokenizer:
    """Return the tokenizer that `to_json` converted; raises LabError if the value is damaged or of another format."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise damaged("unnamed", "expected its format and name")
    if value.get("format") != FORMAT:
        raise LabError(
            f"the stored tokenizer has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab"
        )
    from lmlab.data.tokenizers.bpe import BPE
    from lmlab.data.tokenizers.bytes import Bytes
    from lmlab.data.tokenizers.characters import Characters
    from lmlab.data.tokenizers.gpt2 import GPT2
    from lmlab.data.tokenizers.words import Words

    kinds: dict[str, Any] = {kind.name: kind for kind in (Characters, Bytes, Words, GPT2, BPE)}
    if value["name"] not in kinds:
        raise LabError(f"the stored tokenizer is '{value['name'][:40]}': expected one of {', '.join(kinds)}")
    return kinds[value["name"]].from_json(value)
