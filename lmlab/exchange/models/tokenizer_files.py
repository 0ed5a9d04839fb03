"""The files of a tokenizer: where other projects keep them, and reading each form.

    tokenizer.json                            the tokenizers library's, or lmlab's own of a run
    vocab.json + merges.txt                   GPT-2 and others, as transformers wrote it
    encoder.json + vocab.bpe                  GPT-2, as OpenAI wrote it
    meta.pkl                                  nanoGPT's characters

A model of GPT-2's vocabulary without any of them has GPT-2's tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.data.tokenizers.byte_level import END_OF_TEXT, write_merges
from lmlab.data.tokenizers.characters import Characters
from lmlab.data.tokenizers.gpt2 import load_gpt2, merges_of
from lmlab.exchange.models.pickled import LARGEST_BYTES, read_pickle
from lmlab.exchange.models.tokenizers import definition_of, gpt2_form, tokenizer_of
from lmlab.files import read_json, reason

JSON, META = "tokenizer.json", "meta.pkl"
PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
GPT2_TOKENS = 50_257
GPT2_PADDED = 50_304
"""The next multiple of 64, which many projects use."""
LARGEST_MERGES = 64 << 20


def find_tokenizer(
    folder: Path,
    vocabulary: int,
    given: Path | None = None,
    begin: int | None = None,
    end: int | None = None,
    elsewhere: Sequence[Path] = (),
) -> tuple[Tokenizer, tuple[Path, ...]]:
    """Return the tokenizer of a model in `folder` or one of the folders `elsewhere`, or that of the file or folder `given`, and
    the files that were read.

    `begin` and `end` are the ids of the begin and end of a text, as far as the model's files have them. LabError where there is
    none, or it has more tokens than the model.
    """
    places = (folder, *elsewhere) if given is None else (given,)
    found = (given,) if given is not None and given.is_file() else next(filter(None, map(_in_folder, places)), ())
    if given is not None and not found:
        raise LabError(f"--tokenizer {given} has no tokenizer: expected {JSON}, {META}, or vocab.json and merges.txt")
    if not found:
        if vocabulary in (GPT2_TOKENS, GPT2_PADDED):
            return _fitting(load_gpt2(), vocabulary), ()
        raise LabError(
            f"{folder.name} has no tokenizer, and a vocabulary of {vocabulary:,}: name its {JSON}, {META} or folder with "
            "--tokenizer"
        )
    try:
        return _read(found, vocabulary, begin, end), found
    except LabError as error:
        text = str(error)
        raise LabError(text if found[0].name in text else f"{found[0].name}: {text}") from None


def assumed(read: tuple[Path, ...], vocabulary: int) -> tuple[str, ...]:
    """Return a line for the user where no tokenizer was found, and GPT-2's is taken; `read` are the files that were."""
    if read:
        return ()
    return (
        f"there is no tokenizer beside it: GPT-2's is assumed, by the vocabulary of {vocabulary:,} (or name one: --tokenizer)",
    )


def _in_folder(folder: Path) -> tuple[Path, ...]:
    for names in ((JSON,), *PAIRS, (META,)):
        if all((folder / name).is_file() for name in names):
            return tuple(folder / name for name in names)
    return ()


def _read(files: tuple[Path, ...], vocabulary: int, begin: int | None, end: int | None) -> Tokenizer:
    first = files[0]
    if first.suffix == ".pkl":
        return _fitting(_of_meta(first), vocabulary)
    value = read_json(first)
    if len(files) == 2:
        value = _of_pair(value, files)
    if not isinstance(value, dict):
        raise LabError(f"{first.name} is damaged: expected a JSON object")
    if "format" in value and "name" in value:
        return _fitting(load_tokenizer(value), vocabulary)
    return tokenizer_of(value, vocabulary, begin, end)


def _fitting(tokenizer: Tokenizer, vocabulary: int) -> Tokenizer:
    """Return a tokenizer for a model of this vocabulary, whose last ids may have no text."""
    if tokenizer.vocabulary_size == vocabulary:
        return tokenizer
    if tokenizer.vocabulary_size > vocabulary:
        raise LabError(
            f"the tokenizer has {tokenizer.vocabulary_size:,} tokens, but the model a vocabulary of {vocabulary:,}: name the right "
            "one with --tokenizer"
        )
    return tokenizer_of(definition_of(tokenizer), vocabulary, tokenizer.begin_of_text, tokenizer.end_of_text)


def _of_pair(ids: Any, files: tuple[Path, ...]) -> dict[str, Any]:
    """Return the definition of a vocabulary and a file of merges."""
    known = isinstance(ids, dict) and all(isinstance(one, str) and type(number) is int for one, number in ids.items())
    if not known:
        raise LabError(f"{files[0].name} is damaged: expected the id of each token")
    try:
        if files[1].stat().st_size > LARGEST_MERGES:
            raise LabError(f"{files[1].name} has more than {LARGEST_MERGES:,} bytes: expected a merge a line")
        text = files[1].read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(
            f"{files[1].name} can't be read: {reason(error) if isinstance(error, OSError) else error}"
        ) from None
    merges = merges_of(text if text.startswith("#version") else f"\n{text}")
    return gpt2_form(ids, write_merges(merges))


def _of_meta(path: Path) -> Tokenizer:
    """Return the characters of nanoGPT's meta.pkl: {"vocab_size": n, "itos": {id: character}, "stoi": {character: id}}."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise LabError(f"{path.name} can't be read: {reason(error)}") from None
    value = read_pickle(content, path.name)
    ids = value.get("stoi") if isinstance(value, dict) else None
    if not isinstance(ids, dict) or not all(
        isinstance(one, str) and (len(one) == 1 or one == END_OF_TEXT) for one in ids
    ):
        raise LabError(f"{path.name} has no characters: expected stoi, the id of each character")
    alphabet = sorted(ids, key=lambda one: ids[one] if type(ids[one]) is int else -1)
    if [ids[one] for one in alphabet] != list(range(len(alphabet))) or not alphabet:
        raise LabError(f"{path.name} is damaged: expected the ids 0 to {len(alphabet) - 1} in stoi")
    ends = alphabet[-1] == END_OF_TEXT
    if END_OF_TEXT in alphabet[:-1] or len(alphabet) == ends:
        raise LabError(f"{path.name} has {END_OF_TEXT} before its last id, or alone: expected it after the characters")
    return Characters("".join(alphabet[: len(alphabet) - ends]), documents_end=ends, replace=False)
