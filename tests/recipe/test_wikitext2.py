"""The recipes of the context-propagation model on WikiText-2: common settings, the counts in their source, and differences."""

import pytest

from lmlab.data.preparation import prepare
from lmlab.data.reading import reading, scored_targets
from lmlab.data.windows import split_windows
from lmlab.model.cost import flops_per_token, parameters
from lmlab.optim.limit import clip_limit
from lmlab.optim.schedule import rate_share
from lmlab.recipe import differences, load_recipe, override, recipe_names
from lmlab.training.evaluating import plan_evaluations
from lmlab.training.length import planned_steps
from tests.shared import shared_data

OWN = ("wikitext2-context-best", "wikitext2-gpt")
NAMES = [name for name in recipe_names() if name.startswith("wikitext2-") and name not in OWN]
SEQUENCES = 25 * 2048
"""Sequences of an epoch: 51,026, and empty ones that complete the last batch."""


def between(one, other):
    """setting -> (value in one, value in the other)."""
    return differences(load_recipe(f"wikitext2-context-{one}"), load_recipe(f"wikitext2-context-{other}"))


def test_they_are_all_there():
    ends = ("a", "advanced", "advanced-as-run", "b", "baseline", "baseline-as-run", "c", "clip", "warmup")
    assert [f"wikitext2-context-{end}" for end in ends] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_that_the_source_counts(name):
    recipe = load_recipe(name)
    width, hidden, vector, layers, vocabulary = 256, 512, recipe.model.vector, recipe.model.layers, 1000
    counted = (
        vocabulary * width  # embedding
        + (width + vector) * hidden
        + hidden
        + (layers - 1) * (hidden**2 + hidden)
        + hidden * vocabulary
        + vocabulary
        + 3 * (hidden * vector + vector)  # change, forget, input
        + 2 * vector  # norm
    )
    assert counted == (2_739_432 if "baseline" in name else 4_840_936)
    assert parameters(recipe.model, recipe.published_vocabulary)["total"] == counted
    claimed = [claim.value for claim in recipe.claims if claim.metric == "parameters"]
    assert claimed in ([], [counted])


@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_is_25_steps_with_one_evaluation_of_the_whole_split(name):
    recipe = load_recipe(name)
    steps = planned_steps(recipe, SEQUENCES)
    assert steps == 25 * recipe.train.epochs and recipe.evaluate.every == 25
    assert plan_evaluations(recipe, steps, 5_272 * 63, 51_026 * 63).whole


@pytest.mark.parametrize("name", OWN)
def test_those_of_our_own_read_the_same_sequences_and_the_gpt_costs_as_much_as_the_best(name):
    recipe, published = load_recipe(name), load_recipe("wikitext2-context-baseline")
    assert recipe.data == published.data and recipe.model.context == published.model.context
    best = load_recipe("wikitext2-context-best")
    assert (recipe.train.batch, recipe.train.epochs) == (best.train.batch, best.train.epochs)
    costs = [flops_per_token(one.model, 1000).training for one in (recipe, best, published)]
    assert costs[0] == pytest.approx(costs[1], rel=0.06) and costs[1] < costs[2]


def test_what_the_code_did_differs_from_the_document_in_clipping_and_patience_only():
    changed = {"optim.clip", "optim.clip_steps", "optim.clip_then", "train.patience", "train.minimum_gain"}
    for size in ("baseline", "advanced"):
        assert set(between(size, f"{size}-as-run")) == changed
        recipe = load_recipe(f"wikitext2-context-{size}-as-run")
        limits = [clip_limit(recipe.optim, 25 * epoch + step) for epoch in range(50) for step in range(25)]
        assert limits == [0.5] * 250 + [1.0] * 500 + [2.0] * 500
    assert load_recipe("wikitext2-context-advanced-as-run").train.precision == "fp32"


def test_the_proposals_differ_from_the_larger_model_in_what_they_propose():
    assert between("baseline", "advanced") == {"model.layers": (6, 12), "model.vector": (256, 512)}
    half, longer = {"optim.lr": (4e-4, 2e-4)}, {"train.epochs": (50.0, 150.0), "train.patience": (15, 30)}
    assert between("advanced", "a") == half
    assert between("advanced", "b") == longer
    assert between("advanced", "c") == half | longer
    assert between("advanced", "clip") == {"optim.clip": (1.0, 0.5)}
    assert between("advanced", "warmup") == {"schedule.warmup": (0, 125), "schedule.warmup_from": (None, 0.25)}


def test_the_warm_up_reaches_its_peak_after_five_epochs():
    recipe = load_recipe("wikitext2-context-warmup")
    rates = [recipe.optim.lr * rate_share(recipe.schedule, 1250, step) for step in range(127)]
    assert rates[:125] == sorted(set(rates[:125])) and rates[125] == rates[126] == 4e-4
    assert rates[0] == pytest.approx(1e-4)
    assert rates[25] == pytest.approx(1e-4 + 3e-4 / 5), "a straight line: a fifth of the way after each epoch"


@pytest.mark.slow
def test_wikitext_2_gives_these_recipes_the_published_number_of_sequences(tmp_path):
    recipe = override(load_recipe(NAMES[0]), {"data.corpus": str(shared_data("wikitext-2"))})
    dataset = prepare(recipe.data, tmp_path)
    counts = {split: split_windows(recipe, dataset, split).count for split in ("train", "valid", "test")}
    assert counts == {"train": 51_026, "valid": 5_272, "test": 5_920}
    assert dataset.vocabulary_size == 1000
    assert reading(recipe, dataset).sequences == SEQUENCES
    assert plan_evaluations(recipe, 1250, scored_targets(recipe, dataset, "valid"), 1 << 20).whole
