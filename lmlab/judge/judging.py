"""The whole comparison: questions, answers of each model, the examination of each judge, its replies about the models, figures.

asked -> power, cost -> answers (stored) -> likelihoods -> examination -> replies -> figures -> RUNS/judged-ID/judged.json
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from lmlab import LabError, __version__
from lmlab.data.progress import Progress, shown
from lmlab.experiment.models_of_others import is_foreign
from lmlab.files import make_folder, read_json, write_json
from lmlab.generation.settings import Sampling
from lmlab.judge.answering import Answered, answer
from lmlab.judge.checkpoints import MOST_RUNGS, checkpoint_candidates
from lmlab.judge.client import Judge, JudgeSettings, estimated_tokens
from lmlab.judge.figures import Figures, figures_of
from lmlab.judge.fitness import ITEMS, examined, fit_asks, fitness_of
from lmlab.judge.labels import read_labels
from lmlab.judge.likelihood import Likelihood, likelihood_of
from lmlab.judge.models import Contestant, find_models
from lmlab.judge.power import floor_line, power_of
from lmlab.judge.questions import Part, Question, Questions, duplicates, read_questions
from lmlab.judge.raw import FORMAT, KIND, JudgeRaw, Label, ModelRaw, Raw, raw_from_json
from lmlab.judge.rounds import Replies, ask_all, calls_of, plan, replies_for
from lmlab.judge.texts import Candidate, known_candidates
from lmlab.judge.verdicts import decided

FILE = "judged.json"
FOLDER = "judged-"
BATCH = 10
"""Questions between two looks at the verdicts."""


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


def judge_models(
    asked: AskedJudging,
    runs: Path,
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda line: None,
    confirm: Callable[[Cost], object] = lambda cost: None,
    judge_of: Callable[[JudgeSettings], Judge] = lambda settings: Judge(settings=settings),
) -> tuple[Figures, Path]:
    """Compare the models; return the figures and the file that holds them and all that they follow from.

    `confirm` is told the cost before anything is generated, and raises where the user doesn't want it. LabError where a run, the
    data or a judge isn't there; what was generated and asked until then is kept, and the same command continues.
    """
    with shown(progress) as progress:
        questions = read_questions(asked.data, asked.part, asked.items, asked.seed)
        models = find_models(asked.models, runs, asked.template)
        labels = () if asked.labels is None else _labels(asked.labels, questions, models)
        judges = [judge_of(settings) for settings in asked.judges]
        _say_before(questions, models, say)
        examined_on = _examined_on(asked, questions)
        if judges:
            confirm(_cost(asked, questions.questions, models, judges, examined_on))
        found = [_answered(model, questions.questions, asked, progress, say) for model in models]
        candidates = [Candidate(name=one.model.name, kind="model", texts=one.texts) for one, _ in found]
        raw = Raw(
            file=questions.file,
            part=questions.part,
            records=questions.records,
            sampling=dataclasses.asdict(asked.sampling),
            questions=questions.questions,
            models=tuple(_model_raw(*one) for one in found),
            judges=(),
            labels=labels,
        )
        rungs = _rungs(asked, questions.questions, examined_on, runs, progress) if judges else []
        for judge in judges:
            one = _judged(judge, asked, questions.questions, candidates, examined_on, rungs, progress)
            raw = dataclasses.replace(raw, judges=(*raw.judges, one))
        figures = figures_of(raw)
        return figures, write_judged(figures, runs)


def _say_before(questions: Questions, models: Sequence[Contestant], say: Callable[[str], object]) -> None:
    count = len(questions.questions)
    say(f"{count} questions of {questions.file} ({questions.part}, {questions.records:,} records) show")
    for one in power_of(count):
        say(f"  {one.line()}")
    twice = duplicates(questions.questions)
    if twice:
        say(f"  {twice} questions are repeated: equal answers count more than once")
    floor = floor_line([model.parameters for model in models])
    if floor:
        say(floor)
    untuned = [model.name for model in models if not model.tuned]
    if untuned:
        say(f"{', '.join(untuned)}: not tuned with a template, so asked with {models[0].template.name}")


def _labels(path: Path, questions: Questions, models: Sequence[Contestant]) -> tuple[Label, ...]:
    numbers = [question.number for question in questions.questions]
    return read_labels(path, numbers, [model.name for model in models])


def _examined_on(asked: AskedJudging, questions: Questions) -> tuple[int, ...]:
    """Return the places of the questions that judges are examined on."""
    if not asked.fit or not asked.judges:
        return ()
    count = min(asked.fit_items, len(questions.questions))
    chosen = np.random.default_rng([asked.seed, 4]).choice(len(questions.questions), size=count, replace=False)
    return tuple(sorted(chosen.tolist()))


def _cost(
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


def _answered(
    model: Contestant,
    questions: Sequence[Question],
    asked: AskedJudging,
    progress: Progress,
    say: Callable[[str], object],
) -> tuple[Answered, Likelihood]:
    """Return the model's answers and the log-probabilities of the references; the model is in memory only meanwhile."""
    loaded = model.load(asked.device)
    for warning in loaded.warnings:
        say(warning)
    found = answer(model, questions, asked.sampling, lambda: loaded, progress)
    if found.cut:
        say(
            f"{model.name}: {found.cut} prompts are longer than the context of {loaded.model.context} and lost their beginning"
        )
    if found.unreadable:
        say(
            f"{model.name}: {found.unreadable} questions have symbols that its tokenizer can't encode; their answers are empty"
        )
    progress.begin(f"references under {model.name}", len(questions), "questions")
    return found, likelihood_of(loaded, model.template, questions, progress)


def _model_raw(answered: Answered, likelihood: Likelihood) -> ModelRaw:
    model = answered.model
    return ModelRaw(
        name=model.name,
        run_id=model.id,
        step=model.step,
        weights=model.weights,
        template=model.template.name,
        tuned=model.tuned,
        parameters=model.parameters,
        answers_id=answered.id,
        texts=answered.texts,
        reasons=tuple(one.reason for one in answered.answers),
        nats=tuple(likelihood.nats.tolist()),
    )


def _rungs(
    asked: AskedJudging, questions: Sequence[Question], places: Sequence[int], runs: Path, progress: Progress
) -> list[Candidate]:
    """Return the answers of a run's checkpoints to the questions of the examination, the last checkpoint first."""
    if not asked.ladder or not places:
        return []
    if is_foreign(asked.ladder):
        raise LabError(f"--ladder {asked.ladder}: expected a run, which has several checkpoints")
    on = [questions[place] for place in places]
    return checkpoint_candidates(asked.ladder, runs, on, asked.sampling, asked.template, asked.device, progress)


def _judged(
    judge: Judge,
    asked: AskedJudging,
    questions: Sequence[Question],
    candidates: Sequence[Candidate],
    places: Sequence[int],
    rungs: Sequence[Candidate],
    progress: Progress,
) -> JudgeRaw:
    """Examine the judge and ask it about the models, unless it is unfit."""
    settings = judge.settings
    on = [questions[place] for place in places]
    examination = ladder = None
    fit = True
    if on:
        asks = plan(settings.method, rungs, range(len(on)), asked.seed) if rungs else []
        known = known_candidates(on, asked.seed)
        total = len(asks) + len(fit_asks(settings.method, known, len(on), asked.seed))
        progress.begin(f"{settings.name} is examined", total, "replies")
        examination = examined(judge, on, asked.seed, progress.advance)
        if asks:
            ladder = replies_for(settings.method, rungs, len(on))
            ask_all(judge, asks, rungs, on, ladder, progress.advance)
        fit = fitness_of(examination, on, asked.seed, None if ladder is None else (asked.ladder, ladder)).fit
    replies: Replies | None = None
    order: tuple[int, ...] = ()
    if fit or asked.anyway:
        total = len(plan(settings.method, candidates, range(len(questions)), asked.seed))
        progress.begin(f"{settings.name} judges", total, "replies")
        replies, order = _about_models(judge, asked, questions, candidates, progress)
    return JudgeRaw(
        name=settings.name,
        address=settings.address,
        settings={name: getattr(settings, name) for name in ("method", "model", "temperature", "tokens", "seed")},
        price=asked.price,
        seed=asked.seed,
        examined_on=tuple(places),
        examination=examination,
        ladder=asked.ladder if ladder is not None else "",
        ladder_replies=ladder,
        replies=replies,
        order=order,
        until_decided=asked.until_decided,
    )


def _about_models(
    judge: Judge,
    asked: AskedJudging,
    questions: Sequence[Question],
    candidates: Sequence[Candidate],
    progress: Progress,
) -> tuple[Replies, tuple[int, ...]]:
    """Return the replies about the models, and the questions in the order in which they were asked: a random one, which a look at
    the verdicts before the end needs.
    """
    order = np.random.default_rng([asked.seed, 5]).permutation(len(questions)).tolist()
    replies = replies_for(judge.settings.method, candidates, len(questions))
    pairs = list(combinations(range(len(candidates)), 2))
    size = BATCH if asked.until_decided else len(order)
    for first in range(0, len(order), size):
        asks = plan(judge.settings.method, candidates, order[first : first + size], asked.seed)
        ask_all(judge, asks, candidates, questions, replies, progress.advance)
        done = tuple(order[: first + size])
        found = decided(replies, pairs, done) if asked.until_decided else []
        if found and all(one.kind != "indistinguishable" for one in found):
            return replies, done
    return replies, tuple(order)


def write_judged(figures: Figures, runs: Path) -> Path:
    """Write RUNS/judged-ID/judged.json; return its path."""
    folder = make_folder(runs / f"{FOLDER}{figures.raw.id}", "choose a folder of runs that can be written")
    value = {
        "format": FORMAT,
        "kind": KIND,
        "id": figures.raw.id,
        "lmlab": __version__,
        "figures": figures.to_json(),
        "raw": figures.raw.to_json(),
    }
    write_json(folder / FILE, value)
    return folder / FILE


def read_judged(path: Path) -> tuple[Figures, object]:
    """Return the figures computed again from a file's raw values, and those that it states; LabError where it's damaged."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise LabError(f"{path} is no comparison by lmlab judge: expected its {FILE}")
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    return figures_of(raw_from_json(value.get("raw"))), value.get("figures")
