"""What is asked of `lmlab judge`, and what that costs at most."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lmlab.generation.settings import Sampling
from lmlab.judge.checkpoints import MOST_RUNGS
from lmlab.judge.client import Judge, JudgeSettings, estimated_tokens
from lmlab.judge.fitness import ITEMS, fit_asks
from lmlab.judge.models import Contestant
from lmlab.judge.questions import Part, Question
from lmlab.judge.rounds import calls_of, plan
from lmlab.judge.texts import Candidate, known_candidates


@dataclass(frozen=True, kw_only=True)
class AskedJudging:
    """What is compared, and how."""

    models: tuple[str, ...]
    data: Path
    part: Part = "all"
    items: int | None = None
    """Ask so many questions, chosen by `seed`; None: all of the part."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0, tokens=256))
    template: str = ""
    """Of all models; empty: each model's own, else alpaca."""
    judges: tuple[JudgeSettings, ...] = ()
    fit: bool = True
    """Whether judges are examined first."""
    fit_items: int = ITEMS
    """On so many questions, at most those that are asked."""
    ladder: str = ""
    """A run whose checkpoints judges have to put in order; empty: none."""
    anyway: bool = False
    """Whether a judge that is unfit is asked about the models, too."""
    until_decided: bool = False
    """Stop asking when each pair of models is decided."""
    labels: Path | None = None
    price: float | None = None
    """Of a million prompt tokens, in any currency."""
    seed: int = 1
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What judges would be sent at most, before anything is generated: references stand for the answers."""

    calls: int
    known: int
    """Calls of these that are in the cache already; those about answers that don't exist yet are unknown."""
    tokens: int
    """Estimated prompt tokens of all calls."""
    price: float | None
    """Of all prompt tokens; None without --judge.price."""

    def line(self) -> str:
        """Return it in words."""
        price = "" if self.price is None else f", which cost {self.price:,.2f}"
        return f"at most {self.calls:,} calls with about {self.tokens:,} prompt tokens{price}; {self.known:,} are known already"


def cost_of(
    asked: AskedJudging,
    questions: Sequence[Question],
    models: Sequence[Contestant],
    judges: Sequence[Judge],
    examined_on: Sequence[int],
) -> Cost:
    """Return what all judges would be sent: the examination as it is, and prompts about models with references for answers."""
    references = tuple(question.reference for question in questions)
    answers = [Candidate(name=model.name, kind="model", texts=references) for model in models]
    on = [questions[place] for place in examined_on]
    known = known_candidates(on, asked.seed) if on else []
    calls = tokens = cached = 0
    for judge in judges:
        method = judge.settings.method
        fit_calls = calls_of(fit_asks(method, known, len(on), asked.seed), known, on) if on else []
        model_calls = calls_of(plan(method, answers, range(len(questions)), asked.seed), answers, questions)
        rungs = [dataclasses.replace(answers[0], name=f"rung {number}") for number in range(MOST_RUNGS)]
        ladder = plan(method, rungs, examined_on, asked.seed) if asked.ladder else []
        model_calls += calls_of(ladder, rungs, questions)
        calls += len(fit_calls) + len(model_calls)
        tokens += sum(estimated_tokens(call, method) for call in (*fit_calls, *model_calls))
        cached += judge.known(fit_calls)
    return Cost(
        calls=calls, known=cached, tokens=tokens, price=None if asked.price is None else asked.price * tokens / 1e6
    )
