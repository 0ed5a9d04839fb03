"""Tokens a second of models that weren't measured, from a few that were, or from a card's datasheet.

A machine's speed is measured as achieved FLOP/s. These depend on the model's size far less than tokens a second do, and grow with
it until the processor is saturated; so they are measured at a few sizes and interpolated on logarithmic axes. Beyond the largest
they are taken as constant, and the interval widens.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmlab import LabError
from lmlab.data.fresh import TrainingTokens
from lmlab.hardware.cards import (
    BYTES,
    SEVERAL,
    Card,
    Fusing,
    achieved_flops,
    least_recurrent_seconds,
    least_step_seconds,
    update_seconds,
)
from lmlab.hardware.cards import SPREAD as CARD_SPREAD
from lmlab.model.cost import flops_per_token, parameters
from lmlab.model.families import family_of
from lmlab.planning.inverse.shapes import shapes_like
from lmlab.planning.trials.probe import probe
from lmlab.planning.trials.store import facts_of_steps, measured
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Estimate
from lmlab.training.memory import micro_batch
from lmlab.training.policy import Policy

Speed = Callable[[Recipe], Estimate]
"""Tokens a second of training with a recipe, including the padding of windows."""

SIZES = (0.1, 1.0, 8.0, 64.0)
"""FLOPs per token of the models that are measured, as multiples of the recipe's own."""
LONGEST_STEP_FLOPS = 5e10
"""FLOPs of a measured step: at most about half a second on a slow CPU. A larger model is measured with fewer sequences."""
LARGEST_SEQUENCE_FLOPS = 2e11
"""FLOPs of one sequence above which a model isn't measured."""
GPU_TIMES = 100.0
"""The factor of those limits on a GPU."""
WARM_UP_STEPS, TIMED_STEPS = 2, 6
PROBE_SECONDS = 1.5
SPREAD = 1.1
"""Half-width as a factor, at a measured size or between two: other batches, other shapes, other work on the machine."""
SPREAD_BEYOND = 0.1
"""The interval's half-width (in logarithms) widens by this for each factor of e beyond the measured sizes."""

RECURRENT_SPREAD = 2.5
"""Half-width as a factor on a card, for a recurrence: there is no published rate of one on a named card."""


@dataclass(frozen=True, kw_only=True)
class SpeedPoint:
    """One size that was measured."""

    flops_a_token: float
    """FLOPs of training."""
    achieved: float
    """FLOP/s."""


@dataclass(frozen=True, kw_only=True)
class MeasuredSpeed:
    """FLOP/s by size, as measured on this machine."""

    points: tuple[SpeedPoint, ...]
    vocabulary: int

    def __call__(self, recipe: Recipe) -> Estimate:
        """Return the tokens a second of training with `recipe`."""
        flops = flops_per_token(recipe.model, self.vocabulary).training
        points = sorted(self.points, key=lambda point: point.flops_a_token)
        sizes = [math.log(point.flops_a_token) for point in points]
        at = math.log(flops)
        achieved = math.exp(np.interp(at, sizes, [math.log(point.achieved) for point in points]))
        beyond = max(0.0, at - sizes[-1], sizes[0] - at)
        factor = SPREAD * math.exp(SPREAD_BEYOND * beyond)
        nearest = min(abs(at - size) for size in sizes)
        return Estimate(
            value=achieved / flops,
            low=achieved / flops / factor,
            high=achieved / flops * factor,
            evidence="extrapolated" if beyond > 0.01 else "measured" if nearest < 0.01 else "fitted",
            rests_on=f"real steps of {len(points)} sizes on this machine",
            alarm=f"{math.exp(beyond):.1f} times beyond the sizes that were measured" if beyond > math.log(1.5) else "",
        )


def measure_speed(
    recipe: Recipe,
    policy: Policy,
    tokens: TrainingTokens,
    vocabulary: int,
    fits: Callable[[Recipe], bool] = lambda recipe: True,
) -> MeasuredSpeed:
    """Measure the speed of models in `recipe`'s style on this machine, by real steps at a few sizes, about 5 s; stored in the
    cache.

    `tokens` is the training split. The steps run in this process, so a model that doesn't fit into memory isn't tried. LabError
    where none fits, or the cache can't be written.
    """
    points = []
    sizes = probed_recipes(recipe, vocabulary, 1.0 if policy.device == "cpu" else GPU_TIMES)
    for probed in filter(fits, sizes):
        flops = flops_per_token(probed.model, vocabulary).training
        # The policy's micro-batch may not divide a reduced batch.
        passes = math.gcd(policy.micro_batch, probed.train.batch)
        here = dataclasses.replace(policy, micro_batch=passes)
        facts = facts_of_steps(probed, vocabulary) | {"batch": [probed.train.batch, passes]}

        def seconds(one: Recipe = probed, chosen: Policy = here) -> dict[str, float]:
            return {"step_seconds": _step_seconds(one, chosen, tokens, vocabulary)}

        step = measured("speed", here, facts, ["step_seconds"], seconds)["step_seconds"]
        step_tokens = probed.train.batch * probed.model.context
        points.append(SpeedPoint(flops_a_token=flops, achieved=flops * step_tokens / step))
    if not points:
        raise LabError(
            f"not even a model {sizes[0].model.width} wide fits into memory: use a smaller model.context, or a smaller "
            "data.vocabulary"
        )
    return MeasuredSpeed(points=tuple(points), vocabulary=vocabulary)


def probed_recipes(recipe: Recipe, vocabulary: int, faster: float = 1.0) -> list[Recipe]:
    """Return the sizes to measure: the recipe's own, and smaller and larger ones in its style within the limits of a probe.

    `faster` multiplies the limits of a slow CPU.
    """
    own = flops_per_token(recipe.model, vocabulary).training
    shapes = shapes_like(recipe)
    chosen = [
        min(shapes, key=lambda shape: abs(math.log(flops_per_token(shape.model, vocabulary).training / (own * size))))
        for size in SIZES
    ]
    found: list[Recipe] = []
    for shape, _ in itertools.groupby(chosen):
        sequence = flops_per_token(shape.model, vocabulary).training * shape.model.context
        if sequence > faster * LARGEST_SEQUENCE_FLOPS and found:
            break
        batch = shape.train.batch
        while batch > 1 and batch * sequence > faster * LONGEST_STEP_FLOPS:
            batch = (batch + 1) // 2
        found.append(dataclasses.replace(shape, train=dataclasses.replace(shape.train, batch=batch, micro_batch=None)))
    return found


def card_speed(card: Card, vocabulary: int) -> Speed:
    """Return the tokens a second on a card that isn't here: from its datasheet, published trainings on such cards, and launches.

    The recipe's precision and `train.compile` count (auto: compiled, as on a card that is here). The gain of fusing operations was
    published for one card, so the interval extends down to a step without fusing. The returned function raises LabError where the
    card lacks that precision.
    """

    alone = dataclasses.replace(card, count=1)

    def speed(recipe: Recipe) -> Estimate:
        one = _one_card_speed(card_share(card, recipe))
        if card.count == 1:
            return one
        together = one.scaled(SEVERAL * card.count)
        rests = f"{one.rests_on} on each of {card.count} cards, which reach {SEVERAL:.0%} of it together"
        return dataclasses.replace(together, high=one.high * card.count, rests_on=rests)

    def _one_card_speed(recipe: Recipe) -> Estimate:
        if family_of(recipe.model).recurrent:
            return _recurrent_speed(alone, recipe, vocabulary)
        compiled = (
            recipe.train.compile != "off" and card.fp16 is not None
        )  # Apple's GPUs have no fp16 peak here, and aren't compiled for
        step = functools.partial(_card_step_seconds, alone, recipe, vocabulary)
        launching = least_step_seconds(recipe.model.layers, compiled)
        width = family_of(recipe.model).product_width(recipe.model)
        usual = step(width, "all" if compiled else "attention", launching)
        unfused = max(0.0, math.log(step(width, "nothing", launching) / usual))
        rate = recipe.train.batch * recipe.model.context / usual
        return Estimate(
            value=rate,
            low=rate * math.exp(-math.hypot(math.log(CARD_SPREAD), unfused)),
            high=min(rate * CARD_SPREAD, _at_the_peak(card, recipe, vocabulary)),
            evidence="published",
            rests_on=f"{card.sheet}, at {rate / _at_the_peak(card, recipe, vocabulary):.0%} of its peak",
        )

    return speed


def _recurrent_speed(card: Card, recipe: Recipe, vocabulary: int) -> Estimate:
    """Return the tokens a second of a recurrence, whose time steps are launched one by one."""
    launching = least_recurrent_seconds(recipe.model.layers, recipe.model.context)
    width = family_of(recipe.model).product_width(recipe.model)
    seconds = _card_step_seconds(card, recipe, vocabulary, width, "nothing", launching)
    rate = recipe.train.batch * recipe.model.context / seconds
    return Estimate(
        value=rate,
        low=rate / RECURRENT_SPREAD,
        high=min(rate * RECURRENT_SPREAD, _at_the_peak(card, recipe, vocabulary)),
        evidence="extrapolated",
        rests_on=f"{card.sheet}, and the kernels that {recipe.model.context} time steps launch one by one",
        alarm="no published training of such a model names its card",
    )


def _card_step_seconds(
    card: Card, recipe: Recipe, vocabulary: int, width: int, fusing: Fusing, launching: float
) -> float:
    """Return the seconds of a step: the passes over its batch, each with the time of its launches, and the update."""
    train, model = recipe.train, recipe.model
    flops = flops_per_token(model, vocabulary).training * train.batch * model.context
    passes = -(-train.batch // card_micro_batch(card, recipe, vocabulary))
    computing = flops / achieved_flops(card, width, train.precision, fusing).value
    return computing + passes * launching + update_seconds(card, parameters(model, vocabulary)["total"])


def _at_the_peak(card: Card, recipe: Recipe, vocabulary: int) -> float:
    """Return the tokens a second at the datasheet's peak of matrix products."""
    precision = card.precision_of(recipe.train.precision)
    return card.peak(precision) / flops_per_token(recipe.model, vocabulary).training


def card_share(card: Card, recipe: Recipe) -> Recipe:
    """Return the recipe with one card's share of a batch."""
    if card.count == 1:
        return recipe
    batch = -(-recipe.train.batch // card.count)
    passes = recipe.train.micro_batch if recipe.train.micro_batch is None else min(recipe.train.micro_batch, batch)
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, batch=batch, micro_batch=passes))


def card_micro_batch(card: Card, recipe: Recipe, vocabulary: int) -> int:
    """Return the sequences of a micro-batch on a card that isn't here, as a policy there chooses them.

    Of several cards each has its share of the batch.
    """
    share = card_share(card, recipe)
    device_type = "cuda" if card.fp16 is not None else "mps"
    return micro_batch(share, vocabulary, device_type, card.memory, BYTES[card.precision_of(recipe.train.precision)])[0]


def _step_seconds(recipe: Recipe, policy: Policy, tokens: TrainingTokens, vocabulary: int) -> float:
    """Return the median time of a few steps after the first ones."""
    began = time.perf_counter()

    def enough(taken: list[float]) -> bool:
        late = time.perf_counter() - began > PROBE_SECONDS
        return len(taken) >= WARM_UP_STEPS + TIMED_STEPS or (late and len(taken) > 1)

    taken, _ = probe(recipe, policy, tokens, vocabulary, recipe.train.steps, enough)
    return statistics.median(taken[min(WARM_UP_STEPS, len(taken) - 1) :])
