"""Continuous batching: texts join and leave a running batch between any two tokens (Orca, Yu et al., OSDI 2022).

    join -> [logits of all texts -> a token of each -> text, log-probability] -> leave when a text ends

The tokens of a text depend on the model, its prompt and its settings alone: it has its own random numbers (`draw.py`), its own
window of the context, and is cut as in `decoding.py`, whose texts are the same. In PyTorch, logits of a batch can differ in their
last bits from those of a single row, which in rare cases changes a token; in the CPU engine they are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lmlab import LabError
from lmlab.generation.choice import Scored, Text, scored
from lmlab.generation.slots import slots_for
from lmlab.model.protocol import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Written:
    """One token of a text."""

    text: Text
    token: int
    piece: str
    """The text that became final with it: whole characters, and no part of a stop string."""
    scored: Scored | None
    """None if the text doesn't report log-probabilities."""


class Batch:
    """At most `rows` texts that are generated together, one token a step. The model must be in evaluation mode."""

    def __init__(self, model: LanguageModel, vocabulary: int, rows: int) -> None:
        """`vocabulary` is the number of tokens to sample from: a model's head may have more rows than the tokenizer has tokens."""
        self.rows = rows
        self.texts: list[Text] = []
        self._vocabulary = vocabulary
        self._slots = slots_for(model, rows)

    @property
    def free(self) -> int:
        """Number of texts that can join."""
        return self.rows - len(self.texts)

    def join(self, text: Text) -> None:
        """Add a text, whose window is read in the next step. LabError if the batch is full or the text has a draft."""
        if not self.free:
            raise LabError(f"a batch of {self.rows} texts is full: expected a text to end first")
        if text.sampling.draft:
            raise LabError("a text in a batch that others join can't have draft tokens: expected draft 0")
        self.texts.append(text)

    def leave(self, text: Text) -> None:
        """Remove a text, which needn't have ended."""
        self.texts.remove(text)

    def step(self) -> list[Written]:
        """Add a token to each text; those that ended (`writer.reason`) have left. LabError if the logits aren't finite."""
        if not self.texts:
            return []
        with torch.inference_mode():
            logits = self._slots.logits([text.writer for text in self.texts])[:, : self._vocabulary]
            tokens = self._slots.next_tokens(logits, self.texts)
            scores = self._scores(logits, tokens)
        written = [
            Written(text=text, token=token, piece=text.writer.take([token]), scored=score)
            for text, token, score in zip(self.texts, tokens, scores, strict=True)
        ]
        self.texts = [text for text in self.texts if text.writer.reason is None]
        return written

    def _scores(self, logits: torch.Tensor, tokens: Sequence[int]) -> list[Scored | None]:
        found: list[Scored | None] = [None] * len(tokens)
        asking = [row for row, text in enumerate(self.texts) if text.alternatives is not None]
        if not asking:
            return found
        most = max(self.texts[row].alternatives or 0 for row in asking)
        for row, one in zip(asking, scored(logits[asking], [tokens[row] for row in asking], most), strict=True):
            own = one.alternatives[: self.texts[row].alternatives]
            found[row] = Scored(token=one.token, logprob=one.logprob, alternatives=own)
        return found
