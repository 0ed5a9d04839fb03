"""Shingles of a text: every five consecutive words, as 64-bit hashes (Broder, 1997).

A word is a run of letters and digits in any script, in lower case for ASCII; punctuation and white space only separate. A
character of three or more bytes in UTF-8 is a word of its own, since these include scripts without spaces. A passage of
fewer than five words is one shingle.
"""

from __future__ import annotations

import numpy as np

from lmlab.data.hygiene.hashing import inverse_powers, mixed, powers, random_words

WORDS = 5
"""Lee et al., 2022 (arXiv 2107.06499, appendix A), compare 5-grams too."""
SEPARATOR, LETTER, OWN_WORD = 0, 1, 2


def _kinds() -> np.ndarray:
    """Return uint8 [256]: the role of each byte in words."""
    kinds = np.full(256, SEPARATOR, np.uint8)
    kinds[[*b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"]] = LETTER
    kinds[0x80:0xE0] = LETTER
    kinds[0xE0:] = OWN_WORD
    return kinds


def _values() -> np.ndarray:
    """Return uint64 [256]: a random value for each byte, the same for both cases of a letter, 0 for separators."""
    values = random_words("lmlab shingles: bytes", 256)
    values[65:91] = values[97:123]
    values[KINDS == SEPARATOR] = 0
    return values


KINDS = _kinds()
VALUES = _values()
PLACES = random_words("lmlab shingles: places", WORDS) | np.uint64(1)
"""Factors of the words of a shingle, so that their order counts."""


def shingles(text: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (uint64 [shingles], int64 [passages + 1]): the hashes, and the first one of each passage.

    `text` is uint8, passage after passage; passage k begins at byte begins[k] and ends where the next one begins.
    """
    words, first_word = word_hashes(text, begins)
    counts = np.diff(first_word)
    of_word = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(words))
    left = first_word[1:][of_word] - number  # words from this one to the passage's end
    kept = (left >= WORDS) | (number == first_word[:-1][of_word])
    begin, left = number[kept], left[kept]
    sums = np.zeros(len(begin), np.uint64)
    for place in range(WORDS):
        there = place < left
        sums[there] += words[begin[there] + place] * PLACES[place : place + 1]
    first = np.searchsorted(begin, first_word)
    return mixed(sums), first


def word_hashes(text: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (uint64 [words], int64 [passages + 1]): the words' hashes, and the first one of each passage.

    `text` and `begins` are as in `shingles`.
    """
    kinds = KINDS[text]
    inside = kinds != SEPARATOR
    goes_on = np.empty(len(text), bool)
    goes_on[:1] = False
    goes_on[1:] = inside[:-1]
    goes_on[begins[begins < len(text)]] = False
    starts = np.flatnonzero(inside & (~goes_on | (kinds == OWN_WORD)))
    if not len(starts):
        return np.zeros(0, np.uint64), np.zeros(len(begins) + 1, np.int64)
    # Separators have the value 0, so a word's sum may extend to the next word's first byte.
    sums = np.add.reduceat(VALUES[text] * powers(len(text)), starts)
    first = np.append(np.searchsorted(starts, begins), len(starts))
    return mixed(sums * inverse_powers(len(text))[starts]), first
