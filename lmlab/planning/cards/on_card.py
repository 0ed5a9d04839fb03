"""A plan for a GPU that isn't here, from its datasheet and published trainings on such cards."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from lmlab.data.shards.forecast import PreparationForecast
from lmlab.exchange.models.exportable import exportable
from lmlab.hardware.cards import Card
from lmlab.planning.cards.price import Price, board_power
from lmlab.planning.cards.published_speeds import PublishedRate, published_for
from lmlab.planning.forecasts.duration import run_seconds
from lmlab.planning.inverse.resources import Resources
from lmlab.planning.inverse.search import CorpusFacts
from lmlab.planning.position import Position, position_of
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import count, duration
from lmlab.scaling.estimate import Estimate


@dataclass(frozen=True, kw_only=True)
class CardPlan:
    """The expected cost of a recipe on a card; none of the figures is measured here."""

    recipe: Recipe
    card: Card
    steps: int
    position: Position
    tokens_per_second: Estimate
    seconds: Estimate
    memory: float
    """Bytes at the micro-batch that a policy would choose for a GPU."""
    memory_limit: float
    disk: float
    price: Price | None
    cost: Estimate | None
    published: PublishedRate | None
    """A published measurement on such a card with a model of this shape."""
    preparation: PreparationForecast | None = None
    """What preparing the rest of the data takes, on this machine; None where it's there."""

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return {
            "recipe": self.recipe.name,
            "card": self.card.name,
            "cards": self.card.count,
            "steps": self.steps,
            "seconds": self.seconds.value,
            "tokens": self.position.tokens,
            "position": self.position.to_json(),
            "duration": self.seconds.to_json(),
            "tokens_per_second": self.tokens_per_second.to_json(),
            "memory_bytes": self.memory,
            "memory_limit_bytes": self.memory_limit,
            "disk_bytes": self.disk,
            "published": None if self.published is None else dataclasses.asdict(self.published),
            "cost": None if self.cost is None else self.cost.to_json(),
            "preparation": None if self.preparation is None else self.preparation.to_json(),
            "currency": None if self.price is None else self.price.currency,
            "exportable": exportable(self.recipe).to_json(),
        }

    def lines(self) -> list[str]:
        """Return the plan as lines of text."""
        here, rate, time = self.position, self.tokens_per_second, self.seconds
        memory = f"{self.card.memory / 1e9:.0f} GB of memory{'' if self.card.count == 1 else ' on each'}"
        fits = "fits" if self.memory <= self.memory_limit else "does not fit: try a smaller train.micro_batch"
        lines = [
            f"{self.recipe.name} on a card that isn't here, {self.card.label} in {self._precision} (computed, not measured):",
            f"  {count(here.parameters['total'])} parameters, {count(here.tokens)} tokens ({here.epochs:.2f} epochs, "
            f"{here.tokens_a_parameter:.3g} a parameter), {here.exact_flops:.3g} FLOPs",
            f"  {duration(time.value)} ({duration(time.low)} to {duration(time.high)}) at {rate.value:,.0f} tokens/s "
            f"({rate.low:,.0f} to {rate.high:,.0f}): {rate.rests_on}{rate.alarm and '; ' + rate.alarm}",
            *([] if self.published is None else [f"  published for this card and shape: {self.published.words()}"]),
            f"  {self.memory / 1e9:.2f} GB of {memory}: {fits}; {self.disk / 1e9:.2f} GB of disk",
            f"  export: {exportable(self.recipe).line()}",
            *(f"  {line} (on this machine)" for line in (self.preparation.lines()[:1] if self.preparation else ())),
        ]
        if self.price is not None and self.cost is not None:
            lines.append(f"  cost {self.price.text(self.cost)}")
        return lines

    @property
    def _precision(self) -> str:
        return self.card.precision_of(self.recipe.train.precision)


def plan_for_card(
    recipe: Recipe,
    steps: int,
    corpus: CorpusFacts,
    card: Card,
    resources: Resources,
    price: Price | None,
    preparation: PreparationForecast | None = None,
) -> CardPlan:
    """Return the plan of `steps` steps; `resources` are the card's, and `preparation` is what its data takes before."""
    rate, tokens = resources.speed(recipe).scaled(corpus.counted), corpus.tokens(recipe, steps)
    seconds = run_seconds(recipe, steps, tokens, rate, corpus.train_tokens, corpus.valid_tokens)
    return CardPlan(
        recipe=recipe,
        card=card,
        steps=steps,
        position=position_of(recipe, corpus.vocabulary, steps, corpus.train_tokens, tokens),
        tokens_per_second=rate,
        seconds=seconds,
        memory=resources.memory(recipe),
        memory_limit=resources.memory_limit,
        disk=resources.disk(recipe),
        price=price,
        cost=None if price is None else price.cost(seconds, board_power(card)),
        published=published_for(recipe, corpus.vocabulary, card) if card.count == 1 else None,
        preparation=preparation,
    )
