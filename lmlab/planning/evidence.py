"""What the final loss is expected to be, and what that rests on: the best that there is, in this order.

the same recipe on the same data, run before    measured
a ladder of short trainings for this recipe     extrapolated
a law fitted to one's own finished runs         fitted, or extrapolated where they don't surround it
somebody's published law                        published, with an alarm
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from lmlab.data import Dataset
from lmlab.model import parameters
from lmlab.planning.calibration import Calibration
from lmlab.planning.history import Finished, same_training, style_of
from lmlab.planning.rungs import DESIGN, extrapolated, remembered
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Estimate
from lmlab.scaling.fit import FEWEST_POINTS, FittedLaw, fit_law
from lmlab.scaling.law import BESIROGLU

SEED_SPREAD = 0.005
"""Standard deviation of log-loss among seeds: .0155 of 3.69 in twelve trainings of one recipe, less within one order of data."""
FEWEST_RUNS = max(FEWEST_POINTS, 5)
OWN_WORTH = 8.0
"""As how many earlier forecasts the interval counts that a forecast brings along."""
FURTHEST = 10.0
"""A law of one's own runs isn't asked about trainings with more than so many times the tokens or parameters of the largest."""


def expected_loss(
    recipe: Recipe,
    dataset: Dataset,
    steps: int,
    runs: Sequence[Finished],
    calibrations: Mapping[str, Calibration],
) -> Estimate:
    """The loss of the last of `steps` steps over the whole validation split, in nats a token."""
    alike = same_training(list(runs), recipe, dataset.id)
    if alike:
        return _as_before([run.loss for run in alike])
    vocabulary, unique_tokens = dataset.vocabulary_size, len(dataset.tokens("train"))
    points = remembered(recipe, dataset.id, steps)
    if len(points) == len(DESIGN):
        return _corrected(extrapolated(points, recipe, vocabulary, steps), calibrations)
    size = parameters(recipe.model, vocabulary)
    tokens = steps * recipe.train.batch * recipe.model.context
    law = law_of(runs, recipe, dataset.id)
    if law is not None and _near(law, size["matrix"], tokens):
        return _corrected(law.expected(size["matrix"], tokens, unique_tokens), calibrations)
    return BESIROGLU.expected(size["total"] - size["ngrams"], tokens, vocabulary, unique_tokens)


def law_of(runs: Sequence[Finished], recipe: Recipe, data_id: str) -> FittedLaw | None:
    """A law of the finished runs that differ from `recipe` in size, length, batch and rates only; None where they are too few."""
    style = style_of(recipe)
    points = [run.point() for run in runs if run.data_id == data_id and run.style == style]
    distinct = {(point.parameters, point.tokens) for point in points}
    return fit_law(points) if len(distinct) >= FEWEST_RUNS else None


def _near(law: FittedLaw, size: float, tokens: float) -> bool:
    return size <= FURTHEST * max(point.parameters for point in law.points) and tokens <= FURTHEST * max(
        point.tokens for point in law.points
    )


def _as_before(losses: list[float]) -> Estimate:
    middle = statistics.mean(losses)
    among = statistics.stdev(map(math.log, losses)) if len(losses) > 2 else 0.0
    width = 1.4 * max(SEED_SPREAD, among) * math.sqrt(1 + 1 / len(losses))
    return Estimate(
        value=middle,
        low=middle * math.exp(-width),
        high=middle * math.exp(width),
        evidence="measured",
        rests_on=f"{len(losses)} finished run{'s' * (len(losses) > 1)} of this recipe on this data",
    )


def _corrected(estimate: Estimate, calibrations: Mapping[str, Calibration]) -> Estimate:
    """As wide as such forecasts were found to need; their middle stays, since each rests on trainings of its own."""
    known = calibrations.get("final_loss")
    if known is None or not known.runs:
        return estimate
    own = math.log(estimate.high / estimate.low) / 2
    width = math.sqrt((own**2 * OWN_WORTH + (1.2816 * known.spread) ** 2 * known.runs) / (OWN_WORTH + known.runs))
    return dataclasses.replace(estimate, low=estimate.value * math.exp(-width), high=estimate.value * math.exp(width))
