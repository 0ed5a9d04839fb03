"""Rules for shape, learning rate and batch of sizes that a recipe wasn't tuned for."""

from __future__ import annotations

import pytest

from lmlab.model.build import build_model
from lmlab.model.cost import parameters
from lmlab.optim.groups import parameter_groups
from lmlab.planning.inverse.learning_rates import Tuned
from lmlab.planning.inverse.shapes import counted_parameters, shapes_like
from lmlab.recipe import check, load_recipe, override
from lmlab.recipe.sizes import SIZES
from lmlab.scaling.rates import published_rates


def tuned(name="shakespeare-cpu", **settings):
    recipe = override(load_recipe(name), settings)
    tokens = recipe.train.steps * recipe.train.batch * recipe.model.context
    return Tuned(recipe=recipe, parameters=counted_parameters(recipe, 65), tokens=tokens)


def test_the_recipes_own_size_and_length_keep_its_own_settings():
    base = tuned()
    recipe = base.recipe
    batch = base.batch(base.parameters, base.tokens)
    assert batch == recipe.train.batch
    assert base.rates(recipe.model.width, batch, base.parameters, base.tokens) == {}


def test_adamw_falls_with_width_and_grows_with_the_root_of_the_batch():
    base = tuned(**{"optim.lr": "0.01"})
    assert base.rates(256, 12, 3e6, 2e6) == {"optim.lr": 0.005}
    assert base.rates(128, 48, base.parameters, 2e6) == {"optim.lr": 0.02}


def test_a_rate_that_the_optimizer_transfers_is_not_scaled_to_the_width_twice():
    def rates_of_the_blocks(base):
        """What AdamW really gives the blocks' matrices of a model four times as wide."""
        sized = override(base.recipe, {"model.width": "512", **base.rates(512, 12, 12e6, 2e6)})
        groups = parameter_groups(build_model(sized.model, 65), sized.optim)
        return [group.lr for group in groups if any(name.endswith("up.weight") for name in group.parameters)]

    quarter = pytest.approx([tuned().recipe.optim.lr / 4])
    assert rates_of_the_blocks(tuned()) == quarter
    assert rates_of_the_blocks(tuned(**{"optim.transfer_from": "128"})) == quarter


def test_a_transferred_rate_still_grows_with_the_root_of_the_batch():
    base = tuned(**{"optim.transfer_from": "128"})
    assert base.rates(512, 48, 12e6, 2e6) == {"optim.lr": 0.002}
    muon = tuned("shakespeare-fast", **{"optim.transfer_from": "128"})
    assert muon.rates(512, muon.recipe.train.batch, 12e6, 1e6) == {}


def test_a_rate_far_outside_the_laws_is_drawn_to_their_band():
    base = tuned(**{"optim.lr": "0.01"})
    # 1/32 for the width, 64 for the batch: twice the rate for a model of a billion parameters, where the laws say .001 to .0022.
    _, high = published_rates(1e9, 2e10)
    assert base.rates(4096, 12 * 64**2, 1e9, 2e10)["optim.lr"] == pytest.approx(3 * high, rel=0.02)


def test_muons_rate_stays_and_its_adamws_falls():
    base = tuned("shakespeare-fast")
    assert base.rates(256, 16, 3e6, 1e6) == {"optim.adam_lr": 0.005}


def test_the_batch_grows_slower_than_the_tokens():
    base = tuned()
    four = base.batch(base.parameters, 4 * base.tokens)
    hundred = base.batch(base.parameters, 100 * base.tokens)
    assert 12 < four < 4 * 12 and four < hundred < 100 * 12
    # Always a doubling of the recipe's own, so that micro-batches still divide it.
    assert hundred / 12 in (2, 4, 8, 16)
    assert base.batch(base.parameters, 1_000) == 1


@pytest.mark.parametrize("name", ["shakespeare-cpu", "shakespeare-fast", "the-verdict", "stories-2m"])
def test_every_shape_is_a_recipe_that_can_be(name):
    recipe = load_recipe(name)
    shapes = shapes_like(recipe)
    assert recipe in shapes
    sizes = [counted_parameters(shape, 1000) for shape in shapes]
    assert sizes == sorted(sizes)
    assert all(check(shape).model.context == recipe.model.context for shape in shapes)


def test_shapes_go_through_the_sizes_that_lmlab_knows():
    base = override(load_recipe("shakespeare-cpu"), {"model.width": "96", "model.layers": "3", "model.heads": "3"})
    wide = next(shape for shape in shapes_like(base) if shape.model.width == SIZES["124M"].width)
    assert wide.model.layers == SIZES["124M"].layers


def test_key_heads_and_hidden_width_keep_their_share():
    base = override(
        load_recipe("shakespeare-cpu"), {"model.kv_heads": "2", "model.hidden": "384", "model.activation": "swiglu"}
    )
    for shape in shapes_like(base):
        model = check(shape).model
        assert model.heads % model.kv_heads == 0
        assert model.hidden == pytest.approx(3 * model.width, rel=0.05)


def test_tables_do_not_count_as_size():
    recipe = load_recipe("shakespeare-fast")
    counted = parameters(recipe.model, 65)
    assert counted_parameters(recipe, 65) == counted["total"] - counted["ngrams"]
