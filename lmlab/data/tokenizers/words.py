"""Words, separated by white space, as tokens: the most frequent ones of the training split, and one token for all others.

Ids: PAD 0, UNK 1, BOS 2, EOS 3, then the words by falling count, ties by first appearance. A text's own <unk> is UNK where unknown
words are replaced, so that an edition with rare words removed reads like the raw one. Spacing is lost, and so are
the removed words, so figures per byte of text are undefined.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmlab import LabError
from lmlab.data.tokenizers.base import FORMAT, Ids, checked_ids, damaged, utf8

PAD, UNKNOWN, BEGIN_OF_TEXT, END_OF_TEXT = range(4)
SPECIALS = 4
UNKNOWN_TEXT = "<unk>"
HALF_A_PAIR = re.compile("[\ud800-\udfff]")


class Words:
    """One token per word. A word outside the vocabulary is the unknown token, or refused without `replace`."""

    name = "words"
    lossless = False
    end_of_text = END_OF_TEXT
    begin_of_text = BEGIN_OF_TEXT

    def __init__(self, words: Sequence[str], *, lowercase: bool, replace: bool) -> None:
        """`words`: the vocabulary after the four special tokens, all distinct."""
        self.words = list(words)
        self.lowercase = lowercase
        self.replace = replace
        self.vocabulary_size = SPECIALS + len(self.words)
        self._ids = {word: number for number, word in enumerate(self.words, start=SPECIALS)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Words:
        """Return the tokenizer that `to_json` converted; raises LabError if the words are invalid."""
        words = value.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) and word.split() == [word] for word in words):
            raise damaged(cls.name, "words must be a list of words without white space")
        if len(set(words)) < len(words):
            raise damaged(cls.name, "a word is repeated")
        if HALF_A_PAIR.search("".join(words)):
            raise damaged(cls.name, "a word holds half of a surrogate pair")
        if not isinstance(value.get("lowercase"), bool) or not isinstance(value.get("replace"), bool):
            raise damaged(cls.name, "lowercase and replace must be true or false")
        return cls(words, lowercase=value["lowercase"], replace=value["replace"])

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that restore the tokenizer."""
        return {
            "format": FORMAT,
            "name": self.name,
            "words": self.words,
            "lowercase": self.lowercase,
            "replace": self.replace,
        }

    def encode(self, text: str) -> Ids:
        """Return the words' ids; raises LabError for one outside the vocabulary, unless it is replaced."""
        get = self._ids.get
        words = split_words(text, self.lowercase)
        ids = np.fromiter((get(word, UNKNOWN) for word in words), dtype=np.int32, count=len(words))
        if not self.replace and (ids == UNKNOWN).any():
            place = int(np.argmax(ids == UNKNOWN))
            start = [match.start() for match in re.finditer(r"\S+", text)][place]
            raise LabError(
                f"the word {words[place]!r} at character {start:,} isn't among the {len(self.words):,} that the "
                f"tokenizer knows: train with --data.unknown replace to read it as {UNKNOWN_TEXT}, or with a larger "
                "--data.vocabulary"
            )
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Return `encode` of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: ArrayLike) -> str:
        """Return the words separated by one space, without PAD, BOS and EOS."""
        return " ".join(self._texts(ids))

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """Return the words as UTF-8 with a space before each, so that parts can be joined."""
        return "".join(f" {word}" for word in self._texts(ids)).encode("utf-8")

    def token_bytes(self) -> None:
        """Return None, since text is lost."""
        return None

    def unknown_symbols(self, text: str) -> list[str]:
        """Return the distinct words outside the vocabulary, in order of appearance."""
        return [word for word in dict.fromkeys(split_words(text, self.lowercase)) if word not in self._ids]

    def _texts(self, ids: ArrayLike) -> list[str]:
        shown = ["", UNKNOWN_TEXT, "", "", *self.words]
        return [shown[number] for number in checked_ids(ids, self.vocabulary_size).tolist() if shown[number]]


def split_words(text: str, lowercase: bool) -> list[str]:
    """Return the words separated by white space, in lower case if `lowercase`."""
    return (text.lower() if lowercase else text).split()


def learn_words(
    texts: Iterable[str], *, vocabulary: int | None, minimum_count: int, lowercase: bool, replace: bool
) -> Words:
    """Return the tokenizer of the most frequent words in `texts`: `vocabulary` tokens including the special ones (None: no limit).

    Words that appear fewer than `minimum_count` times are left out. Raises LabError if no word remains.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        utf8(text)
        counts.update(split_words(text, lowercase))
    if replace:
        del counts[UNKNOWN_TEXT]
    # most_common keeps the order of first appearance among equals.
    most = None if vocabulary is None else max(0, vocabulary - SPECIALS)
    words = [word for word, count in counts.most_common(most) if count >= minimum_count]
    if not words:
        raise LabError(
            f"no word remains of the {len(counts):,} in the training split: expected data.vocabulary above {SPECIALS} "
            f"({SPECIALS} are special) and data.minimum_count {minimum_count} reached by some word"
        )
    return Words(words, lowercase=lowercase, replace=replace)
