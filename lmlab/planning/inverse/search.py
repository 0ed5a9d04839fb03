"""Inverse planning: the model, tokens, batch and learning rate that end with the lowest expected loss within a budget.

Inputs are a recipe whose style is kept, facts about the corpus, a budget, a loss law, and functions for the speed, memory and disk
of a recipe. The result is the best recipe and alternatives that take less or more time, each with its expected loss.

For every shape in the recipe's style (`shapes.py`) the budget limits how many tokens it can read, and the law gives its loss then.
The law models the cost of repetition, but not that a model which is far too large for its text memorises it; so no text is read
more than MOST_EPOCHS times, no model has more than MOST_PARAMETERS_A_TOKEN for each different token, and
`planning.texts.memorisation` sets what else such a recipe needs. Batch and rates follow from the recipe's own by the rules of
`learning_rates.py`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.reading import reading, scored_targets
from lmlab.model.cost import flops_per_token
from lmlab.planning.forecasts.duration import FORWARD_SHARE, START_SECONDS, run_seconds
from lmlab.planning.inverse.budget import Budget
from lmlab.planning.inverse.learning_rates import FEWEST_STEPS, Tuned
from lmlab.planning.inverse.lengthened import evaluations_of, lengthened, own_tokens
from lmlab.planning.inverse.plan import Alternative, InversePlan, Limit
from lmlab.planning.inverse.resources import Resources
from lmlab.planning.inverse.shapes import counted_parameters, shapes_like
from lmlab.planning.losses.known_law import KnownLaw
from lmlab.planning.texts.choose import MOST_EPOCHS
from lmlab.recipe import Recipe, check
from lmlab.recipe.quantities import duration
from lmlab.scaling.estimate import Estimate
from lmlab.scaling.law import FEW_PASSES
from lmlab.training.evaluating import LARGEST_TRAIN_SAMPLE

MOST_PARAMETERS_A_TOKEN = 11.0
"""nanoGPT's 10.7M parameters for 1.0M characters, with dropout: the largest model for its text whose loss is known to be good."""
NOT_WORTH_IT = 0.002
"""Nats: a smaller gain doesn't justify more passes over a text."""
AS_GOOD = 0.01
"""Nats: models within this of the best are reported, since the choice between them is free."""
TIMES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""Rows of the table: shares of the budget's time and compute."""
NEARLY = 0.9
"""The share of a budget whose use makes it the limit of a plan."""
HALVINGS, TRIES = 60, 10


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """Facts about a prepared data set."""

    train_tokens: int
    valid_tokens: int
    vocabulary: int
    counted: float = 1.0
    """The share of positions in its sequences that have a target: the others are padding, which counts as no token."""

    @classmethod
    def of(cls, recipe: Recipe, dataset: Dataset) -> CorpusFacts:
        """Return the facts of a prepared data set; for windows of documents the targets of an epoch."""
        read = reading(recipe, dataset)
        return cls(
            train_tokens=read.unique_tokens,
            valid_tokens=scored_targets(recipe, dataset, "valid") + (not recipe.data.by_document),
            vocabulary=dataset.vocabulary_size,
            counted=read.sequence_tokens / read.context,
        )

    def tokens(self, recipe: Recipe, steps: int) -> int:
        """Return about how many tokens `recipe` trains on in so many steps; exact for one stream."""
        return round(steps * recipe.train.batch * recipe.model.context * self.counted)


def inverse_plan(
    recipe: Recipe,
    corpus: CorpusFacts,
    budget: Budget,
    law: KnownLaw,
    resources: Resources,
) -> InversePlan:
    """Return the best recipe in `recipe`'s style for `budget`, with a table of alternatives; LabError where nothing fits."""
    search = _Search(recipe, corpus, budget, law, resources)
    return search.cheapest(budget.loss) if budget.loss is not None else search.lowest()


@dataclass(frozen=True)
class _Sized:
    """A shape with the values that the search uses often."""

    recipe: Recipe
    parameters: int
    size: float
    """Parameters as the law counts them."""
    flops_a_token: float
    speed: Estimate


class _Search:
    def __init__(
        self, recipe: Recipe, corpus: CorpusFacts, budget: Budget, law: KnownLaw, resources: Resources
    ) -> None:
        self.base, self.corpus, self.budget, self.law, self.resources = recipe, corpus, budget, law, resources
        self.unique = float(corpus.train_tokens)
        own = counted_parameters(recipe, corpus.vocabulary)
        tokens = own_tokens(recipe, self.unique, corpus.counted)
        self.tuned = Tuned(recipe=recipe, parameters=own, tokens=tokens, counted=corpus.counted)
        largest = max(own, MOST_PARAMETERS_A_TOKEN * self.unique)
        self.shapes = [sized for sized in map(self._sized, shapes_like(recipe)) if sized.parameters <= largest]

    def lowest(self) -> InversePlan:
        """Return the plan with the lowest loss within the budget."""
        found = self._best(self.budget)
        if found is None:
            raise LabError(self._nothing_fits())
        return self._plan(self._kept_within(*found), reached=True)

    def cheapest(self, loss: float) -> InversePlan:
        """Return the plan with the least time to a loss; the lowest loss where the budget or every model falls short of it."""
        if not self.law.fitted and self.law.expected(self.law.size(self.base), self.tuned.tokens, self.unique) is None:
            raise LabError(
                f"how long loss {loss:g} takes is unknown: there are no similar runs. Train a few sizes of this recipe, to which a "
                "law is then fitted, or give a --budget"
            )
        ways = [(sized, tokens) for sized in self.shapes if (tokens := self._tokens_to(sized, loss)) is not None]
        ways = [(sized, tokens) for sized, tokens in ways if self._fits(sized, tokens)]
        if not ways:
            found = self._best(self.budget)
            if found is None:
                raise LabError(self._nothing_fits())
            return self._plan(self._kept_within(*found), reached=False)
        return self._plan(self._alternative(*min(ways, key=lambda way: self._seconds(*way))), reached=True)

    def _plan(self, best: Alternative, reached: bool) -> InversePlan:
        here = self._around(best, 1.0)
        near = [
            sized.parameters
            for sized in self.shapes
            if (tokens := self._affordable(sized, here)) is not None
            and self._loss(sized, tokens) <= self._ranked(best) + AS_GOOD
        ]
        near.append(best.parameters)
        return InversePlan(
            budget=self.budget,
            best=best,
            table=self._table(best),
            reached=reached,
            as_good=(min(near), max(near)),
            law=self.law.source,
            limit=self._limit(best),
        )

    def _table(self, best: Alternative) -> tuple[Alternative, ...]:
        rows = [best]
        for share in TIMES:
            found = self._best(self._around(best, share)) if share != 1.0 else None
            if found is not None:
                rows.append(self._alternative(*found))
        kept: list[Alternative] = []
        for row in sorted(rows, key=lambda row: (row.seconds.value, row is not best)):
            better = not kept or self._ranked(row) < self._ranked(kept[-1]) - NOT_WORTH_IT
            if row is best:
                # What is as good as the best and hardly faster is not another choice.
                kept = [one for one in kept if self._ranked(one) > self._ranked(best)]
            if better or row is best:
                kept.append(row)
        return tuple(kept)

    def _around(self, best: Alternative, share: float) -> Budget:
        """Return the budget of a row: a share of the best's own time, and the same disk."""
        return Budget(seconds=share * best.seconds.value, disk=self.budget.disk)

    def _best(self, budget: Budget) -> tuple[_Sized, float] | None:
        ways = [(sized, tokens) for sized in self.shapes if (tokens := self._affordable(sized, budget)) is not None]
        if not ways:
            return None
        lowest = min(self._loss(*way) for way in ways)
        # The smallest of those that are as good: shapes are in the order of their size.
        sized, tokens = next(way for way in ways if self._loss(*way) <= lowest + NOT_WORTH_IT)
        return sized, self._enough(sized, tokens)

    def _kept_within(self, sized: _Sized, tokens: float) -> Alternative:
        """Return a row of the budget, with fewer tokens where the minimum size of an evaluation exceeds it."""
        row = self._alternative(sized, tokens)
        for _ in range(TRIES):
            if row.within:
                break
            tokens *= min(0.98, self.budget.seconds / row.seconds.value)
            row = self._alternative(sized, tokens)
        return row

    def _affordable(self, sized: _Sized, budget: Budget) -> float | None:
        """Return the most tokens that a shape may read; None where it can't be used."""
        tokens = self._readable(sized, budget)
        return tokens if tokens is not None and self._occupies(sized, tokens, budget) else None

    def _readable(self, sized: _Sized, budget: Budget) -> float | None:
        """Return the same without the limits of memory and disk."""
        tokens = self._in_time(sized, budget, sized.speed)
        # The batch depends on the tokens, and a GPU's speed on the batch.
        tokens = self._in_time(sized, budget, self._speed(sized, max(1.0, tokens)))
        return None if tokens < FEWEST_STEPS * self.tuned.sequence_tokens else tokens

    def _in_time(self, sized: _Sized, budget: Budget, speed: Estimate) -> float:
        """Return the most tokens that the budget allows, with the evaluations between and the whole split at the end."""
        valid = self.corpus.valid_tokens
        seconds = budget.seconds - START_SECONDS - valid * FORWARD_SHARE / speed.value
        both = seconds * speed.value
        # Evaluations take at most their share, and at most the time of scoring the whole split each time.
        most = evaluations_of(self.tuned) * (valid + LARGEST_TRAIN_SAMPLE) * FORWARD_SHARE
        trained = max(both / (1.0 + self.base.evaluate.share), both - most) if math.isfinite(both) else both
        return min(trained, budget.flops / sized.flops_a_token, MOST_EPOCHS * self.unique)

    def _speed(self, sized: _Sized, tokens: float) -> Estimate:
        """Return the speed at the batch for so many tokens."""
        train = dataclasses.replace(sized.recipe.train, batch=self.tuned.batch(sized.parameters, tokens))
        return self._rate(dataclasses.replace(sized.recipe, train=train))

    def _rate(self, recipe: Recipe) -> Estimate:
        """Return tokens a second without padding, which the resources include."""
        return self.resources.speed(recipe).scaled(self.corpus.counted)

    def _occupies(self, sized: _Sized, tokens: float, budget: Budget) -> bool:
        """Return whether it fits into memory and disk."""
        if math.isinf(self.resources.memory_limit) and math.isinf(budget.disk):
            return True
        recipe = self._recipe(sized, tokens)
        return (
            self.resources.memory(recipe) <= self.resources.memory_limit and self.resources.disk(recipe) <= budget.disk
        )

    def _fits(self, sized: _Sized, tokens: float) -> bool:
        affordable = self._affordable(sized, self.budget)
        return affordable is not None and tokens <= affordable

    def _enough(self, sized: _Sized, tokens: float) -> float:
        """Return `tokens`, or fewer where the last passes over the text gain next to nothing."""
        least = FEW_PASSES * self.unique  # these always pay
        if tokens <= least:
            return tokens
        wanted = self._loss(sized, tokens) + NOT_WORTH_IT
        return self._least(sized, wanted, least, tokens)

    def _tokens_to(self, sized: _Sized, loss: float) -> float | None:
        """Return the fewest tokens to a loss; None where a shape doesn't reach it."""
        least, most = FEWEST_STEPS * self.tuned.sequence_tokens, MOST_EPOCHS * self.unique
        if most < least or self._loss(sized, most) > loss:
            return None
        return self._least(sized, loss, least, most)

    def _least(self, sized: _Sized, loss: float, least: float, most: float) -> float:
        """Bisect between `least` and `most` tokens for the fewest to `loss`, which `most` reach: more tokens are never worse."""
        if self._loss(sized, least) <= loss:
            return least
        low, high = math.log(least), math.log(most)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self._loss(sized, math.exp(middle)) <= loss else (middle, high)
        return math.exp(high)

    def _loss(self, sized: _Sized, tokens: float) -> float:
        return self.law.rank(sized.size, tokens, self.unique)

    def _ranked(self, row: Alternative) -> float:
        return self.law.rank(self.law.size(row.recipe), row.tokens, self.unique)

    def _seconds(self, sized: _Sized, tokens: float) -> float:
        return self._time(self._recipe(sized, tokens)).value

    def _time(self, recipe: Recipe) -> Estimate:
        corpus, steps = self.corpus, recipe.train.steps
        tokens = corpus.tokens(recipe, steps)
        return run_seconds(recipe, steps, tokens, self._rate(recipe), corpus.train_tokens, corpus.valid_tokens)

    def _alternative(self, sized: _Sized, tokens: float) -> Alternative:
        recipe = check(self._recipe(sized, tokens))
        read = self.corpus.tokens(recipe, recipe.train.steps)
        flops = sized.flops_a_token * read
        seconds, disk = self._time(recipe), self.resources.disk(recipe)
        slack = 1.0 + 1e-6
        return Alternative(
            recipe=recipe,
            parameters=sized.parameters,
            tokens=read,
            passes=read / self.unique,
            flops=flops,
            loss=self.law.expected(sized.size, read, self.unique),
            seconds=seconds,
            disk=disk,
            memory=self.resources.memory(recipe),
            within=seconds.value <= self.budget.seconds * slack
            and flops <= self.budget.flops * slack
            and disk <= self.budget.disk,
        )

    def _recipe(self, sized: _Sized, tokens: float) -> Recipe:
        return lengthened(self.tuned, sized.recipe, sized.parameters, tokens, self.unique)

    def _sized(self, recipe: Recipe) -> _Sized:
        vocabulary = self.corpus.vocabulary
        return _Sized(
            recipe,
            counted_parameters(recipe, vocabulary),
            self.law.size(recipe),
            # The cost of padding is spread over the tokens that count.
            flops_per_token(recipe.model, vocabulary).training / self.corpus.counted,
            self._rate(recipe),
        )

    def _limit(self, best: Alternative) -> Limit:
        budget = self.budget
        if budget.loss is not None and self._ranked(best) <= budget.loss + NOT_WORTH_IT:
            return "loss"
        for sized in self.shapes:
            tokens = self._readable(sized, budget)
            better = tokens is not None and self._loss(sized, tokens) < self._ranked(best) - NOT_WORTH_IT
            if tokens is not None and better and not self._occupies(sized, tokens, budget):
                return "room"
        if best.flops >= NEARLY * budget.flops:
            return "compute"
        return "time" if best.seconds.value >= NEARLY * budget.seconds or best.passes <= FEW_PASSES else "text"

    def _nothing_fits(self) -> str:
        smallest = self.shapes[0]
        tokens = FEWEST_STEPS * self.tuned.sequence_tokens
        if tokens > MOST_EPOCHS * self.unique:
            return (
                f"the text is too short: {self.corpus.train_tokens:,} tokens, read {MOST_EPOCHS} times, are fewer than "
                f"{FEWEST_STEPS} steps of {smallest.recipe.model.context:,}: use more text, or a smaller model.context"
            )
        seconds, disk = self._seconds(smallest, tokens), self.resources.disk(smallest.recipe)
        memory = self.resources.memory(self._recipe(smallest, tokens))
        if memory > self.resources.memory_limit:
            return (
                f"nothing fits into memory: the smallest model ({smallest.parameters:,} parameters) takes {memory / 1e6:,.0f} MB "
                f"of {self.resources.memory_limit / 1e6:,.0f} MB: use a smaller model.context, or a smaller data.vocabulary"
            )
        return (
            f"nothing fits into {self.budget.words()}: {FEWEST_STEPS} steps of the smallest model ({smallest.parameters:,} "
            f"parameters) take {duration(seconds)}, {tokens * smallest.flops_a_token:.2g} FLOPs and {disk / 1e6:,.1f} MB of disk"
        )
