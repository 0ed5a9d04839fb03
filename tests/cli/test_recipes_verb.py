"""`lmlab recipes NAME` prints a recipe that `lmlab train` takes back."""

import json
from importlib import resources

from lmlab.recipe import load_recipe, recipe_hash


def test_a_recipes_file_is_printed_as_it_is_written(lmlab):
    status, output, _ = lmlab("recipes", "shakespeare-cpu")
    assert status == 0
    assert output == (resources.files("lmlab") / "recipes" / "shakespeare-cpu.toml").read_text(encoding="utf-8")


def test_every_setting_is_printed_as_a_file_of_the_same_recipe(lmlab, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('base = "first"\n[train]\nsteps = 100\n')
    status, output, _ = lmlab("recipes", own, "--resolved")
    assert status == 0 and recipe_hash(load_recipe(str(own))) in output.splitlines()[0]
    again = tmp_path / "again.toml"
    again.write_text(output)
    assert load_recipe(str(again)) == load_recipe(str(own))
    assert "momentum = 0.95" in output and "\nbase =" not in output
    status, output, _ = lmlab("recipes", own, "--json")
    assert json.loads(output)["recipe"]["train"]["steps"] == 100


def test_what_is_no_recipe_is_answered_in_one_line(lmlab, tmp_path):
    for words, told in (
        (("recipes", "shakespear-cpu"), "did you mean shakespeare-cpu?"),
        (("recipes", tmp_path / "none.toml"), "there is no recipe file"),
        (("recipes", "--resolved"), "lmlab recipes NAME --resolved"),
    ):
        status, output, errors = lmlab(*words)
        assert status and not output and told in errors and errors.count("\n") == 1
