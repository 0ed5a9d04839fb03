"""An inverse plan as lines of text, and for --json."""

from __future__ import annotations

import dataclasses
from typing import Any

from lmlab.model.cost import parameters
from lmlab.planning.cards.price import Price
from lmlab.planning.inverse.plan import Alternative, InversePlan
from lmlab.planning.inverse.search import AS_GOOD
from lmlab.planning.texts.choose import MOST_EPOCHS
from lmlab.planning.texts.memorisation import may_memorise
from lmlab.recipe import GPT, Muon, Recipe, to_toml
from lmlab.recipe.quantities import count, duration
from lmlab.recipe.text import to_dict
from lmlab.scaling.estimate import Estimate
from lmlab.training.table import Part, Table, table

HEADINGS = ("", "parameters", "layers x width", "tokens", "passes", "batch", "rate", "time", "FLOPs", "loss (80%)")
LIMITS = {
    "time": "the limit is time",
    "compute": "the limit is compute",
    "room": "the limit is memory or disk: a larger model would be better",
    "loss": "less time would not reach the loss",
    "text": "the limit is the text: more passes or a larger model would gain next to nothing, more text would",
}
UNKNOWN = (
    "loss: it can't be forecast for a run like this; models are ranked by {law}. lmlab plan FILE --ladder forecasts "
    "the loss of the recipe that was written"
)
MEMORISED = (
    "a model so large for its text may memorise it, which no scaling law models: the recipe has dropout, and ends where the "
    "validation loss has turned"
)


def lines_of(plan: InversePlan, price: Price | None = None, watts: Estimate | None = None) -> list[Part]:
    """Return the best recipe, the alternatives, and the caveats."""
    best, loss = plan.best, plan.best.loss
    lines: list[Part] = [f"{plan.budget.words()}: {sentence(best)}"]
    if not plan.reached:
        lowest = "" if loss is None else f": {loss.value:.3f} is the lowest that is expected"
        lines.append(f"loss {plan.budget.loss:g} is out of reach {_within(plan)}{lowest}")
    elif plan.budget.loss is not None and loss is not None:
        lines.append(f"it is as likely to end above that loss as below; below {loss.high:.3f} in nine of ten cases")
    lines += [_table(plan, price, watts), LIMITS[plan.limit]]
    small, large = plan.as_good
    if small < large:
        lines.append(
            f"models of {count(small)} to {count(large)} parameters come within {AS_GOOD:g} nats of it in that time"
        )
    if best.passes > MOST_EPOCHS - 0.5:
        lines.append(f"no text is read more than {MOST_EPOCHS} times")
    lines.append(f"loss: {loss.rests_on} ({loss.evidence})" if loss is not None else UNKNOWN.format(law=plan.law))
    lines.append(f"time: {best.seconds.rests_on} ({best.seconds.evidence})")
    lines.append("batch and learning rate follow published rules from the recipe's own: lmlab tune measures them")
    alarms = dict.fromkeys(alarm for alarm in ("" if loss is None else loss.alarm, best.seconds.alarm) if alarm)
    if may_memorise(best.passes, best.parameters * best.passes / best.tokens):
        alarms[MEMORISED] = None
    return lines + [f"! {alarm}" for alarm in alarms]


def sentence(row: Alternative) -> str:
    """Describe a recipe in one line."""
    model, train = row.recipe.model, row.recipe.train
    assert isinstance(model, GPT)
    dropout = f", dropout {model.dropout:g}" if model.dropout else ""
    tables = count(parameters(model, 1)["ngrams"])
    beside = f" + {tables} in n-gram tables" if model.ngrams else ""
    layers = "1 layer" if model.layers == 1 else f"{model.layers} layers"
    heads = "1 head" if model.heads == 1 else f"{model.heads} heads"
    return (
        f"{count(row.parameters)} parameters{beside} ({layers}, {heads}, {model.width} wide{dropout}), "
        f"{train.steps:,} steps of {train.batch} x {model.context} tokens ({count(row.tokens)}, {row.passes:.3g} passes), "
        f"learning rate {_rate(row.recipe)}"
    )


def to_json(plan: InversePlan, price: Price | None = None, watts: Estimate | None = None) -> dict[str, Any]:
    """Return the plan as plain values; `recipe` of each row has the content of its TOML file."""
    budget = {
        name: value for name, value in dataclasses.asdict(plan.budget).items() if value not in (None, float("inf"))
    }
    return {
        "budget": budget,
        "reached": plan.reached,
        "limit": plan.limit,
        "as_good_parameters": list(plan.as_good),
        "best": _row_json(plan.best, price, watts),
        "alternatives": [_row_json(row, price, watts) for row in plan.table],
    }


def toml_of(row: Alternative, name: str) -> str:
    """Return the TOML text of a row's recipe, under a name of its own."""
    expected = "" if row.loss is None else f", loss {row.loss.value:.3f} expected"
    about = f"planned: {count(row.parameters)} parameters, {count(row.tokens)} tokens{expected}"
    return to_toml(dataclasses.replace(row.recipe, name=name, about=about))


def _row_json(row: Alternative, price: Price | None, watts: Estimate | None) -> dict[str, Any]:
    cost = {} if price is None else {"cost": price.cost(row.seconds, watts).to_json(), "currency": price.currency}
    return {
        "parameters": row.parameters,
        "tokens": row.tokens,
        "passes": row.passes,
        "flops": row.flops,
        "loss": None if row.loss is None else row.loss.to_json(),
        "seconds": row.seconds.to_json(),
        "disk_bytes": row.disk,
        "memory_bytes": row.memory,
        "within_budget": row.within,
        "recipe": to_dict(row.recipe),
        **cost,
    }


def _table(plan: InversePlan, price: Price | None, watts: Estimate | None) -> Table:
    headings = [*HEADINGS, *(["cost"] if price else [])]
    return table(headings, [_cells(row, row is plan.best, price, watts) for row in plan.table])


def _cells(row: Alternative, best: bool, price: Price | None, watts: Estimate | None) -> list[str]:
    model, loss = row.recipe.model, row.loss
    mark = "*" if best else "" if row.within else "over"
    cells = [
        mark,
        count(row.parameters),
        f"{model.layers} x {model.width}",
        count(row.tokens),
        f"{row.passes:.2f}" if row.passes < 10 else f"{row.passes:.1f}",
        str(row.recipe.train.batch),
        _rate(row.recipe),
        duration(row.seconds.value),
        f"{row.flops:.1e}",
        "unknown" if loss is None else f"{loss.value:.3f} ({loss.low:.3f} to {loss.high:.3f})",
    ]
    return cells if price is None else [*cells, price.text(price.cost(row.seconds, watts))]


def _rate(recipe: Recipe) -> str:
    optim = recipe.optim
    return f"{optim.lr:g}/{optim.adam_lr:g}" if isinstance(optim, Muon) else f"{optim.lr:g}"


def _within(plan: InversePlan) -> str:
    limits = dataclasses.replace(plan.budget, loss=None).words()
    return f"within {limits}" if limits else "by this law and text"
