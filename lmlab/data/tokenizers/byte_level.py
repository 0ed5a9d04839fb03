"""GPT-2's byte-level byte-pair encoding (Radford et al., 2019), shared by the tokenizers gpt2 and bpe.

Text is first divided into words by GPT-2's pattern. Each word starts as the bytes of its UTF-8, and the merges are applied
in the order in which they were learnt. So every text can be encoded without loss. tiktoken does the encoding,
several times faster than the tokenizers library; trained merges give the same ids in both, as the tests check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lmlab import LabError
from lmlab.data.tokenizers.base import Ids, checked_ids, utf8
from lmlab.hardware.cpu import logical_cores

if TYPE_CHECKING:
    import tiktoken

END_OF_TEXT = "<|endoftext|>"

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
"""Contractions; letters, digits or other symbols with at most one space before them; and white space.

GPT-2's pattern; the possessive quantifiers don't change matches, and keep the time linear in long runs of one kind.
"""

PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
ALPHABET = [*PRINTABLE, *(byte for byte in range(256) if byte not in PRINTABLE)]
"""The 256 bytes in GPT-2's order: those printable in Latin-1 come first."""
SYMBOLS = dict(zip(ALPHABET, map(chr, [*PRINTABLE, *range(256, 512 - len(PRINTABLE))]), strict=True))
"""Byte -> its character in merges written as text; non-printable bytes use U+0100 and following."""
SYMBOL_BYTES = {symbol: byte for byte, symbol in SYMBOLS.items()}

PIECE = 1 << 17
"""Texts longer than this are encoded in pieces of at least this many characters, on all cores."""
CUT = re.compile(r"(?<=\S)(?=[ \n])")
"""Before a space or new line after any other character. No match of PATTERN crosses it, so pieces give the ids of the whole."""

Merge = tuple[bytes, bytes]


class ByteLevel:
    """A tokenizer defined by a list of merges. The vocabulary: 256 bytes, one token per merge, and the end of text."""

    lossless = True
    encodes_in_threads = True
    """Its library encodes without Python's lock, so that several threads encode at the same time."""

    def __init__(self, merges: Sequence[Merge], *, end_of_text_first: bool) -> None:
        """`merges`: pairs of tokens in the order in which they were learnt; the end of text is the first or the last id.

        Raises LabError if a merge joins a token that doesn't exist yet, or makes one that does.
        """
        self.merges = list(merges)
        tokens = _tokens(self.merges)
        self.end_of_text = self.begin_of_text = 0 if end_of_text_first else len(tokens)
        self.vocabulary_size = len(tokens) + 1
        self.tokens = [b"", *tokens] if end_of_text_first else [*tokens, b""]
        """Bytes of each id; the end of text has none."""

    def encode(self, text: str) -> Ids:
        """Return the text's ids; text that looks like an end of text is ordinary text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Return `encode` of each text, on all cores if the texts are long enough."""
        cut = [list(pieces(text)) for text in texts]
        jobs = list(_jobs([piece for parts in cut for piece in parts]))
        # Created here once, since otherwise every thread might create one.
        encode_all = partial(_encode_all, self._encoding)
        if len(jobs) > 1:
            with ThreadPoolExecutor(min(len(jobs), logical_cores())) as pool:
                done = list(pool.map(encode_all, jobs))
        else:
            done = [encode_all(job) for job in jobs]
        encoded = iter([ids for job in done for ids in job])
        return [_joined([next(encoded) for _ in parts]) for parts in cut]

    def decode(self, ids: ArrayLike) -> str:
        """Return the text without ends of text; invalid UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """Return the bytes of the ids, without ends of text."""
        return b"".join([self.tokens[number] for number in checked_ids(ids, self.vocabulary_size).tolist()])

    def token_bytes(self) -> Ids:
        """Return the number of bytes of each id, 0 for the end of text."""
        return np.array([len(token) for token in self.tokens], dtype=np.int32)

    def unknown_symbols(self, text: str) -> list[str]:
        """Return an empty list, since every byte has a token."""
        return []

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        import tiktoken

        ranks = {token: number for number, token in enumerate(self.tokens) if number != self.end_of_text}
        return tiktoken.Encoding(
            "lmlab",
            pat_str=PATTERN,
            mergeable_ranks=ranks,
            special_tokens={END_OF_TEXT: self.end_of_text},
        )


def pieces(text: str) -> Iterator[str]:
    """Yield the text in pieces of PIECE characters or a little more, cut only where the pattern cuts anyway."""
    start = 0
    while len(text) - start > PIECE and (place := CUT.search(text, start + PIECE)):
        yield text[start : place.start()]
        start = place.start()
    yield text[start:]


def write_merges(merges: Sequence[Merge]) -> list[str]:
    """Return the merges in GPT-2's text format: two tokens with a space between, each byte as its symbol."""
    return [f"{_shown(left)} {_shown(right)}" for left, right in merges]


def read_merges(lines: Sequence[str]) -> list[Merge]:
    """Return the merges that `write_merges` wrote; raises LabError with the first invalid line."""
    merges = []
    for line in lines:
        left, space, right = line.partition(" ")
        if not (left and space and right) or any(symbol not in SYMBOL_BYTES for symbol in left + right):
            raise LabError(
                f"{line[:40]!r} is not a merge: expected two tokens in GPT-2's alphabet with a space between"
            )
        merges.append((bytes(SYMBOL_BYTES[symbol] for symbol in left), bytes(SYMBOL_BYTES[symbol] for symbol in right)))
    return merges


def _tokens(merges: Sequence[Merge]) -> list[bytes]:
    """Return the 256 bytes and the results of the merges, in order."""
    tokens = dict.fromkeys(bytes([byte]) for byte in ALPHABET)
    for left, right in merges:
        if left not in tokens or right not in tokens:
            raise LabError(f"the merge of {left[:40]!r} and {right[:40]!r} joins a token that no earlier merge makes")
        if left + right in tokens:
            raise LabError(f"the merge of {left[:40]!r} and {right[:40]!r} makes a token that is there already")
        tokens[left + right] = None
    return list(tokens)


def _shown(token: bytes) -> str:
    return "".join(SYMBOLS[byte] for byte in token)


def _encode_all(encoding: tiktoken.Encoding, texts: Sequence[str]) -> list[Ids]:
    try:
        return [encoding.encode_to_numpy(text, disallowed_special=()).astype(np.int32) for text in texts]
    except UnicodeEncodeError:
        for text in texts:
            utf8(text)
        raise


def _jobs(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield the texts in groups of at least PIECE characters, so that the work of a thread outweighs its overhead."""
    job: list[str] = []
    characters = 0
    for text in texts:
        job.append(text)
        characters += len(text)
        if characters >= PIECE:
            yield job
            job, characters = [], 0
    if job:
        yield job


def _joined(parts: list[Ids]) -> Ids:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
