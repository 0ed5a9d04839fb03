"""What people wrote: passages of a split, as prompts and the text that goes on after them, to compare a model's with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.evaluation.measures.passages import Passage

PROMPT_CHARACTERS = 48
"""Shortest prompt; it goes on to the next white space."""
LONGEST_PROMPT = 256
"""Tokens in which that white space must come."""
FEWEST_TOKENS = 8
"""Tokens of the shortest passage that is taken."""


def real_passages(
    dataset: Dataset,
    split: str,
    count: int,
    tokens: int,
    readable: Callable[[str], bool] = lambda prompt: True,
    seed: int = 0,
) -> list[Passage]:
    """Return up to `count` passages of at most `tokens` tokens behind their prompts, each in one document. Prompts for which
    `readable` returns False are passed over.

    Of conversations a prompt is all up to the first answer, and the passage that answer: the template's words aren't measured.

    They begin where documents begin, in a random order that the seed determines; where there are fewer documents than passages,
    at places that are spread over the split. LabError if not one passage has a prompt.
    """
    found: list[Passage] = []
    passage_at = _answer if "conversations" in dataset.facts else _passage
    for begin, end in _places(dataset, split, count, seed):
        passage = passage_at(dataset, split, begin, end, tokens)
        if passage is not None and readable(passage.prompt):
            found.append(passage)
        if len(found) == count:
            break
    if not found:
        raise LabError(
            f"the {split} split of data {dataset.id} has no passage of {PROMPT_CHARACTERS} characters with text behind it that "
            "every model can read: give prompts with --prompt TEXT"
        )
    return found


def _places(dataset: Dataset, split: str, count: int, seed: int) -> Iterator[tuple[int, int]]:
    """Yield the first token of a passage and the end of its document."""
    starts = np.asarray(dataset.document_starts(split), dtype=np.int64)
    documents = len(starts) - 1
    if documents >= count or "conversations" in dataset.facts:
        for number in np.random.default_rng(seed).permutation(documents).tolist():
            yield int(starts[number]), int(starts[number + 1])
        return
    # Twice as many as are wanted, since some have no prompt that can be read: first every other one.
    places = np.linspace(0, int(starts[-1]), 2 * count, endpoint=False).astype(int)
    for begin in [*places[::2].tolist(), *places[1::2].tolist()]:
        number = int(np.searchsorted(starts, begin, side="right")) - 1
        yield begin, int(starts[number + 1])


def _passage(dataset: Dataset, split: str, begin: int, end: int, tokens: int) -> Passage | None:
    """Return the passage at a token; None if its document ends before the prompt has some text behind it."""
    whole = dataset.tokens(split)[begin : min(end, begin + LONGEST_PROMPT + tokens)].astype(np.int64)
    ids = whole[(whole != (-1 if dataset.end_of_text is None else dataset.end_of_text))]
    for length in range(1, min(LONGEST_PROMPT, len(ids) - FEWEST_TOKENS) + 1):
        prompt = _text(dataset, ids[:length])
        if len(prompt) < PROMPT_CHARACTERS:
            continue
        continued = _text(dataset, ids[: length + tokens])
        text = continued[len(prompt) :]
        if continued.startswith(prompt) and (text[:1].isspace() or prompt[-1:].isspace()):
            return Passage(
                prompt=prompt.rstrip(), text=continued[len(prompt.rstrip()) :], cut=len(ids) > length + tokens
            )
    return None


def _answer(dataset: Dataset, split: str, begin: int, end: int, tokens: int) -> Passage | None:
    """Return the first answer of the conversation at a token, behind all that precedes it; None if the two aren't whole text."""
    ids, written = dataset.tokens(split)[begin:end].astype(np.int64), dataset.responses(split)[begin:end]
    first = int(np.argmax(written))
    length = int(np.argmin(np.append(written[first:], False)))
    answer = ids[first : first + length]
    answer = answer[answer != (-1 if dataset.end_of_text is None else dataset.end_of_text)]
    prompt, text = _text(dataset, ids[:first]), _text(dataset, answer[:tokens])
    if not prompt or not text:
        return None
    return Passage(prompt=prompt, text=text, cut=len(answer) > tokens)


def _text(dataset: Dataset, ids: NDArray[np.int64]) -> str:
    """Return the text of tokens, without characters of which some bytes are missing at its ends."""
    return dataset.tokenizer.decode_bytes(ids).decode("utf-8", "ignore")
