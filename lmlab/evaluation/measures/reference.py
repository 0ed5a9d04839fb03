"""The loss of passages under a reference model, in bits per byte, each after its prompt.

A passage that is longer than the reference's context is scored in parts, each after what is before it. A low loss is no quality:
repetitions have a low loss, too. Text by people has a loss of its own under the reference, from which both sides can be told.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lmlab.evaluation.answers.likelihood import likelihoods
from lmlab.evaluation.measures.passages import Passage
from lmlab.evaluation.tasks.encoding import Encoder
from lmlab.evaluation.tasks.scoring import Scorer

LONG = "longer than the context"
MOST_HALVINGS = 16


def reference_rows(
    scorer: Scorer,
    encoder: Encoder,
    passages: Sequence[Passage],
    advance: Callable[[int], None] = lambda size: None,
) -> dict[str, NDArray[np.float64]]:
    """Return the bits of each passage and the bytes that they are for, each [passages]; NaN for one that the reference can't read,
    as where its tokenizer lacks a character, and for one without text.
    """
    parts = [(place, passage.prompt, passage.text) for place, passage in enumerate(passages)]
    bits, sizes = np.zeros(len(passages)), np.zeros(len(passages))
    for _ in range(MOST_HALVINGS):
        found = likelihoods(scorer, encoder, [part[1] for part in parts], [part[2] for part in parts], advance)
        of = np.array([part[0] for part in parts], dtype=np.int64)
        halved: list[tuple[int, str, str]] = []
        for index, (place, prompt, text) in enumerate(parts):
            if LONG in found.unscorable.get(index, "") and len(text) > 1:
                halved += [(place, *half) for half in _halves(prompt, text)]
                found.nats[index] = 0.0
        np.add.at(bits, of, found.nats / np.log(2.0))
        np.add.at(sizes, of, found.bytes)
        parts = halved
        if not parts:
            break
    unread = np.isnan(bits) | (sizes == 0)
    return {"bits": np.where(unread, np.nan, bits), "bytes": np.where(unread, np.nan, sizes)}


def _halves(prompt: str, text: str) -> list[tuple[str, str]]:
    """Return (what is before, text) of two halves, divided at white space if there is some in the second one."""
    middle = len(text) // 2
    place = next((place for place in range(middle, len(text)) if text[place].isspace()), middle)
    return [(prompt, text[:place]), (prompt + text[:place], text[place:])]
