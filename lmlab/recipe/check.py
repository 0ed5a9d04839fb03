"""Impossible combinations of settings, detected before anything is read or built."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from lmlab import LabError
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.model import GPT
from lmlab.recipe.optim import Optim
from lmlab.recipe.quantities import bytes_in, seconds_in
from lmlab.recipe.schedule import Constant

BYTE_LEVEL_SYMBOLS = 257
"""256 bytes and the end of text: the smallest vocabulary of a byte-level BPE."""
SIZES_OF_A_TRANSFER = {"gpt": ("width", "layers"), "context": ("hidden width", "layers", "vector")}
MOST_NGRAMS = 4
"""Largest number of n-gram tables of a model; each costs a look-up per token, and long n-grams hardly ever repeat."""


def check(recipe: Recipe) -> Recipe:
    """Return `recipe`; raises LabError with the first impossible combination in it."""
    for problem in problems(recipe):
        raise LabError(problem)
    return recipe


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield a line for each impossible combination."""
    if isinstance(recipe.model, GPT):
        yield from _gpt_problems(recipe.model)
    yield from _data_problems(recipe)
    yield from _clip_problems(recipe.optim)
    sizes = SIZES_OF_A_TRANSFER[recipe.model.kind]
    if len(recipe.optim.transfer_from) > len(sizes):
        yield (
            f"optim.transfer_from has {len(recipe.optim.transfer_from)} numbers: expected at most the {', '.join(sizes[:-1])} and "
            f"{sizes[-1]} at which the rates were tuned"
        )
    train, schedule = recipe.train, recipe.schedule
    if train.micro_batch is not None and train.batch % train.micro_batch:
        near = nearest_divisor(train.batch, train.micro_batch)
        yield f"train.micro_batch {train.micro_batch} must divide train.batch {train.batch}: the nearest that does is {near}"
    for name, value, read in (("train.until", train.until, seconds_in), ("train.disk", train.disk, bytes_in)):
        if value is not None:
            try:
                read(value)
            except LabError as error:
                yield f"{name}: {error}"
    spanned = None if isinstance(schedule, Constant) else schedule.steps
    if train.epochs is None or spanned is not None:
        span = spanned or train.steps
        if schedule.warmup > span:
            of = "train.steps" if spanned is None else "schedule.steps"
            yield (
                f"schedule.warmup {schedule.warmup} is longer than {of} {span}: expected a warm-up of at most {span}, or more "
                "steps"
            )


def _gpt_problems(model: GPT) -> Iterator[str]:
    if model.width % model.heads:
        near = nearest_divisor(model.width, model.heads)
        yield f"model.heads {model.heads} must divide model.width {model.width}: the nearest that does is {near}"
    elif model.positions == "rotary" and (model.width // model.heads) % 2:
        yield (
            f"rotary positions need an even head width, but model.width {model.width} / model.heads {model.heads} is "
            f"{model.width // model.heads}: use another width, or model.positions learned"
        )
    if model.kv_heads is not None and model.heads % model.kv_heads:
        near = nearest_divisor(model.heads, model.kv_heads)
        yield f"model.kv_heads {model.kv_heads} must divide model.heads {model.heads}: the nearest that does is {near}"
    repeated = [length for length in model.ngrams if model.ngrams.count(length) > 1]
    if repeated:
        yield f"model.ngrams names {repeated[0]} more than once: expected each length once, it has one table"
    if len(model.ngrams) > MOST_NGRAMS:
        yield f"model.ngrams has {len(model.ngrams)} lengths: expected at most {MOST_NGRAMS}"


def _clip_problems(optim: Optim) -> Iterator[str]:
    if len(optim.clip_steps) != len(optim.clip_then):
        yield (
            f"optim.clip_steps has {len(optim.clip_steps)} numbers and optim.clip_then {len(optim.clip_then)}: expected a limit in "
            "clip_then for each step in clip_steps"
        )
    for before, after in pairwise(optim.clip_steps):
        if after <= before:
            yield f"optim.clip_steps has {after} after {before}: expected each step above the one before"


def _data_problems(recipe: Recipe) -> Iterator[str]:
    data = recipe.data
    if data.tokenizer == "bpe" and (data.vocabulary is None or data.vocabulary < BYTE_LEVEL_SYMBOLS):
        yield f"data.vocabulary {data.vocabulary} is too small for bpe: expected {BYTE_LEVEL_SYMBOLS} (bytes, end of text) or more"
    yield from _window_problems(recipe)
    if data.tokens is not None and data.tokens <= recipe.model.context:
        yield f"data.tokens {data.tokens} is shorter than one window: expected more than model.context {recipe.model.context}"


def _window_problems(recipe: Recipe) -> Iterator[str]:
    data, context = recipe.data, recipe.model.context
    if data.windows == "stream":
        if data.stride is not None:
            yield (
                f"data.stride {data.stride} is for windows of documents, but data.windows is stream: expected data.windows "
                "documents, or no stride"
            )
        return
    if data.order != "shuffle":
        yield f"data.order {data.order} cuts the text as one stream: expected shuffle with data.windows documents"
    if data.fresh:
        yield "data.fresh isn't possible with windows of documents, which overlap: leave data.fresh out, or use data.windows stream"
    if data.stride is not None and data.stride > context:
        yield f"data.stride {data.stride} would pass over tokens between windows: expected at most model.context {context}"


def nearest_divisor(number: int, target: int) -> int:
    """Return the divisor of `number` nearest to `target`, the smaller of two equally near."""
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return min(
        (divisor for one in small for divisor in (one, number // one)),
        key=lambda divisor: (abs(divisor - target), divisor),
    )
