"""The limit of the gradient's norm by step, against the rule written out as the published training loop has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.optim.limit import clip_limit
from lmlab.recipe import AdamW, Muon, Recipe, check, from_toml, override, recipe_hash, to_toml


@pytest.mark.parametrize("kind", [AdamW, Muon])
def test_the_limit_changes_at_the_steps_that_are_told(kind):
    optim = kind(clip=0.5, clip_steps=(250, 750), clip_then=(1.0, 2.0))
    for step in range(1300):
        epoch = step // 25
        assert clip_limit(optim, step) == (0.5 if epoch < 10 else 1.0 if epoch < 30 else 2.0)


@given(st.floats(0, 9), st.integers(0, 10**9))
def test_without_steps_it_is_clip_throughout(clip, step):
    assert clip_limit(AdamW(clip=clip), step) == clip_limit(Muon(clip=clip), step) == clip


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 9)), unique_by=lambda pair: pair[0], max_size=5))
def test_any_change_holds_from_its_step_to_the_next(changes):
    changes.sort()
    optim = AdamW(clip=3.0, clip_steps=tuple(step for step, _ in changes), clip_then=tuple(then for _, then in changes))
    limit = 3.0
    for step in range(40):
        limit = dict(changes).get(step, limit)
        assert clip_limit(optim, step) == limit


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optim.clip_steps": "5"}, "optim.clip_steps has 1 numbers and optim.clip_then 0"),
        ({"optim.clip_steps": "5,9", "optim.clip_then": "1.0"}, "expected a limit in clip_then for each step"),
        ({"optim.clip_steps": "9,9", "optim.clip_then": "1,2"}, "optim.clip_steps has 9 after 9"),
        ({"optim.clip_steps": "0", "optim.clip_then": "1"}, "expected each at least 1"),
        ({"optim.clip_steps": "5", "optim.clip_then": "-1"}, "expected each at least 0"),
    ],
)
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_what_cannot_be_is_refused_in_one_line(changes, words, kind):
    with pytest.raises(LabError) as caught:
        check(override(Recipe(), {"optim.kind": kind, **changes}))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_gives_the_changes_back_and_they_decide_the_hash():
    plain = Recipe()
    recipe = override(plain, {"optim.clip_steps": "5,9", "optim.clip_then": "1,0"})
    assert from_toml(to_toml(recipe)) == recipe
    assert recipe_hash(recipe) != recipe_hash(plain)
