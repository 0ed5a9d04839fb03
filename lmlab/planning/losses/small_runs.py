"""Published small runs of lmlab: the results of identical trainings, and a law for similar ones.

`small_runs.json` is made by `python -m benchmarks.small_runs` from the figures in this repository's docs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from lmlab.data.dataset import Dataset
from lmlab.data.reading import reading
from lmlab.files import read_json
from lmlab.model.cost import has_tables, parameters
from lmlab.model.families import family_of
from lmlab.planning.texts.choose import MOST_EPOCHS
from lmlab.recipe import AdamW, Muon, Recipe, recipe_hash
from lmlab.scaling.estimate import Estimate
from lmlab.scaling.law import effective_tokens
from lmlab.scaling.ngram import LONGEST, best_loss, ngram_losses
from lmlab.scaling.region import beyond
from lmlab.scaling.small_law import SmallLaw, SmallPoint, Traits

DATA = Path(__file__).with_name("small_runs.json")
COUNTED_TOKENS, SCORED_TOKENS = 1_000_000, 30_000
"""Tokens of the training and the validation split for the n-gram model, which take half a second to count."""
FEWEST_TOKENS = 20_000
"""A shorter training split has too few n-grams for a comparison with other texts."""
LARGEST_VOCABULARY = 2_048
"""The published runs have up to 1,024 tokens."""
FURTHEST = math.log(4.0)
"""The range of the law outside the published runs' sizes and lengths, as a logarithm."""
RATE_MARGIN = 1.5
"""Likewise outside their learning rates, as a factor."""
MOST_DROPOUT = 0.25


@dataclass(frozen=True, kw_only=True)
class SmallRun:
    """One published run, or the mean of several seeds."""

    source: str
    """Where it was published."""
    text: str
    recipe: str
    """The recipe's hash without the seed."""
    data_id: str
    parameters: int
    """Parameters by which every token is multiplied."""
    tokens: int
    unique_tokens: int
    steps: int
    optimizer: str
    rate: float
    tables: bool
    transferred: bool
    """Whether its rates come from a smaller model (`optim.transfer_from`)."""
    ngram_loss: float
    """Nats a token of the best n-gram model of the text."""
    bigram_loss: float
    loss: float
    """Nats a token over the whole validation split."""
    seeds: int

    @property
    def study(self) -> str:
        """The study in which it was published."""
        return self.source.partition(":")[0]

    @property
    def traits(self) -> Traits:
        """The inputs of the law."""
        return Traits(
            parameters=self.parameters,
            tokens=effective_tokens(self.tokens, self.unique_tokens),
            ngram_loss=self.ngram_loss,
            bigram_loss=self.bigram_loss,
            muon=self.optimizer == "muon",
            tables=self.tables,
        )

    def point(self) -> SmallPoint:
        """Return the run as a point for the fit."""
        return SmallPoint(traits=self.traits, loss=self.loss, text=self.text, study=self.study)

    def to_json(self) -> dict[str, Any]:
        """Return the run as a row of the table."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read a row of the table."""
        return cls(**value)


def small_run(source: str, text: str, recipe: Recipe, dataset: Dataset, loss: float, seeds: int) -> SmallRun:
    """Return the row of a run of `recipe` on `dataset`; LabError or ValueError where the text is too short for its n-gram
    losses."""
    read = reading(recipe, dataset)
    ngram, bigram = text_losses(dataset)
    optim = recipe.optim
    return SmallRun(
        source=source,
        text=text,
        recipe=hash_without_seed(recipe),
        data_id=dataset.id,
        parameters=parameters(recipe.model, dataset.vocabulary_size)["matrix"],
        tokens=read.tokens(recipe.train.steps * recipe.train.batch),
        unique_tokens=read.unique_tokens,
        steps=recipe.train.steps,
        optimizer=optim.kind,
        rate=optim.lr,
        tables=has_tables(recipe.model),
        transferred=bool(optim.transfer_from),
        ngram_loss=ngram,
        bigram_loss=bigram,
        loss=loss,
        seeds=seeds,
    )


def hash_without_seed(recipe: Recipe) -> str:
    """Return a hash that is equal for recipes that differ only in the seed."""
    return recipe_hash(dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=0)))


@functools.lru_cache(maxsize=8)
def text_losses(dataset: Dataset) -> tuple[float, float]:
    """Return the nats a token of the best n-gram model of a data set, and of its bigram model; ValueError where its splits are too
    short."""
    train, valid = dataset.tokens("train")[:COUNTED_TOKENS], dataset.tokens("valid")[:SCORED_TOKENS]
    vocabulary = dataset.vocabulary_size
    return best_loss(train, valid, vocabulary), ngram_losses(train, valid, vocabulary, 2)[1]


@functools.cache
def published_runs() -> tuple[SmallRun, ...]:
    """Return the rows of the table that comes with lmlab."""
    return tuple(SmallRun.from_json(row) for row in read_json(DATA)["runs"])


@functools.cache
def small_law() -> SmallLaw:
    """Return the law of these runs, as it was fitted when the table was made."""
    return SmallLaw.from_json(read_json(DATA)["law"])


def points_of(runs: Iterable[SmallRun]) -> list[SmallPoint]:
    """Return the points for fitting the law, without runs whose rates come from a smaller model, which learn more slowly."""
    return [run.point() for run in runs if not run.transferred]


def same_published(recipe: Recipe, dataset: Dataset) -> tuple[list[SmallRun], bool]:
    """Return the published runs of the same recipe with any seed, and whether they are on the same data.

    Where none is, those on another version of the same text: Python's standard library differs between releases.
    """
    wanted = hash_without_seed(recipe)
    alike = [run for run in published_runs() if run.recipe == wanted]
    same = [run for run in alike if run.data_id == dataset.id]
    return (same, True) if same else ([run for run in alike if run.text == recipe.data.corpus == "stdlib"], False)


@dataclass(frozen=True, kw_only=True)
class Like:
    """A training that the law of small runs covers, with other sizes and lengths of it."""

    law: SmallLaw
    traits: Traits
    runs: tuple[SmallRun, ...]

    def at(self, matrix: float, tokens: float) -> Traits:
        """Return the same training with another size, on so many fresh tokens."""
        return dataclasses.replace(self.traits, parameters=matrix, tokens=tokens)

    def expected(self, traits: Traits) -> Estimate | None:
        """Return the loss of the same training with that size and length; None more than FURTHEST outside those of published
        runs."""
        away = beyond(
            [(run.traits.parameters, run.traits.tokens) for run in self.runs], (traits.parameters, traits.tokens)
        )
        return self.law.expected(traits, away) if away <= FURTHEST else None


def like_small_runs(recipe: Recipe, dataset: Dataset, steps: int) -> Like | None:
    """Return the law's inputs for a training; None where it differs from all published runs in kind.

    These are transformers with AdamW or Muon at usual rates that read a text as one stream, at most MOST_EPOCHS times, with up to
    1,024 characters or BPE tokens.
    """
    runs = [run for run in published_runs() if not run.transferred and run.optimizer == recipe.optim.kind]
    optim, read = recipe.optim, reading(recipe, dataset)
    tokens = read.tokens(steps * recipe.train.batch)
    alike = (
        family_of(recipe.model).follows_published_laws
        and isinstance(optim, AdamW | Muon)
        and not optim.transfer_from
        and not recipe.data.by_document
        and dataset.vocabulary_size <= LARGEST_VOCABULARY
        and recipe.model.dropout <= MOST_DROPOUT
        and read.unique_tokens >= FEWEST_TOKENS
        and tokens <= MOST_EPOCHS * read.unique_tokens
        and bool(runs)
        and steps >= min(run.steps for run in runs)
        and min(run.rate for run in runs) / RATE_MARGIN <= optim.lr <= max(run.rate for run in runs) * RATE_MARGIN
    )
    if not alike or len(dataset.tokens("valid")) <= LONGEST:
        return None
    ngram, bigram = text_losses(dataset)
    traits = Traits(
        parameters=parameters(recipe.model, dataset.vocabulary_size)["matrix"],
        tokens=effective_tokens(tokens, read.unique_tokens),
        ngram_loss=ngram,
        bigram_loss=bigram,
        muon=optim.kind == "muon",
        tables=has_tables(recipe.model),
    )
    return Like(law=small_law(), traits=traits, runs=tuple(runs))
