"""What the final loss is expected to be, and what that rests on: the best that there is, in this order.

the same recipe on the same data, run before    measured
a ladder of small trainings for this recipe     extrapolated
a law fitted to one's own finished runs         fitted, or extrapolated where they don't surround it
somebody's published law                        published, with an alarm
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lmlab.data import Dataset
from lmlab.data.reading import reading
from lmlab.model import parameters
from lmlab.planning.calibration import Calibration
from lmlab.planning.history import Finished, same_training, style_of
from lmlab.planning.rungs import DESIGN, remembered
from lmlab.recipe import GPT, Recipe
from lmlab.scaling.estimate import NORMAL_QUANTILE, Estimate
from lmlab.scaling.fit import FEWEST_POINTS, FittedLaw, fit_law
from lmlab.scaling.ladder import ladder_law
from lmlab.scaling.law import BESIROGLU, effective_tokens

SEED_SPREAD = 0.005
"""Standard deviation of log-loss among seeds: .0155 of 3.69 in twelve trainings of one recipe, less within one order of data."""
FEWEST_RUNS = max(FEWEST_POINTS, 5)
OWN_WORTH = 8.0
"""As how many earlier forecasts the interval counts that a forecast brings along."""
FURTHEST = 10.0
"""A law of one's own runs isn't asked about trainings with more than so many times the tokens or parameters of the largest."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of the loss of a training."""

    loss: Estimate
    """Of its last step over the whole validation split, in nats a token."""
    law: Callable[[float, float], float]
    """(parameters that every token is multiplied by, fresh tokens) -> loss, for trainings like it."""
    law_rests_on: str


def evidence_for(
    recipe: Recipe,
    dataset: Dataset,
    steps: int,
    runs: Sequence[Finished],
    calibrations: Mapping[str, Calibration],
) -> Evidence:
    """The best that there is for a training of `steps` steps."""
    vocabulary, read = dataset.vocabulary_size, reading(recipe, dataset)
    size = parameters(recipe.model, vocabulary)
    tokens, unique_tokens = read.tokens(steps * recipe.train.batch), read.unique_tokens
    points = remembered(recipe, dataset.id, steps)
    law = law_of(runs, recipe, dataset.id)
    if len(points) == len(DESIGN):
        ladder = ladder_law(points)
        # Its trainings read the text as often as this one does, so that their length counts in what that is worth.
        worth = effective_tokens(tokens, unique_tokens)
        found = Evidence(
            loss=_corrected(ladder.expected(), calibrations),
            law=lambda matrix, fresh: ladder.loss(matrix / size["matrix"], fresh / worth),
            law_rests_on=f"{ladder.expected().rests_on}, which say little of ones far from this",
        )
    elif law is not None and _near(law, size["matrix"], tokens):
        expected = law.expected(size["matrix"], tokens, unique_tokens)
        found = Evidence(loss=_corrected(expected, calibrations), law=law.law.loss, law_rests_on=expected.rests_on)
    else:
        counted = size["total"] - size["ngrams"]
        expected = BESIROGLU.expected(counted, tokens, vocabulary, unique_tokens)
        if not isinstance(recipe.model, GPT):
            alarm = (
                f"fitted to transformers, of another text and tokenizer: a model of kind {recipe.model.kind} is none"
            )
            expected = dataclasses.replace(expected, alarm=alarm)
        found = Evidence(
            loss=expected,
            law=lambda matrix, fresh: BESIROGLU.law.loss(matrix * counted / size["matrix"], fresh),
            law_rests_on=expected.rests_on,
        )
    alike = same_training(list(runs), recipe, dataset.id)
    return dataclasses.replace(found, loss=_as_before([run.loss for run in alike])) if alike else found


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
    # The middle stays, so a bias is one more error.
    found = NORMAL_QUANTILE * math.hypot(known.spread, math.log(known.factor))
    width = math.sqrt((own**2 * OWN_WORTH + found**2 * known.runs) / (OWN_WORTH + known.runs))
    return dataclasses.replace(estimate, low=estimate.value * math.exp(-width), high=estimate.value * math.exp(width))
