"""A ladder costs a tenth of its training at most, and its rungs are trainings of the same kind."""

import pytest

from lmlab.model.cost import flops_per_token
from lmlab.model.families import family_of
from lmlab.planning.losses.ladder import (
    CHEAP_FLOPS,
    CHEAP_SHARE,
    DESIGN,
    MOST_RATE,
    MOST_SHARE,
    SMALL_MODEL_SHARE,
    remember,
    remembered,
    rungs_of,
)
from lmlab.recipe import check, load_recipe, override
from lmlab.recipe.identity import differences
from lmlab.scaling.ladder import LadderPoint


@pytest.mark.parametrize(
    ("name", "vocabulary", "steps"),
    [
        ("shakespeare-cpu", 65, 2000),
        ("stories-10.8m", 110, 5000),
        ("first", 1024, 1600),
        ("shakespeare-124m", 65, 5000),
        ("shakespeare-124m", 50257, 5000),
    ],
)
def test_a_ladder_takes_a_tenth_of_the_arithmetic_at_most_and_differs_in_size_and_length_alone(name, vocabulary, steps):
    recipe = override(load_recipe(name), {"train.steps": str(steps)})
    rungs = rungs_of(recipe, vocabulary, steps)
    assert len(rungs) == len(DESIGN) and [rung.share for rung in rungs] == sorted(rung.share for rung in rungs)
    whole = flops_per_token(recipe.model, vocabulary).training * steps * recipe.train.batch * recipe.model.context
    spent = sum(
        flops_per_token(rung.recipe.model, vocabulary).training
        * rung.recipe.train.steps
        * rung.recipe.train.batch
        * rung.recipe.model.context
        for rung in rungs
    )
    assert spent / whole == pytest.approx(sum(rung.share for rung in rungs)) and spent / whole <= (
        CHEAP_SHARE if whole < CHEAP_FLOPS else MOST_SHARE
    )
    for rung in rungs:
        check(rung.recipe)
        allowed = {
            "train.steps",
            "evaluate.every",
            "schedule.warmup",
            "schedule.steps",
            "model.width",
            "model.heads",
            "optim.lr",
        }
        assert set(differences(recipe, rung.recipe)) <= allowed | {
            *("model.width", "model.heads", "model.kv_heads", "model.hidden", "optim.lr", "optim.transfer_from")
        }


@pytest.mark.parametrize("vocabulary", [65, 1024, 4096])
@pytest.mark.parametrize("width", [16, 32, 48, 64, 80, 96, 128])
def test_a_small_model_has_two_widths_on_its_ladder_too(width, vocabulary):
    shape = {"model.width": str(width), "model.layers": "5", "model.heads": str(width // 16)}
    recipe = override(load_recipe("shakespeare-cpu"), {**shape, "train.steps": "1000"})
    long = [rung for rung in rungs_of(recipe, vocabulary, 1000) if rung.length > 0.1]
    widths = [rung.recipe.model.width for rung in long[-2:]]
    assert widths[0] < widths[1] < width
    assert sum(rung.share for rung in rungs_of(recipe, vocabulary, 1000)) <= SMALL_MODEL_SHARE


def test_the_ladder_is_two_widths_as_long_as_the_training_and_the_narrower_for_less():
    recipe = override(load_recipe("shakespeare-cpu"), {"train.steps": "2000"})
    rungs = rungs_of(recipe, 65, 2000)
    widths = sorted({rung.recipe.model.width for rung in rungs})
    assert len(widths) == 2 and widths[1] < recipe.model.width / 2
    assert {(rung.recipe.model.width, rung.recipe.train.steps) for rung in rungs} == {
        *((widths[0], steps) for steps in (125, 250, 2000)),
        (widths[1], 2000),
    }
    for rung in rungs:
        # No head and no biases here, so that a block's parameters go with the square of its width.
        assert rung.size == pytest.approx((rung.recipe.model.width / recipe.model.width) ** 2)
        assert rung.length == rung.recipe.train.steps / 2000
        assert rung.recipe.schedule.steps in (None, recipe.schedule.steps, round(recipe.schedule.steps * rung.length))


def test_adamw_learns_faster_the_narrower_the_model_but_for_rates_that_are_scaled_already():
    recipe = override(load_recipe("shakespeare-cpu"), {"train.steps": "2000", "optim.lr": "1e-3"})
    for rung in rungs_of(recipe, 65, 2000):
        assert rung.recipe.optim.lr == pytest.approx(1e-3 * recipe.model.width / rung.recipe.model.width)
    fast = override(recipe, {"optim.lr": "1e-2"})
    assert {rung.recipe.optim.lr for rung in rungs_of(fast, 65, 2000)} == {MOST_RATE}
    assert {rung.recipe.optim.transfer_from for rung in rungs_of(recipe, 65, 2000)} == {()}
    words = rungs_of(recipe, 1024, 2000)
    assert {(rung.recipe.optim.lr, rung.recipe.optim.transfer_from) for rung in words} == {(1e-3, (128,))}
    scaled = override(recipe, {"optim.transfer_from": (64,)})
    assert {rung.recipe.optim.lr for rung in rungs_of(scaled, 65, 2000)} == {1e-3}


def test_a_head_that_takes_most_of_the_arithmetic_makes_the_rungs_narrower():
    recipe = override(load_recipe("shakespeare-cpu"), {"train.steps": "2000"})
    widest = [max(rung.recipe.model.width for rung in rungs_of(recipe, size, 2000)) for size in (65, 1024, 8192)]
    assert widest[0] > widest[1] > widest[2]


@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(4, None, 128), (6, 2, 384), (1, None, 48), (12, 12, 768)])
def test_a_narrower_model_keeps_its_head_width_about_and_its_groups(heads, kv_heads, width):
    settings = {"model.heads": str(heads), "model.width": str(width), "model.kv_heads": str(kv_heads or "none")}
    recipe = override(load_recipe("shakespeare-cpu"), settings)
    small = family_of(recipe.model).narrower(recipe.model, 0.25)
    check(
        override(
            recipe,
            {
                "model.heads": str(small.heads),
                "model.width": str(small.width),
                "model.kv_heads": str(small.kv_heads or "none"),
            },
        )
    )
    assert 0.15 <= small.width / width <= 0.5
    if kv_heads:
        assert small.heads // small.kv_heads == heads // kv_heads


def test_what_a_ladder_came_to_is_remembered_for_its_training_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    recipe = load_recipe("shakespeare-cpu")
    points = [LadderPoint(size=0.1 * n, length=0.25 * n, loss=3.0 - 0.2 * n) for n in range(1, 5)]
    assert remembered(recipe, "0" * 16, 2000) == []
    remember(recipe, "0" * 16, 2000, points)
    assert remembered(override(recipe, {"train.seed": "7"}), "0" * 16, 2000) == points
    assert remembered(override(recipe, {"model.layers": "5"}), "0" * 16, 2000) == []
    assert remembered(recipe, "1" * 16, 2000) == [] and remembered(recipe, "0" * 16, 1000) == []
    (path,) = (tmp_path / "ladders").iterdir()
    path.write_text("{}")
    assert remembered(recipe, "0" * 16, 2000) == []
