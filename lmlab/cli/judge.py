"""`lmlab judge`: compare models by their answers to instructions, and tell whether the judge of them is fit."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.asking import require_yes
from lmlab.cli.drawing import Drawing, sampling_of
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for

if TYPE_CHECKING:
    from lmlab.judge.client import JudgeSettings
    from lmlab.judge.judging import AskedJudging, Cost

ADDRESS = "OPENAI_BASE_URL"
NONE = "none"
CALLS_UNASKED = 5_000
COST_UNASKED = 1.0
"""More calls, or a higher cost in the currency of --judge.price, need a confirmation."""


@dataclass(frozen=True, kw_only=True)
class JudgeFlags(Drawing):
    """Compare models by their answers to questions: reference metrics without a judge, and scores by a judge, which is examined on
    answers of known quality first. A judge that fails is reported as UNFIT and ranks nothing.

    Answers are generated once and stored in the runs' folders; each call of a judge is stored too, so the same command continues.
    """

    target: tyro.conf.Positional[tuple[str, ...]]
    """RUN, RUN@best (the default), RUN@latest, RUN@STEP or RUN@init; hf:FOLDER for a local model of transformers; several."""
    data: str = ""
    """The questions with their reference answers: Alpaca records or chats, as JSON or JSONL."""
    part: Literal["all", "train", "test", "valid"] = "all"
    """Which records: all, or a part of the sequential split 85/10/5 % into train, test and validation."""
    items: int | None = None
    """Ask so many questions, chosen by --seed; default: all of the part."""
    template: str = ""
    """The template of all models: alpaca, chatml, phi3 or plain; default: each model's own, alpaca for one without."""
    judge: tuple[str, ...] = ()
    """The address of an OpenAI-compatible server, such as http://127.0.0.1:11434/v1, or none; may be repeated; default:
    OPENAI_BASE_URL, else none. The key, if it wants one, is that of OPENAI_API_KEY."""
    judge_model: Annotated[tuple[str, ...], tyro.conf.arg(name="judge.model")] = ()
    """The judge's model there; may be repeated, for several judges."""
    method: Literal["score", "listwise", "pairwise"] = "score"
    """How a judge is asked: one answer from 0 to 100, all models' answers in one shuffled prompt, or each pair in both orders."""
    fit: bool = True
    """Examine each judge first, on answers of known quality."""
    fit_items: int = 40
    """How many of the questions it is examined on."""
    ladder: str = ""
    """A run whose checkpoints the judge has to put in order, too."""
    labels: str = ""
    """A file of verdicts by a person (JSONL: question, model, right), by which the judge's are calibrated."""
    until: Literal["", "decided"] = ""
    """decided: stop asking when every pair of models is decided; the intervals then hold at every look."""
    anyway: bool = False
    """Ask an unfit judge about the models, too; its ranks are marked."""
    judge_price: Annotated[float | None, tyro.conf.arg(name="judge.price")] = None
    """What a million prompt tokens cost, to state the cost."""
    judge_tokens: Annotated[int, tyro.conf.arg(name="judge.tokens")] = 200
    """How many tokens a reply may have; more for judges that reason first."""
    judge_temperature: Annotated[float, tyro.conf.arg(name="judge.temperature")] = 0.0
    """The temperature of the judge."""
    judge_parallel: Annotated[int, tyro.conf.arg(name="judge.parallel")] = 4
    """How many calls at once."""
    judge_timeout: Annotated[float, tyro.conf.arg(name="judge.timeout")] = 120.0
    """Seconds to wait for a reply."""
    tokens: int = 256
    """Tokens of an answer at most."""
    temperature: float = 0.0
    """Of the answers; 0 (the default): always the likeliest token."""
    yes: bool = False
    """Ask many calls of a judge without a confirmation."""
    json: bool = False
    """The figures as JSON on standard output."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""


def run(arguments: list[str]) -> int:
    """Parse, compare, print; return the exit status."""
    flags = parse(JudgeFlags, arguments, "lmlab judge")
    _refuse_wrong(flags)
    from lmlab.judge.judging import judge_models
    from lmlab.report.judge_figure import write_scores
    from lmlab.report.judge_table import judge_parts

    asked = _asked(flags)
    if not asked.judges:
        show(
            f"no judge: reference metrics alone (--judge ADDRESS or {ADDRESS} name one, --judge.model its model)",
            file=sys.stderr,
        )
    figures, path = judge_models(
        asked,
        runs_folder(flags.runs),
        progress_for(flags.json),
        say=lambda line: show(line, file=sys.stderr),
        confirm=lambda cost: _confirm(flags, cost),
    )
    pictures = write_scores(figures, path.parent)
    if flags.json:
        show_json({"file": str(path), "id": figures.raw.id, **figures.to_json()})
    else:
        show(*judge_parts(figures))
        show(*(str(picture) for picture in pictures if picture.suffix == ".png"))
        show(f"{path} holds everything; lmlab verify {path} computes it again")
    return 0


def _refuse_wrong(flags: JudgeFlags) -> None:
    if not flags.target:
        raise UsageError("lmlab judge needs runs: lmlab judge RUN RUN --data TEST.json")
    if not flags.data:
        raise UsageError("lmlab judge needs questions with reference answers: --data TEST.json")
    for name, value in (("--fit-items", flags.fit_items), ("--judge.tokens", flags.judge_tokens)):
        if value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    if not 1 <= flags.judge_parallel <= 64:
        raise UsageError(f"--judge.parallel {flags.judge_parallel}: expected 1 to 64")
    if not 0 < flags.judge_timeout < 86_400:
        raise UsageError(f"--judge.timeout {flags.judge_timeout:g}: expected seconds above 0")
    if flags.judge_price is not None and not 0 <= flags.judge_price < 1e6:
        raise UsageError(f"--judge.price {flags.judge_price:g}: expected a price from 0")


def _asked(flags: JudgeFlags) -> AskedJudging:
    from lmlab.judge.judging import AskedJudging

    return AskedJudging(
        models=flags.target,
        data=Path(flags.data),
        part=flags.part,
        items=flags.items,
        sampling=sampling_of(flags),
        template=flags.template,
        judges=tuple(_judges(flags)),
        fit=flags.fit,
        fit_items=flags.fit_items,
        ladder=flags.ladder,
        anyway=flags.anyway,
        until_decided=flags.until == "decided",
        labels=Path(flags.labels) if flags.labels else None,
        price=flags.judge_price,
        seed=flags.seed,
        device=flags.device,
    )


def _judges(flags: JudgeFlags) -> list[JudgeSettings]:
    """Return the judges: each address with each of its models. UsageError where models have no address."""
    from lmlab.exchange.chat_completions import require_address
    from lmlab.judge.client import JudgeSettings

    given = flags.judge or tuple(filter(None, [os.environ.get(ADDRESS, "")]))
    addresses = [require_address(one, "--judge") for one in given if one != NONE]
    if not addresses:
        if flags.judge_model and NONE not in given:
            raise UsageError(f"--judge.model needs an address: --judge ADDRESS, or {ADDRESS}")
        return []
    models = flags.judge_model
    if not models:
        raise UsageError("--judge needs the model there: --judge.model NAME")
    if len(addresses) > 1 and len(addresses) != len(models):
        raise UsageError(f"{len(addresses)} addresses and {len(models)} models: expected one model for each address")
    pairs = zip(addresses if len(addresses) > 1 else addresses * len(models), models, strict=True)
    return [
        JudgeSettings(
            address=address,
            model=model,
            method=flags.method,
            temperature=flags.judge_temperature,
            tokens=flags.judge_tokens,
            seed=flags.seed,
            timeout_seconds=flags.judge_timeout,
            parallel=flags.judge_parallel,
        )
        for address, model in dict.fromkeys(pairs)
    ]


def _confirm(flags: JudgeFlags, cost: Cost) -> None:
    show(cost.line(), file=sys.stderr)
    much = cost.calls - cost.known > CALLS_UNASKED or (cost.price or 0.0) > COST_UNASKED
    if much:
        require_yes(f"{cost.line()}.", flags.yes)
