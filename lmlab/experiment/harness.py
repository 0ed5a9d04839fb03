"""lm-evaluation-harness on a run's model: its tasks and prompts, lmlab's scores, without converting the model.

The harness asks for log-probabilities of continuations, of whole texts, and for generated text. The first two are computed as for
`lmlab evaluate --tasks`. A continuation that the model can't be given in full is refused, since the harness can't leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.evaluation.tasks import Item, Option
from lmlab.evaluation.tasks.encoding import Encoder, encode_items
from lmlab.evaluation.tasks.groups import Request
from lmlab.evaluation.tasks.scoring import Scorer, score
from lmlab.experiment.arithmetic import arithmetic_of
from lmlab.experiment.loaded import Loaded, load
from lmlab.experiment.task_scores import encoder_of
from lmlab.generation.settings import Sampling

MOST_GENERATED = 256
"""Tokens that are generated where a task sets no limit, as by the harness's own models."""


@dataclass(frozen=True, kw_only=True)
class HarnessResults:
    """What the harness returned."""

    run: str
    step: int
    results: dict[str, Any]
    """Task -> metric -> value."""
    table: str
    """The harness's own table."""
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json."""
        return {"run": self.run, "step": self.step, "results": self.results, "warnings": list(self.warnings)}


def run_harness(
    reference: str,
    tasks: Sequence[str],
    *,
    runs: str | Path = "runs",
    device: str = "auto",
    configurations: str | None = None,
    items: int | None = None,
) -> HarnessResults:
    """Evaluate a run's model on tasks of lm-evaluation-harness; `configurations` is a folder with further task configurations.

    Data sets are loaded by the harness, which may download them. LabError where it isn't installed, has no such task, or a text
    doesn't fit the model.
    """
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager
        from lm_eval.utils import make_table
    except ImportError:
        raise LabError('--harness needs the package lm_eval: pip install "lmlab[harness]"') from None
    loaded = load(reference, runs, device)
    manager = TaskManager(include_path=configurations)
    for name in tasks:
        if not manager.match_tasks([name]):
            raise LabError(f"lm-evaluation-harness has no task {name[:60]!r}: lm_eval ls tasks lists them")
    try:
        found = lm_eval.simple_evaluate(
            model=harness_model(loaded), tasks=list(tasks), task_manager=manager, limit=items, log_samples=False
        )
    except (OSError, ValueError) as error:
        detail = (str(error) or type(error).__name__).splitlines()[0]
        raise LabError(f"lm-evaluation-harness could not run {', '.join(tasks)}: {detail[:300]}") from None
    return HarnessResults(
        run=loaded.run.name,
        step=loaded.step,
        results={
            name: {metric: value for metric, value in values.items() if isinstance(value, (int, float, str))}
            for name, values in found["results"].items()
        },
        table=make_table(found),
        warnings=loaded.warnings,
    )


def harness_model(loaded: Loaded) -> Any:
    """Return the model as an `lm_eval.api.model.LM`. ImportError without the package."""
    from lm_eval.api.model import LM
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    encoder = encoder_of(loaded)
    arithmetic = arithmetic_of(loaded)
    scorer = Scorer(model=loaded.model, device=loaded.device, autocast=arithmetic.autocast, engine=arithmetic.engine)

    class RunModel(LM):  # type: ignore[misc]
        """A run's model for the harness. Each argument is a list of its requests, whose `args` are the texts."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            pairs = [request.args for request in requests]
            with arithmetic.products():
                return continuations(scorer, encoder, pairs)

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            windows = []
            for place, request in enumerate(requests):
                tokens = encoder.tokenizer.encode(request.args[0]).tolist()
                for pair in get_rolling_token_windows(tokens, encoder.first, encoder.context, 1):
                    before, scored = make_disjoint_window(pair)
                    ids = np.array([*before, *scored], dtype=np.int64)
                    windows.append(Request(tokens=ids, first=len(before), group=place))
            with arithmetic.products():
                nats = score(scorer, windows).nats
            of = np.array([window.group for window in windows], dtype=np.int64)
            return [-float(total) for total in np.bincount(of, weights=nats, minlength=len(requests))]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return [generated(loaded, *request.args) for request in requests]

    return RunModel()


def continuations(scorer: Scorer, encoder: Encoder, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
    """Return (log-probability, whether each token was the likeliest) of each (text, continuation). LabError if one doesn't fit."""
    items = [Item(options=(Option(text, continuation),), gold=0) for text, continuation in pairs]
    encoded = encode_items(encoder, items)
    for place, reason in encoded.unscorable.items():
        raise LabError(
            f"{pairs[place][1][-40:]!r} can't be scored, because of {reason}: lmlab evaluate --tasks leaves such items out"
        )
    # Continuations of one text are a group, whose text is read once.
    texts: dict[str, int] = {}
    requests = [
        Request(tokens=request.tokens, first=request.first, group=texts.setdefault(text, len(texts)))
        for request, (text, _) in zip(encoded.requests, pairs, strict=True)
    ]
    found = score(scorer, requests)
    return [(-nats, greedy) for nats, greedy in zip(found.nats.tolist(), found.greedy.tolist(), strict=True)]


def generated(loaded: Loaded, prompt: str, settings: dict[str, Any]) -> str:
    """Return the text that follows a prompt, up to the first of the texts in `until`, with the harness's settings."""
    until = settings.get("until") or []
    stops = [until] if isinstance(until, str) else list(until)
    sampled = settings.get("do_sample", float(settings.get("temperature", 0.0)) > 0.0)
    sampling = Sampling(
        tokens=int(settings.get("max_gen_toks", MOST_GENERATED)),
        temperature=float(settings.get("temperature", 1.0)) if sampled else 0.0,
        top_p=float(settings.get("top_p", 1.0)) if sampled else 1.0,
        stop=tuple(stop for stop in stops if stop),
    )
    return loaded.complete([prompt], sampling)[0].text
