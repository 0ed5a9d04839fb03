"""How much an evaluation during training scores, as a pure function of the recipe and the split."""

from hypothesis import given
from hypothesis import strategies as st

from lmlab.recipe import Recipe, load_recipe, override
from lmlab.training.evaluating import earlier_plan, plan_evaluations
from lmlab.training.length import times_in


@given(st.integers(100, 20_000), st.integers(1, 64), st.integers(10, 1000), st.integers(1_000, 10_000_000))
def test_evaluations_stay_within_their_share_of_the_training(steps, batch, every, split):
    recipe = override(Recipe(), {"train.steps": str(steps), "train.batch": str(batch), "evaluate.every": str(every)})
    plan = plan_evaluations(recipe, steps, split, 10**9)
    scored = (plan.valid_tokens + plan.train_tokens) * times_in(steps, every)
    least = 2 * 8 * recipe.model.context * times_in(steps, every)
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
    assert times_in(2_000, 250) == 9
    assert times_in(2_100, 250) == 10


@given(st.integers(100, 20_000), st.integers(10, 1000), st.integers(1_000, 10_000_000), st.integers(1_000, 10**9))
def test_both_splits_are_scored_by_samples_of_one_size(steps, every, valid, train):
    recipe = override(Recipe(), {"train.steps": str(steps), "evaluate.every": str(every)})
    plan = plan_evaluations(recipe, steps, valid, train)
    assert plan.train_tokens == min(plan.valid_tokens, train, 65_536)
    assert plan.final_train_tokens == min(valid, train, 262_144)
    assert plan.to_json() == {"valid_tokens": plan.valid_tokens, "train_tokens": plan.train_tokens}


def test_a_run_from_before_keeps_its_samples():
    """A quarter of what an evaluation may score went to the training split."""
    recipe = override(Recipe(), {"train.steps": "1000", "train.batch": "16", "evaluate.every": "250"})
    budget = 0.05 * 1000 * 16 * recipe.model.context * 3 / 5
    plan = earlier_plan(recipe, 1000, 10**6, 10**6)
    assert (plan.valid_tokens, plan.train_tokens) == (int(budget) - int(budget / 4), int(budget / 4))


def test_what_is_scored_is_said_in_one_sentence():
    recipe = override(Recipe(), {"train.steps": "1500", "evaluate.every": "250"})
    plan = plan_evaluations(recipe, 1500, 121_000, 10**6)
    scored = f"{plan.valid_tokens:,} of 121k validation tokens"
    assert plan.lines(recipe, 1500) == [
        f"Each of 7 evaluations scores {scored}, to stay under 5% of the time. The final figures are over the whole split."
    ]
    asked = override(recipe, {"evaluate.tokens": "5000", "evaluate.final": "sample"})
    assert plan_evaluations(asked, 1500, 121_000, 10**6).lines(asked, 1500) == [
        "Each of 7 evaluations scores 5,000 of 121k validation tokens. The final figures are over the same sample."
    ]
    whole = plan_evaluations(recipe, 1500, 3_000, 10**6).lines(recipe, 1500)
    assert whole == ["Each of 7 evaluations scores the whole validation split (3,000 tokens)."]


def test_final_figures_over_the_sample_cost_no_whole_split():
    recipe = override(Recipe(), {"train.steps": "1500", "evaluate.every": "250"})
    sample = override(recipe, {"evaluate.final": "sample"})
    whole, cheap = (plan_evaluations(one, 1500, 10**6, 10**6) for one in (recipe, sample))
    each = 7 * (whole.valid_tokens + whole.train_tokens)
    assert whole.tokens_in_all(1500, 250) == each + 10**6 + 262_144
    assert cheap.tokens_in_all(1500, 250) == each + 2 * cheap.valid_tokens
