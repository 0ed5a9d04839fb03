"""GPT-2's tokenizer: 50,257 tokens, with the merges that OpenAI published (github.com/openai/gpt-2).

The merges are one file, `vocab.bpe`, which determines every id. It's looked for in the folder that LMLAB_GPT2 names and in
the cache, and downloaded if it's in neither.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.tokenizers.base import FORMAT, damaged
from lmlab.data.tokenizers.byte_level import ByteLevel, Merge, read_merges, write_merges
from lmlab.files import cache_folder, make_folder, write_bytes

FILE = "vocab.bpe"
SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
FILE_BYTES = 456_318
ADDRESSES = [f"https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/{FILE}"]
HEADER = "#version: 0.2"
ADVICE = f"or set LMLAB_GPT2 to a folder that has {FILE}"


class GPT2(ByteLevel):
    """GPT-2's byte-level BPE: the bytes, 50,000 merges, and the end of text last."""

    name = "gpt2"

    def __init__(self, merges: list[Merge]) -> None:
        """`merges`: those of `vocab.bpe`; raises LabError if they don't build on each other."""
        super().__init__(merges, end_of_text_first=False)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> GPT2:
        """Return the tokenizer that `to_json` converted; the merges are read from the published file."""
        if value.get("sha256") != SHA256:
            raise damaged(cls.name, f"sha256 must be that of {FILE}, {SHA256}")
        return load_gpt2()

    def to_json(self) -> dict[str, Any]:
        """Return its name and the hash of the file; the merges are OpenAI's and are not stored."""
        return {"format": FORMAT, "name": self.name, "sha256": SHA256}


def load_gpt2() -> GPT2:
    """Return the tokenizer from OpenAI's file; raises LabError, with where to put the file, if it's missing and can't be
    downloaded.
    """
    path = _file()
    try:
        size = path.stat().st_size
        if size != FILE_BYTES:
            raise LabError(
                f"{path} isn't GPT-2's {FILE}: it has {size:,} bytes, expected {FILE_BYTES:,}; "
                f"put the file from {ADDRESSES[0]} there"
            )
        content = path.read_bytes()
    except OSError as error:
        raise LabError(f"{path} can't be read ({error.strerror}): expected GPT-2's {FILE}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise LabError(
            f"{path} isn't GPT-2's {FILE}: its SHA-256 is {found}, expected {SHA256}; "
            f"put the file from {ADDRESSES[0]} there"
        )
    return GPT2(merges_of(content.decode("utf-8")))


def is_published(merges: list[Merge]) -> bool:
    """Return whether these are OpenAI's merges, byte for byte."""
    return hashlib.sha256(_file_of(merges)).hexdigest() == SHA256


def keep_published(merges: list[Merge]) -> None:
    """Store OpenAI's merges, which came with a model, in the cache, so that they need not be downloaded."""
    path = _cached()
    if is_published(merges) and not path.exists():
        make_folder(path.parent)
        write_bytes(path, _file_of(merges))


def _file_of(merges: list[Merge]) -> bytes:
    return "\n".join([HEADER, *write_merges(merges), ""]).encode()


def merges_of(text: str) -> list[Merge]:
    """Return the merges in a file of GPT-2's format: a line `#version: ...`, then one merge per line."""
    return read_merges([line for line in text.split("\n")[1:] if line])


def _cached() -> Path:
    return cache_folder() / "gpt2" / FILE


def _file() -> Path:
    """Return the path of the file, downloading it into the cache if it's missing."""
    from lmlab.data.download import download

    chosen = os.environ.get("LMLAB_GPT2")
    if chosen and (Path(chosen).expanduser() / FILE).is_file():
        return Path(chosen).expanduser() / FILE
    return download(ADDRESSES, _cached(), sha256=SHA256, size=FILE_BYTES, advice=ADVICE)
