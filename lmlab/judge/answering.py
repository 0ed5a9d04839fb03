"""Answers: each model answers each question once, and what it answered is kept, so that later comparisons judge the same texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lmlab.data.progress import Progress
from lmlab.experiment.loaded import Loaded
from lmlab.experiment.models_of_others import Foreign
from lmlab.generation.decoding import ROWS_AT_ONCE
from lmlab.generation.prompts import encode_prompts
from lmlab.generation.settings import Sampling
from lmlab.judge.models import Contestant
from lmlab.judge.questions import Question, digest
from lmlab.runs.answers import Answer, read_answers, write_answers

UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A model's answers to the questions, in their order."""

    model: Contestant
    id: str
    """The name of the file of answers."""
    answers: tuple[Answer, ...]
    new: int
    """Answers that were generated now; the others were stored."""
    cut: int
    """Prompts of the new ones that are longer than the context, of which the model reads only the end."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The answers without white space around them."""
        return tuple(answer.text.strip() for answer in self.answers)

    @property
    def unreadable(self) -> int:
        """Questions that the tokenizer can't encode; their answers are empty."""
        return sum(answer.reason == UNREADABLE for answer in self.answers)

    @property
    def unended(self) -> int:
        """Answers that were ended by the limit of tokens."""
        return sum(answer.reason == "length" for answer in self.answers)


def sampling_of(model: Contestant, sampling: Sampling) -> Sampling:
    """Return the sampling with the stop strings of the model's template."""
    return dataclasses.replace(sampling, stop=tuple(dict.fromkeys((*sampling.stop, *model.template.stop))))


def described(model: Contestant, sampling: Sampling) -> dict[str, Any]:
    """Return what a model's answers follow from, besides the questions. Of greedy answers the seed is no part."""
    settings = dataclasses.asdict(sampling_of(model, sampling))
    settings.pop("draft")  # it changes no text
    if sampling.temperature == 0.0:
        settings.pop("seed")
    return {"weights": model.weights, "step": model.step, "template": model.template.name, "sampling": settings}


def answer(
    model: Contestant,
    questions: Sequence[Question],
    sampling: Sampling,
    loaded: Callable[[], Loaded | Foreign],
    progress: Progress,
) -> Answered:
    """Return the model's answers. Those that aren't stored are generated in batches, each of which is stored when it's complete.

    `loaded` returns the model, and is called only if an answer is missing.
    """
    about = described(model, sampling)
    name = digest(about)
    known = read_answers(model.folder, name)
    missing = list({question.key: question for question in questions if question.key not in known}.values())
    cut = 0
    if missing:
        progress.begin(f"{model.name} answers", len(missing), "questions")
        one = loaded()
        for first in range(0, len(missing), ROWS_AT_ONCE):
            some = missing[first : first + ROWS_AT_ONCE]
            written, longer = _written(one, model, some, sampling_of(model, sampling))
            cut += longer
            known.update(written)
            write_answers(model.folder, name, about, known)
            progress.advance(len(some))
    answers = tuple(known[question.key] for question in questions)
    return Answered(model=model, id=name, answers=answers, new=len(missing), cut=cut)


def _written(
    loaded: Loaded | Foreign, model: Contestant, questions: Sequence[Question], sampling: Sampling
) -> tuple[dict[str, Answer], int]:
    """Return question -> answer, and how many prompts were longer than the context."""
    prompts = {question.key: model.template.prompt(question.messages) for question in questions}
    readable = [key for key, prompt in prompts.items() if not loaded.tokenizer.unknown_symbols(prompt)]
    found = {key: Answer(text="", tokens=0, reason=UNREADABLE) for key in prompts if key not in readable}
    asked = [prompts[key] for key in readable]
    cut = sum(len(ids) > loaded.model.context for ids in encode_prompts(loaded.tokenizer, asked))
    for key, done in zip(readable, loaded.complete(asked, sampling), strict=True):
        found[key] = Answer(text=done.text, tokens=done.tokens, reason=done.reason)
    return found, cut
