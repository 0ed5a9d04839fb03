"""The whole comparison: questions, answers of each model, the examination of each judge, its replies about the models, figures.

asked -> power, cost -> answers (stored) -> likelihoods -> examination -> replies -> figures -> RUNS/judged-ID/judged.json
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from lmlab import LabError
from lmlab.data.progress import Progress, shown
from lmlab.experiment.models_of_others import is_foreign
from lmlab.judge.answering import Answered, answer
from lmlab.judge.asked import AskedJudging, Cost, cost_of
from lmlab.judge.checkpoints import checkpoint_candidates
from lmlab.judge.client import Judge, JudgeSettings
from lmlab.judge.figures import Figures, figures_of
from lmlab.judge.fitness import examined, fit_asks, fitness_of
from lmlab.judge.labels import read_labels
from lmlab.judge.likelihood import Likelihood, likelihood_of
from lmlab.judge.models import Contestant, find_models
from lmlab.judge.power import floor_line, power_of
from lmlab.judge.questions import Question, Questions, duplicates, read_questions
from lmlab.judge.raw import JudgeRaw, Label, ModelRaw, Raw
from lmlab.judge.rounds import Replies, ask_all, plan, replies_for
from lmlab.judge.stored import write_judged
from lmlab.judge.texts import Candidate, known_candidates
from lmlab.judge.verdicts import decided

BATCH = 10
"""Questions between two looks at the verdicts."""


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
            confirm(cost_of(asked, questions.questions, models, judges, examined_on))
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
            if judge.rejection:
                say(judge.rejection)
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
