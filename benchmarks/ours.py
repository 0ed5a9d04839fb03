"""lmlab's side, in a worker process: a training step, a generation, a batch, each through the functions that a run uses."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Literal

from benchmarks.shapes import Shape, parameter_counts, recipe_for
from benchmarks.turns import Work
from lmlab.recipe import Recipe, override


def training(threads: int, shape: dict[str, Any], corpus: str, engine: str, compiled: bool = False) -> Work:
    """Whole training steps of the faithful recipe at that shape, batch included."""
    from lmlab.data.preparation import prepare
    from lmlab.training.state import State

    recipe = recipe_for(Shape(**shape), Path(corpus), threads, engine)
    if compiled:
        recipe = override(recipe, {"train.compile": "on"})
    dataset = prepare(recipe.data)
    step = build_step(recipe, dataset.tokens("train"), dataset.vocabulary_size)
    state = State()

    def run(steps: int) -> None:
        for _ in range(steps):
            if not step.take(state).finite:
                raise RuntimeError("a step's loss or gradient was not finite")
            state.step += 1
            state.cursor += recipe.train.batch

    facts = {
        "tokens": recipe.train.batch * recipe.model.context,
        "parameters": parameter_counts(recipe.model, dataset.vocabulary_size),
        "vocabulary": dataset.vocabulary_size,
        "policy": step.policy.to_json(),
    }
    return Work(run=run, facts=facts)


def build_step(recipe: Recipe, tokens: Any, vocabulary: int) -> Any:
    """The training step of a recipe, with a fresh model and optimizer, as a run builds it."""
    from lmlab.training.policy import choose_policy
    from lmlab.training.setup import set_up

    return set_up(recipe, choose_policy(recipe), tokens, vocabulary, recipe.train.steps).step


def generation(
    threads: int, shape: dict[str, Any], corpus: str, streams: int, engine: Literal["auto", "torch"]
) -> Work:
    """Generations from one newline to the last token of the context, so many side by side; the weights are random."""
    from lmlab.data.preparation import prepare
    from lmlab.generation.decoding import generate
    from lmlab.generation.settings import Sampling
    from lmlab.hardware.threads import use_threads
    from lmlab.model.build import build_model
    from lmlab.model.initial import initialise

    use_threads(threads)
    recipe = recipe_for(Shape(**shape), Path(corpus), threads)
    dataset = prepare(recipe.data)
    model = build_model(recipe.model, dataset.vocabulary_size)
    initialise(model, recipe.train.seed)
    model.engine = engine
    model.eval()  # as a loaded model is, nanoGPT's too
    tokens = recipe.model.context - 1
    seeds = itertools.count(1)

    def run(generations: int) -> None:
        for _ in range(generations):
            sampling = Sampling(temperature=0.8, top_k=200, tokens=tokens, seed=next(seeds))
            written = generate(model, dataset.tokenizer, ["\n"] * streams, sampling)
            assert all(completion.tokens == tokens for completion in written)

    parameters = parameter_counts(recipe.model, dataset.vocabulary_size)
    return Work(run=run, facts={"tokens": streams * tokens, "parameters": parameters})


def batches(threads: int, shape: dict[str, Any], corpus: str, order: str) -> Work:
    """Batches of that shape in that order, from the token file."""
    from lmlab.data.order import batch_at
    from lmlab.data.preparation import prepare

    recipe = recipe_for(Shape(**shape), Path(corpus), threads)
    tokens = prepare(recipe.data).tokens("train")
    context, batch = recipe.model.context, recipe.train.batch
    cursors = itertools.count(0, batch)

    def run(count: int) -> None:
        for _ in range(count):
            batch_at(tokens, order, recipe.train.seed, context, next(cursors), batch)

    return Work(run=run, facts={"tokens": batch * context})


def order_alone(threads: int, shape: dict[str, Any], corpus: str, order: str) -> Work:
    """Where the batches' windows start, without reading their tokens."""
    from lmlab.data.order import window_starts
    from lmlab.data.preparation import prepare

    recipe = recipe_for(Shape(**shape), Path(corpus), threads)
    tokens = len(prepare(recipe.data).tokens("train"))
    context, batch = recipe.model.context, recipe.train.batch
    cursors = itertools.count(0, batch)

    def run(count: int) -> None:
        for _ in range(count):
            window_starts(order, recipe.train.seed, tokens, context, next(cursors), batch)

    return Work(run=run, facts={"tokens": batch * context})


def gathered(threads: int, shape: dict[str, Any], corpus: str) -> Work:
    """The least that a batch can cost in torch: random windows out of a tensor in memory, by one index operation."""
    import torch

    from lmlab.data.preparation import prepare
    from lmlab.hardware.threads import use_threads

    use_threads(threads)
    recipe = recipe_for(Shape(**shape), Path(corpus), threads)
    tokens = torch.from_numpy(prepare(recipe.data).tokens("train").astype("int64"))
    context, batch = recipe.model.context, recipe.train.batch
    places = torch.arange(context + 1)

    def run(count: int) -> None:
        for _ in range(count):
            starts = torch.randint(len(tokens) - context, (batch, 1))
            windows = tokens[starts + places]
            windows[:, :-1].contiguous()
            windows[:, 1:].contiguous()

    return Work(run=run, facts={"tokens": batch * context})
