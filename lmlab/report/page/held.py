"""Published and forecast values beside the measured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmlab.experiment.claims import WORDS
from lmlab.experiment.overview import Overview
from lmlab.report.page.values import Held, Table, number

UNITS = {
    "valid_loss": "nats per token",
    "train_loss": "nats per token",
    "valid_accuracy": "share",
    "tokens_per_second": "tokens/s",
    "peak_memory_bytes": "bytes",
    "kept_bytes": "bytes",
    "parameters": "parameters",
    "turning_step": "step",
}
SECONDS = "_seconds"


def held_of(name: str, found: Overview, forecast: Mapping[str, Any]) -> tuple[Held, ...]:
    """Return each published number of the recipe, and each figure that was forecast before the run or has been scored since."""
    return (*_published(name, found), *_forecast(name, found, forecast))


def _published(name: str, found: Overview) -> list[Held]:
    summary = found.summary or {}
    compared = {(one["metric"], one["step"], one["value"]): one for one in summary.get("claims") or []}
    claims = () if found.recipe is None else found.recipe.claims
    return [
        Held(
            what=WORDS.get(claim.metric, (claim.metric.replace("_", " "),))[0]
            + ("" if claim.step is None else f" at step {claim.step:,}"),
            kind="published",
            unit=UNITS.get(claim.metric, ""),
            expected=claim.value,
            measured=_known(compared.get((claim.metric, claim.step, claim.value), {}).get("measured")),
            note="; ".join(part for part in (claim.source, claim.note) if part),
            source=f"{name}/recipe.toml: claims; {name}/summary.json: claims",
        )
        for claim in claims
    ]


def _forecast(name: str, found: Overview, forecast: Mapping[str, Any]) -> list[Held]:
    score = (found.summary or {}).get("score") or {}
    figures = forecast.get("figures") or {}
    held = []
    for figure in dict.fromkeys((*figures, *score)):
        before, after = figures.get(figure) or {}, score.get(figure) or {}
        expected = after.get("forecast", before.get("value"))
        if (forecast_value := _known(expected)) is None:
            continue
        inside = {"True": "inside the interval", "False": "outside the interval"}.get(str(after.get("inside")), "")
        rests = f"{before['evidence']}: {before['rests_on']}" if before.get("rests_on") else ""
        held.append(
            Held(
                what=figure.removesuffix(SECONDS).replace("_bytes", "").replace("_", " ")
                + (" time" if SECONDS in figure else ""),
                kind="forecast",
                unit="s" if figure.endswith(SECONDS) else UNITS.get(figure, ""),
                expected=forecast_value,
                low=_known(after.get("low", before.get("low"))),
                high=_known(after.get("high", before.get("high"))),
                measured=_known(after.get("measured")),
                note="; ".join(part for part in (inside, rests) if part),
                source=f"{name}/forecast.json: figures.{figure}"
                if not after
                else f"{name}/summary.json: score.{figure}",
            )
        )
    return held


def _known(value: Any) -> float | None:
    """Return a number of a file; None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def held_table(held: Sequence[Held]) -> Table:
    """Return published and forecast values beside the measured ones."""
    rows = tuple(
        (
            one.what,
            one.unit,
            number(one.expected) if one.kind == "published" else "",
            number(one.expected) if one.kind == "forecast" else "",
            "" if one.low is None or one.high is None else f"{number(one.low)} to {number(one.high)}",
            number(one.measured),
            one.note,
            one.source,
        )
        for one in held
    )
    headings = ("what", "unit", "published", "forecast", "80% interval", "measured", "note", "file")
    used = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    return Table(
        caption="Published numbers are those of the recipe; forecasts were made before the run",
        headings=tuple(headings[place] for place in used),
        rows=tuple(tuple(row[place] for place in used) for row in rows),
        numbers=tuple(column for column, place in enumerate(used) if 2 <= place <= 5),
    )
