"""Recompute the figures of one run's summary.json: losses from the bits of its units, the verdict from its curve, the score of its
forecast; and its loss from the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.experiment.scoring import score as score_again
from lmlab.experiment.verdict import gap_from, verdict_on
from lmlab.files import read_json
from lmlab.planning.forecasts.score import score
from lmlab.runs import Run
from lmlab.stats import ratio_interval, ratio_standard_error

VERDICT = ("kind", "gap", "gap_interval", "rise", "rise_interval", "best_step", "still_falling")


def figures_of_run(run: Run, summary: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (place, value in summary.json, value from the run's other files)."""
    yield from _final(run, summary["final"])
    if summary["best"]["step"] == summary["final"]["step"]:
        # Otherwise it depends on the best model's bits by unit over the whole split, which a run doesn't keep.
        now = verdict_on(run, None, gap_from(summary["final"]))
        yield from ((f"verdict.{name}", summary["verdict"].get(name), now.get(name)) for name in VERDICT)
    scored = summary.get("score") or {}
    forecast = read_json(run.folder / "forecast.json") if (run.folder / "forecast.json").is_file() else None
    if scored and forecast is not None:
        measured = {name: entry["measured"] for name, entry in scored.items()}
        now = score(forecast, measured, summary.get("processor_share", 1.0))
        yield from ((f"score.{name}", said, now.get(name)) for name, said in scored.items() if name in now)


def rescored(run: Run) -> float:
    """Compute the last model's loss over the whole validation split from its weights; LabError where they or the text aren't
    here."""
    return score_again(f"{run.folder}@latest").evaluation.loss


def _final(run: Run, final: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    try:
        units = run.units()
    except (LabError, OSError):
        return
    nats, tokens = units["bits"][:, -1] * math.log(2.0), np.array(units["tokens"])
    unpredicted = int(tokens.sum()) - final["tokens"]
    if unpredicted not in (0, 1):  # windows of documents count tokens differently from units
        return
    tokens[np.flatnonzero(tokens)[0]] -= unpredicted  # the first token of a stream has no prediction
    interval = ratio_interval(nats, tokens)
    loss = float(nats.sum()) / float(tokens.sum())
    found = {
        "loss": loss,
        "perplexity": math.exp(loss),
        "standard_error": ratio_standard_error(nats, tokens),
        "loss_interval": [interval.low, interval.high],
        "tokens": int(tokens.sum()),
        "units": int(np.count_nonzero(tokens)),
    }
    if final.get("bits_per_byte") is not None:  # the bytes of unpredicted tokens don't count
        found["bits_per_byte"] = float(units["bits"][:, -1].sum()) / final["bytes"]
    yield from ((f"final.{name}", final.get(name), value) for name, value in found.items())
