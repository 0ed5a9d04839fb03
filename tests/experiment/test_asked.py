"""The recipe that somebody asks for: settings that nobody set follow those that were set, and lines say so."""

import pytest

from lmlab import LabError
from lmlab.experiment.asked import recipe_asked
from lmlab.experiment.resuming import resume_same
from lmlab.recipe import to_toml, with_settings
from lmlab.runs import create_run


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "my.txt"
    path.write_text("the quick brown fox jumps over the lazy dog\n" * 800)
    return str(path)


def asked(target, settings):
    said = []
    return recipe_asked(target, settings, say=said.append), said


def test_a_batch_of_a_text_keeps_its_tokens_and_says_what_was_derived_again(text):
    plain, _ = asked(text, {})
    double, said = asked(text, {"train.batch": str(2 * plain.train.batch)})
    assert double.train.steps == round(plain.train.steps / 2)
    assert double.schedule.warmup == round(plain.schedule.warmup / 2)
    assert f"train.steps {double.train.steps:,} (was {plain.train.steps:,})" in said[-1]
    assert said[-1].startswith(f"derived again from train.batch {double.train.batch}:")


def test_a_chosen_recipe_in_a_file_is_derived_again_too(text, tmp_path):
    chosen, _ = asked(text, {"train.steps": "800"})
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(chosen))
    fewer, said = asked(str(path), {"train.steps": "40"})
    assert fewer.schedule.warmup == round(chosen.schedule.warmup * 40 / 800)
    assert said == [line for line in said if "derived again from train.steps 40" in line]


def test_a_shipped_recipe_keeps_its_schedule_and_says_so():
    _, said = asked("shakespeare-cpu", {"train.steps": "500"})
    assert said == [
        "schedule.steps stays 2,000, as the recipe sets it, with train.steps 500: the learning rate does not reach its floor "
        "(--schedule.steps none: the schedule spans train.steps)"
    ]


def test_going_on_with_other_steps_names_the_steps_and_not_what_follows_from_them(text, tmp_path):
    recipe, _ = asked(text, {"train.steps": "80"})
    create_run(tmp_path, "mine", recipe, {"data_id": "0" * 16})
    longer, _ = asked(text, {"train.steps": "90"})
    assert longer.schedule.warmup != recipe.schedule.warmup
    with pytest.raises(
        LabError, match=r"its train.steps is 80, not 90; to train it further: lmlab train --from mine@latest"
    ):
        resume_same("mine", longer, runs=tmp_path)
    shorter, _ = asked(text, {"train.steps": "70"})
    with pytest.raises(LabError, match="its train.steps is 80, not 70; for a new run choose another --run"):
        resume_same("mine", shorter, runs=tmp_path)


def test_what_lmlab_derives_otherwise_today_is_as_the_run_has_it(text, tmp_path):
    recipe, _ = asked(text, {"train.steps": "80"})
    create_run(tmp_path, "mine", with_settings(recipe, {}), {"data_id": "0" * 16})
    import dataclasses

    today = dataclasses.replace(recipe, schedule=dataclasses.replace(recipe.schedule, warmup=3))
    with pytest.raises(LabError) as refused:  # later on, since its data is not there
        resume_same("mine", today, runs=tmp_path)
    assert "another experiment" not in str(refused.value)
