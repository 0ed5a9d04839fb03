"""A recipe file that names another as its base and contains only the differences."""

import pytest

from lmlab import LabError
from lmlab.recipe import from_toml, load_recipe, override, read_recipe, recipe_hash, to_toml


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return str(folder / f"{next(iter(files))}.toml")


def test_a_file_is_its_base_with_its_own_settings(tmp_path):
    path = write(tmp_path, mine='base = "shakespeare-cpu"\n[model]\nwidth = 64\n[optim]\nlr = 3e-3\n')
    recipe, base = load_recipe(path), load_recipe("shakespeare-cpu")
    wanted = override(base, {"model.width": 64, "optim.lr": 3e-3})
    assert recipe_hash(recipe) == recipe_hash(wanted)
    assert (recipe.name, recipe.about, recipe.claims) == ("mine", "shakespeare-cpu with changes", ())
    assert recipe.train == base.train and recipe.evaluate == base.evaluate, "policy and prompts come along"


def test_a_run_saves_every_setting_and_no_base(tmp_path):
    path = write(tmp_path, mine='base = "first"\n')
    assert "\nbase = " not in to_toml(load_recipe(path))
    assert load_recipe(path).model == load_recipe("first").model
    assert from_toml(to_toml(load_recipe(path))) == load_recipe(path)


def test_published_numbers_are_claimed_where_nothing_changes(tmp_path):
    same = load_recipe(write(tmp_path, same='base = "shakespeare-gpu"\n[train]\ndevice = "cpu"\n'))
    assert same.claims == load_recipe("shakespeare-gpu").claims, "a policy is no other experiment"
    other = load_recipe(write(tmp_path, other='base = "shakespeare-gpu"\n[train]\nseed = 7\n'))
    assert other.claims == ()


def test_a_path_is_seen_from_the_file_that_names_it(tmp_path):
    (tmp_path / "below").mkdir()
    write(tmp_path, root='base = "first"\n[train]\nsteps = 100\n')
    path = write(tmp_path / "below", leaf='base = "../root.toml"\n[train]\nbatch = 8\n')
    recipe = load_recipe(path)
    assert (recipe.train.steps, recipe.train.batch, recipe.optim.kind) == (100, 8, "muon")


def test_another_kind_brings_its_own_defaults_as_on_the_command_line(tmp_path):
    path = write(tmp_path, mine='base = "first"\n[optim]\nkind = "adamw"\n[schedule]\nkind = "cosine"\n')
    wanted = override(load_recipe("first"), {"optim.kind": "adamw", "schedule.kind": "cosine"})
    assert recipe_hash(load_recipe(path)) == recipe_hash(wanted)


def test_what_the_base_derived_is_derived_again(tmp_path):
    write(tmp_path, night='derived = ["schedule.warmup"]\n[train]\nsteps = 790\n[schedule]\nwarmup = 79\n')
    shorter = load_recipe(write(tmp_path, short='base = "night.toml"\n[train]\nsteps = 60\n'))
    assert (shorter.schedule.warmup, shorter.derived) == (6, ("schedule.warmup",))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"a": 'base = "b.toml"', "b": 'base = "c.toml"', "c": 'base = "a.toml"'},
            "its own base: a.toml -> b.toml -> c.toml -> a.toml",
        ),
        ({"a": 'base = "a.toml"'}, "its own base: a.toml -> a.toml"),
        ({"a": 'base = "firts"'}, "did you mean first?"),
        ({"a": 'base = "none.toml"'}, "there is no recipe file"),
        ({"a": "base = 3"}, "base can't be 3: expected a recipe's name"),
        ({"a": 'base = ""'}, "base can't be ''"),
        ({"a": 'base = "first"\n[schedule]\nwarmup = 5000'}, "schedule.warmup 5000 is longer than train.steps 1600"),
    ],
)
def test_what_can_be_no_base_is_refused_in_one_line(tmp_path, files, words):
    path = write(tmp_path, **files)
    with pytest.raises(LabError) as refused:
        load_recipe(path)
    assert words in str(refused.value) and "a.toml" in str(refused.value) and "\n" not in str(refused.value)


def test_a_runs_own_recipe_names_no_base(tmp_path):
    write(tmp_path, recipe='base = "first"\n')
    with pytest.raises(LabError, match="base can't be named here"):
        read_recipe(tmp_path / "recipe.toml")
