"""How much an evaluation during training scores, as a pure function of the recipe and the split."""

from hypothesis import given
from hypothesis import strategies as st

from lmlab.recipe import Recipe, load_recipe, override
from lmlab.training.evaluating import evaluations_in, plan_evaluations


@given(st.integers(100, 20_000), st.integers(1, 64), st.integers(10, 1000), st.integers(1_000, 10_000_000))
def test_evaluations_stay_within_their_share_of_the_training(steps, batch, every, split):
    recipe = override(Recipe(), {"train.steps": str(steps), "train.batch": str(batch), "evaluate.every": str(every)})
    plan = plan_evaluations(recipe, steps, split, 10**9)
    scored = (plan.valid_tokens + plan.train_tokens) * evaluations_in(steps, every)
    least = 2 * 8 * recipe.model.context * evaluations_in(steps, every)
    assert scored <= max(recipe.evaluate.share * steps * batch * recipe.model.context * 3, least)
    assert 0 < plan.valid_tokens <= split


def test_a_split_that_is_cheap_enough_is_scored_whole():
    recipe = load_recipe("shakespeare-gpu")
    assert plan_evaluations(recipe, 5_000, 111_539, 1_003_853).whole
    assert not plan_evaluations(load_recipe("shakespeare-cpu"), 2_000, 111_539, 1_003_853).whole


def test_asking_for_a_number_of_tokens_gets_them():
    recipe = override(Recipe(), {"evaluate.tokens": "5000"})
    assert plan_evaluations(recipe, 1_000, 100_000, 10**6).valid_tokens == 5_000
    assert plan_evaluations(recipe, 1_000, 3_000, 10**6).whole


def test_evaluations_are_at_the_start_at_each_multiple_and_at_the_end():
    assert evaluations_in(2_000, 250) == 9
    assert evaluations_in(2_100, 250) == 10
