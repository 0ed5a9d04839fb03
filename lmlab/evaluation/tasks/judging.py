"""One model on one task: encode the items, score them, decide each, and compute figures and controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.evaluation.tasks.controls import Controls, controls, corrupt
from lmlab.evaluation.tasks.encoding import EncodedItems, Encoder, encode_items
from lmlab.evaluation.tasks.figures import Figures, clusters_of, figures_of
from lmlab.evaluation.tasks.item import Item
from lmlab.evaluation.tasks.outcomes import OptionScores, option_scores, spelled
from lmlab.evaluation.tasks.pairs import Compared, Side
from lmlab.evaluation.tasks.scoring import Method, Scorer, Scores, score
from lmlab.evaluation.tasks.task import Task
from lmlab.stats.paired_accuracy import PairedAccuracy

Begin = Callable[[str, int | None], None]
"""(what is done, the size of it; None: unknown): called before the items are encoded, and before they are scored."""
Advance = Callable[[int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """A task's items judged for one model."""

    scores: OptionScores
    figures: Figures
    controls: Controls
    gain: PairedAccuracy | None
    """The accuracy minus that with corrupted prompts, on the same items; None where these weren't scored."""
    encoded: EncodedItems
    raw: Scores
    """The scores of the encoded requests."""

    @property
    def method(self) -> Method:
        """How the items were computed."""
        return self.raw.method

    def to_json(self, task: Task) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            **self.figures.to_json(),
            "controls": self.controls.to_json(),
            "gain_by_prompts": None if self.gain is None else self.gain.to_json(),
            "outcomes": {style: spelled(self.scores.outcomes(style)) for style in task.styles},
            "unscorable": {"items": len(self.encoded.unscorable), "reasons": self.encoded.reasons()},
            "cut_items": self.encoded.cut,
            "joined_options": self.encoded.joined,
            "method": self.method,
            "tokens": self.raw.work.to_json(),
        }

    def rows(self, places: NDArray[np.int64], kind: np.dtype) -> np.ndarray:
        """Return a row for each scored option, of a structured dtype with the fields item (its place in the task's data, of the
        `places` [items] of the judged ones), option, gold, greedy, nats, tokens, bytes and answer_bytes.
        """
        item = np.array([request.group for request in self.encoded.requests], dtype=np.int64)
        option = self.encoded.option
        gold = self.scores.gold[item] == option
        found = np.zeros(len(item), kind)
        found["item"], found["option"], found["gold"] = places[item], option, gold
        found["greedy"] = self.raw.greedy & gold
        found["nats"], found["tokens"], found["bytes"] = self.raw.nats, self.encoded.tokens, self.encoded.bytes
        found["answer_bytes"] = self.scores.answer_bytes[item, option]
        return found


def judge(
    task: Task,
    items: Sequence[Item],
    encoder: Encoder,
    scorer: Scorer,
    *,
    corrupted: bool = True,
    begin: Begin = lambda what, size: None,
    advance: Advance = lambda size: None,
) -> Judged:
    """Return the result of a model on these items of a task; `corrupted`: score them with corrupted prompts, too, as a control.

    LabError if a score isn't finite.
    """
    encoded, raw, scores = _scored(items, encoder, scorer, task.name, begin, advance)
    again = gain = None
    if corrupted and task.corruption != "none":
        what = f"{task.name}, corrupted prompts"
        _, _, again = _scored(corrupt(items, task.corruption), encoder, scorer, what, begin, advance)
        sides = [Side(name="", outcomes=one.outcomes(task.style), above=True) for one in (scores, again)]
        gain = Compared(task=task.name, first=sides[0], second=sides[1], clusters=clusters_of(items)).paired()
    return Judged(
        scores=scores,
        figures=figures_of(task, items, scores),
        controls=controls(scores, task.style, again),
        gain=gain,
        encoded=encoded,
        raw=raw,
    )


def _scored(
    items: Sequence[Item], encoder: Encoder, scorer: Scorer, what: str, begin: Begin, advance: Advance
) -> tuple[EncodedItems, Scores, OptionScores]:
    begin(f"{what}, encoding", None)
    encoded = encode_items(encoder, items)
    begin(what, sum(request.size for request in encoded.requests))
    raw = score(scorer, encoded.requests, advance)
    return encoded, raw, option_scores(items, encoded, raw)
