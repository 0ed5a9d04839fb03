"""The tokens that a run trains on: its whole training split, or with `data.fresh` those that no run before it has used."""

from __future__ import annotations

from collections.abc import Sequence

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.fresh import FreshTokens, TrainingTokens, fresh_windows, training_split
from lmlab.data.ranges import size
from lmlab.data.usage import Use, shared_tokens, unused, used_by
from lmlab.experiment.lineage import Ancestor, ancestor_at, lineage_before
from lmlab.model.adapter_cost import adapted_layers
from lmlab.recipe import Recipe
from lmlab.runs import Run
from lmlab.training.state import State

MOST_NAMED = 3


def training_tokens(recipe: Recipe, dataset: Dataset, lineage: Sequence[Ancestor]) -> TrainingTokens:
    """Return the training split, or the tokens of it that `lineage` has left; LabError where these are unknown, or none."""
    if not recipe.data.fresh:
        return training_split(recipe, dataset)
    tokens = dataset.tokens("train")
    require_parent(recipe, bool(lineage))
    parent = lineage[-1]
    if parent.use.sequences() and not shared_tokens(parent.use.data, dataset.ancestry):
        theirs = parent.use.data[0][0]
        raise LabError(
            f"{parent.title} was trained on data set {theirs}, which {dataset.id} doesn't extend, so the tokens that it has used "
            f"are unknown: add text with lmlab data extend {theirs} PATH, or leave data.fresh out"
        )
    left = unused([ancestor.use for ancestor in lineage], dataset.ancestry)
    windows = fresh_windows(left, recipe.model.context)
    if not windows.count:
        few = f" but {size(left):,}, in pieces shorter than half a window" if len(left) else ""
        raise LabError(
            f"{_titles(lineage)} used all {len(tokens):,} training tokens of data set {dataset.id}{few}: add text with lmlab data "
            f"extend {dataset.whole.id} PATH"
        )
    return FreshTokens(tokens=tokens, unused=left, windows=windows)


def require_parent(recipe: Recipe, there: bool) -> None:
    """Raise LabError for `data.fresh` or adapters without a run to continue from, or for adapters that its model can't have."""
    if adapted_layers(recipe) and not there:
        raise LabError(
            f"train.lora_rank {recipe.train.lora_rank} trains adapters of a run's weights: name the run with --from RUN, or use "
            "--train.lora_rank 0"
        )
    if recipe.data.fresh and not there:
        raise LabError(
            "data.fresh continues from a run, with tokens that it hasn't used: name it with --from RUN, or leave data.fresh out"
        )


def tokens_of_run(run: Run, recipe: Recipe, dataset: Dataset) -> TrainingTokens:
    """Return `training_tokens` for an existing run, by its own lineage."""
    return training_tokens(recipe, dataset, lineage_before(run) if recipe.data.fresh else ())


def require_one_pass(fresh: FreshTokens, recipe: Recipe, steps: int) -> None:
    """Raise LabError unless there are enough fresh windows for so many steps: in a second pass they wouldn't be fresh."""
    batch, count = recipe.train.batch, fresh.windows.count
    if count < batch:
        raise LabError(
            f"only {count:,} windows of fresh tokens are left, less than one train.batch of {batch:,}: expected at most "
            f"--train.batch {count}, or more text (lmlab data extend)"
        )
    if steps * batch > count:
        most = "--train.epochs 1"
        if recipe.train.epochs is None:
            most = f"--train.steps {count // batch} (or {most})"
        raise LabError(
            f"{steps:,} steps of {batch:,} windows need {steps * batch:,}, but only {count:,} are fresh: expected at most {most}, "
            "or more text (lmlab data extend)"
        )


def fresh_lines(
    fresh: FreshTokens, recipe: Recipe, dataset: Dataset, steps: int, lineage: Sequence[Ancestor]
) -> list[str]:
    """Return lines on how many tokens are fresh, how many of them so many steps will use, and how many will be left."""
    batches = Use(
        data=dataset.ancestry,
        seed=recipe.train.seed,
        order=recipe.data.order,
        context=recipe.model.context,
        cursor=(0, steps * recipe.train.batch),
        fresh=True,
    )
    total, reads = size(fresh.unused), size(used_by(batches, fresh.windows))
    lines = [
        f"fresh tokens: {total:,} of the {len(fresh.tokens):,} in the training split were not used by {_titles(lineage)}; they "
        f"make {fresh.windows.count:,} windows",
        f"this run uses {reads:,} of them ({steps * recipe.train.batch:,} windows, each once) and leaves {total - reads:,}",
    ]
    other = [one for one in lineage if one.use.sequences() and not shared_tokens(one.use.data, dataset.ancestry)]
    if other:
        lines.append(f"{_titles(other)} read another data set: text that also occurs in this one counts as fresh")
    return lines


def fresh_left(run: Run, state: State, dataset: Dataset) -> int:
    """Return how many training tokens neither `run`, in that state, nor its lineage has used."""
    lineage = (*lineage_before(run), ancestor_at(run, state))
    return size(unused([ancestor.use for ancestor in lineage], dataset.ancestry))


def _titles(lineage: Sequence[Ancestor]) -> str:
    names = [ancestor.title for ancestor in lineage]
    if len(names) > MOST_NAMED:
        return f"{names[-1]} and the {len(names) - 1} runs before it"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
