"""The expected final loss and its evidence: the best available, in this order.

the same recipe on the same data, run before here       measured
the same recipe on the same data, published by lmlab    published
a ladder of small trainings for this recipe             extrapolated
a law fitted to the user's own finished runs            fitted, or extrapolated where they don't surround it
a law fitted to lmlab's published small runs            fitted
a published law of large models                         published, with an alarm

Where none of them covers a training, there is no expected loss.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lmlab.data.dataset import Dataset
from lmlab.data.reading import reading
from lmlab.model.cost import parameters
from lmlab.model.families import family_of
from lmlab.planning.forecasts.calibration import Calibration
from lmlab.planning.forecasts.history import Finished, same_training, style_of
from lmlab.planning.losses.known_law import (
    FURTHEST,
    KnownLaw,
    anchored,
    law_of_small_runs,
    near,
    own_law,
    published_law,
)
from lmlab.planning.losses.ladder import DESIGN, remembered
from lmlab.planning.losses.small_runs import SmallRun, like_small_runs, same_published
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import WITHIN, Estimate
from lmlab.scaling.estimate import Evidence as Kind
from lmlab.scaling.fit import FEWEST_POINTS, FittedLaw, fit_law
from lmlab.scaling.ladder import ladder_law
from lmlab.scaling.law import effective_tokens
from lmlab.stats import student_quantile

THROUGH = "through the loss that this recipe is known to reach"
SEED_SPREAD = 0.005
"""Standard deviation of log-loss among seeds: .0155 of 3.69 in twelve trainings of one recipe, less within one order of data."""
VERSION_SPREAD = 0.02
"""The same for another release of a text, such as Python's standard library: not measured."""
FEWEST_RUNS = max(FEWEST_POINTS, 5)
OWN_WORTH = 8.0
"""The weight of a forecast's own interval, in earlier forecasts."""

Law = Callable[[float, float], float | None]
"""(parameters in matrix products, fresh tokens) -> nats a token; None where the law doesn't cover them."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known about the loss of a training."""

    loss: Estimate | None
    """The loss of the last step over the whole validation split, in nats a token; None where nothing is known."""
    law: Law | None
    """A law for similar trainings; None where no law covers this one."""
    law_rests_on: str


def evidence_for(
    recipe: Recipe,
    dataset: Dataset,
    steps: int,
    runs: Sequence[Finished],
    calibrations: Mapping[str, Calibration],
) -> Evidence:
    """Return the best evidence for a training of `steps` steps: none for one of adapters, which begins from trained weights."""
    if recipe.train.lora_rank:
        return Evidence(loss=None, law=None, law_rests_on="no law covers a training from trained weights")
    found = _of_laws(recipe, dataset, steps, runs, calibrations)
    known = _of_the_same(recipe, dataset, steps, runs)
    if known is None or found.law is None or found.loss is None:
        return dataclasses.replace(found, loss=known or found.loss)
    # Scaled so that a figure of other sizes passes through the known loss of this one.
    factor, law = known.value / found.loss.value, found.law

    def through(matrix: float, fresh: float) -> float | None:
        value = law(matrix, fresh)
        return None if value is None else factor * value

    return Evidence(loss=known, law=through, law_rests_on=f"{found.law_rests_on}, {THROUGH}")


def _of_the_same(recipe: Recipe, dataset: Dataset, steps: int, runs: Sequence[Finished]) -> Estimate | None:
    """Return the loss of the same training from earlier runs, here or published by lmlab; None where it wasn't run."""
    alike = same_training(list(runs), recipe, dataset.id)
    if alike:
        words = f"{len(alike)} earlier run{'s' * (len(alike) > 1)} of this recipe on this text"
        return _as_before([run.loss for run in alike], words)
    published, same_text = same_published(recipe, dataset)
    # Steps that follow from epochs depend on the length of the text.
    published = [run for run in published if run.steps == steps]
    return _as_published(published, same_text) if published else None


def _of_laws(
    recipe: Recipe,
    dataset: Dataset,
    steps: int,
    runs: Sequence[Finished],
    calibrations: Mapping[str, Calibration],
) -> Evidence:
    vocabulary, read = dataset.vocabulary_size, reading(recipe, dataset)
    size = parameters(recipe.model, vocabulary)["matrix"]
    tokens, unique_tokens = read.tokens(steps * recipe.train.batch), read.unique_tokens
    # Repeated tokens count as fewer fresh ones, in every law.
    worth = effective_tokens(tokens, unique_tokens)
    points = remembered(recipe, dataset.id, steps)
    if len(points) == len(DESIGN):
        ladder = ladder_law(points, steps)
        expected = ladder.expected()
        return Evidence(
            loss=_corrected(expected, calibrations),
            law=_within(size, worth, lambda matrix, fresh: ladder.loss(matrix / size, fresh / worth)),
            law_rests_on=f"{expected.rests_on}, less certain for sizes far from this one",
        )
    law = law_of(runs, recipe, dataset.id)
    if law is not None and near(law, size, tokens):
        fitted = law.expected(size, tokens, unique_tokens)
        return Evidence(
            loss=_corrected(fitted, calibrations),
            law=_within(size, worth, law.law.loss),
            law_rests_on=fitted.rests_on,
        )
    other = law_of_others(recipe, dataset, steps)
    loss = None if other is None else other.expected(other.size(recipe), tokens, unique_tokens)
    if other is None or loss is None:
        return Evidence(loss=None, law=None, law_rests_on="")
    return Evidence(loss=loss, law=_values_of(other, other.size(recipe) / size), law_rests_on=loss.rests_on)


def law_for(recipe: Recipe, dataset: Dataset, steps: int, runs: Sequence[Finished]) -> KnownLaw:
    """Return the law that ranks other sizes and lengths of a training. There is always one, though its expected loss may be
    None."""
    fitted = law_of(runs, recipe, dataset.id)
    if fitted is not None:
        return own_law(fitted, dataset.vocabulary_size)
    law = law_of_others(recipe, dataset, steps) or published_law(dataset.vocabulary_size)
    same, read = _of_the_same(recipe, dataset, steps, runs), reading(recipe, dataset)
    tokens = read.tokens(steps * recipe.train.batch)
    expected = law.expected(law.size(recipe), tokens, read.unique_tokens)
    return law if same is None or expected is None else anchored(law, same.value / expected.value, THROUGH)


def law_of_others(recipe: Recipe, dataset: Dataset, steps: int) -> KnownLaw | None:
    """Return the law of runs on other texts that covers a training: of lmlab's small runs, or of large models; None for other
    kinds."""
    like = like_small_runs(recipe, dataset, steps)
    if like is not None and like.expected(like.traits) is not None:
        return law_of_small_runs(like, dataset.vocabulary_size)
    return published_law(dataset.vocabulary_size) if family_of(recipe.model).follows_published_laws else None


def _within(size: float, tokens: float, law: Callable[[float, float], float]) -> Law:
    """Restrict a law to trainings with at most FURTHEST times this size and length, or that fraction of them."""

    def asked(matrix: float, fresh: float) -> float | None:
        far = max(matrix / size, size / matrix, fresh / tokens, tokens / fresh)
        return law(matrix, fresh) if far <= FURTHEST else None

    return asked


def _values_of(known: KnownLaw, counted: float) -> Law:
    """Return a known law as a function of matrix parameters, of which it counts `counted` times as many, and fresh tokens."""

    def asked(matrix: float, fresh: float) -> float | None:
        found = known.expected(matrix * counted, fresh, fresh)
        return None if found is None else found.value

    return asked


def law_of(runs: Sequence[Finished], recipe: Recipe, data_id: str) -> FittedLaw | None:
    """Fit a law to the finished runs that differ from `recipe` only in size, length, batch and rates; None where they are too
    few."""
    style = style_of(recipe)
    points = [run.point() for run in runs if run.data_id == data_id and run.style == style]
    distinct = {(point.parameters, point.tokens) for point in points}
    return fit_law(points) if len(distinct) >= FEWEST_RUNS else None


def _as_before(losses: Sequence[float], words: str) -> Estimate:
    """Return the mean loss of the same training's earlier runs, with the spread of seeds or of these runs."""
    among = statistics.stdev(map(math.log, losses)) if len(losses) > 2 else 0.0
    return _around(statistics.mean(losses), max(SEED_SPREAD, among), len(losses), "measured", words)


def _as_published(runs: Sequence[SmallRun], same_text: bool) -> Estimate:
    """Return the mean over the published seeds."""
    seeds = sum(run.seeds for run in runs)
    mean = sum(run.loss * run.seeds for run in runs) / seeds
    text = "this text" if same_text else "another version of this text"
    words = f"lmlab's published result of this recipe on {text} ({seeds} seed{'s' * (seeds > 1)})"
    return _around(mean, SEED_SPREAD if same_text else VERSION_SPREAD, seeds, "published", words)


def _around(middle: float, spread: float, count: int, evidence: Kind, words: str) -> Estimate:
    width = 1.4 * spread * math.sqrt(1 + 1 / count)
    low, high = middle * math.exp(-width), middle * math.exp(width)
    return Estimate(value=middle, low=low, high=high, evidence=evidence, rests_on=words)


def _corrected(estimate: Estimate, calibrations: Mapping[str, Calibration]) -> Estimate:
    """Return the estimate with the interval calibrated by earlier forecasts; the middle stays, since each rests on other
    trainings."""
    known = calibrations.get("final_loss")
    if known is None or not known.runs:
        return estimate
    # The middle stays, so the mean is known, errors count from 0, and the interval is that of Student's t with only the variance
    # unknown; its prior is the forecast's own interval, weighted as OWN_WORTH earlier ones (Gelman et al., BDA, section 2.6).
    own = math.log(estimate.high / estimate.low) / 2 / student_quantile(WITHIN, OWN_WORTH)
    scale = math.sqrt((OWN_WORTH * own**2 + known.squares) / (OWN_WORTH + known.runs))
    width = student_quantile(WITHIN, OWN_WORTH + known.runs) * scale
    return dataclasses.replace(estimate, low=estimate.value * math.exp(-width), high=estimate.value * math.exp(width))
