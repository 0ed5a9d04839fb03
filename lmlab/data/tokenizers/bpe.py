"""A trained byte-level BPE: GPT-2's pre-tokenisation, with merges learnt from the training split.

Input: texts and the size of the vocabulary. Output: a tokenizer whose ids are the end of text (0), the 256 bytes (1 to 256)
and one token per merge. The merges are the `tokenizers` library's: at each step the most frequent pair, with ties broken by
the lower ids. They depend on the words and their counts only, so the same texts always give the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lmlab import LabError
from lmlab.data.tokenizers.base import FORMAT, damaged, utf8
from lmlab.data.tokenizers.byte_level import END_OF_TEXT, ByteLevel, Merge, pieces, read_merges, write_merges

SMALLEST_VOCABULARY = 257
"""256 bytes and the end of text."""


class BPE(ByteLevel):
    """Byte-level BPE with trained merges."""

    name = "bpe"

    def __init__(self, merges: list[Merge]) -> None:
        """`merges` in the order in which they were learnt; raises LabError if they don't build on each other."""
        super().__init__(merges, end_of_text_first=True)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> BPE:
        """Return the tokenizer that `to_json` converted; raises LabError if the merges are invalid."""
        lines = value.get("merges")
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise damaged(cls.name, "merges must be a list of texts")
        try:
            return cls(read_merges(lines))
        except LabError as error:
            raise damaged(cls.name, str(error)) from None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that restore the tokenizer."""
        return {"format": FORMAT, "name": self.name, "merges": write_merges(self.merges)}


def learn_bpe(texts: Iterable[str], vocabulary: int | None) -> BPE:
    """Return the tokenizer of `vocabulary` tokens trained on `texts`, which are read once and never held together.

    It has fewer tokens if the texts have no more pairs. Raises LabError if the vocabulary can't hold the bytes.
    """
    if vocabulary is None or vocabulary < SMALLEST_VOCABULARY:
        raise LabError(
            f"data.vocabulary is {vocabulary}: bpe needs at least {SMALLEST_VOCABULARY} (256 bytes and the end of text)"
        )
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The library needs about a hundred times the memory of a single text, hence the pieces.
    learner.train_from_iterator((piece for text in texts if utf8(text) for piece in pieces(text)), trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return BPE(read_merges([" ".join(pair) for pair in merges]))
