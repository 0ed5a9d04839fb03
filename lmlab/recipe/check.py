"""Impossible combinations of settings, detected before anything is read or built."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from lmlab import LabError
from lmlab.recipe.divisors import nearest_divisor
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.optim import Optim
from lmlab.recipe.quantities import bytes_in, seconds_in

BYTE_LEVEL_SYMBOLS = 257
"""256 bytes and the end of text: the smallest vocabulary of a byte-level BPE."""


def check(recipe: Recipe) -> Recipe:
    """Return `recipe`; raises LabError with the first impossible combination in it."""
    for problem in problems(recipe):
        raise LabError(problem)
    return recipe


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield a line for each impossible combination."""
    yield from recipe.model.problems()
    yield from _data_problems(recipe)
    yield from _clip_problems(recipe.optim)
    sizes = recipe.model.transfer_sizes
    if recipe.optim.transfer_from and not sizes:
        yield f"optim.transfer_from has no rule for model.kind {recipe.model.kind}: leave it out"
    elif len(recipe.optim.transfer_from) > len(sizes):
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
    spanned = schedule.steps
    if train.epochs is None or spanned is not None:
        span = spanned or train.steps
        if schedule.warmup > span:
            of = "train.steps" if spanned is None else "schedule.steps"
            yield (
                f"schedule.warmup {schedule.warmup} is longer than {of} {span}: expected a warm-up of at most {span}, or more "
                "steps"
            )


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
    yield from _conversation_problems(recipe)
    if data.test_share and data.split not in ("hash", "sequential"):
        yield f"data.test_share {data.test_share:g} is for data.split hash and sequential, but it is {data.split}: leave it out"
    if data.test_share + data.valid_share >= 1:
        yield f"data.valid_share and data.test_share are {data.valid_share + data.test_share:g} together: expected less than 1"
    if data.tokens is not None and data.tokens <= recipe.model.context:
        yield f"data.tokens {data.tokens} is shorter than one window: expected more than model.context {recipe.model.context}"


def _conversation_problems(recipe: Recipe) -> Iterator[str]:
    data = recipe.data
    if not data.conversations:
        if data.targets != "all":
            yield f"data.targets {data.targets} is for conversations: expected a data.template, or data.targets all"
        return
    if data.windows not in ("cropped", "bucketed", "packed"):
        yield f"data.windows {data.windows} would cut conversations in two: expected cropped, bucketed or packed with a template"
    if data.split not in ("auto", "hash", "sequential", "published"):
        yield f"data.split {data.split} isn't for conversations: expected sequential, hash or published"
    for name, unset in (("separator", ""), ("minimum_words", 0), ("newlines", "keep"), ("tokens", None)):
        if getattr(data, name) != unset:
            yield f"data.{name} is for plain text, but data.template is {data.template}: leave it out"


def _window_problems(recipe: Recipe) -> Iterator[str]:
    data, context = recipe.data, recipe.model.context
    if data.order == "documents" and data.fresh:
        yield (
            "data.fresh isn't possible with data.order documents, in which the tokens that a run has used aren't known: choose "
            "another order"
        )
    if data.windows == "stream":
        if data.stride is not None:
            yield (
                f"data.stride {data.stride} is for windows of documents, but data.windows is stream: expected data.windows "
                "documents, or no stride"
            )
        return
    if data.order != "shuffle":
        yield f"data.order {data.order} cuts the text as one stream: expected shuffle with data.windows {data.windows}"
    if data.fresh:
        yield "data.fresh isn't possible with windows of documents, which overlap: leave data.fresh out, or use data.windows stream"
    if data.windows != "documents" and data.stride is not None:
        yield f"data.stride {data.stride} is for several windows of a document, but data.windows is {data.windows}: leave it out"
    elif data.stride is not None and data.stride > context:
        yield f"data.stride {data.stride} would pass over tokens between windows: expected at most model.context {context}"
