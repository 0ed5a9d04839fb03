"""From what somebody asks to cells, names and recipes."""

import pytest

from lmlab import LabError
from lmlab.recipe import Recipe, check, load_recipe, override
from lmlab.study.grid.definition import Definition, asked, definition_from, load_study, study_names, varied
from lmlab.study.grid.design import cells_of
from lmlab.study.grid.study_plan import plan_from, plan_study


def planned(words, design="one-factor", base=None, seeds=2):
    return plan_study(
        Definition(name="try", recipe="first", factors=varied(words), design=design, seeds=seeds), base or Recipe()
    )


def test_one_factor_at_a_time_has_the_baseline_and_each_level_alone():
    plan = planned(["optim.lr=1e-4,3e-4", "model.dropout=0.1"])
    assert plan.cells == ((0, 0), (1, 0), (2, 0), (0, 1))
    assert [plan.label(cell) for cell in plan.cells] == ["baseline", "lr 1e-4", "lr 3e-4", "dropout 0.1"]


def test_a_factorial_design_has_every_combination_once():
    plan = planned(["model.width=32,64,256", "optim.lr=1e-4"], "factorial")
    assert len(plan.cells) == len(set(plan.cells)) == 4 * 2
    assert len({(run.recipe.model.width, run.recipe.optim.lr) for run in plan.runs}) == 8


def test_a_cumulative_design_adds_the_levels_in_order_beside_each_alone():
    plan = planned(["model.dropout=0.1", "optim.clip=0", "model.tied=no"], "cumulative")
    assert plan.cells == ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1))
    last = plan.runs[5].recipe
    assert (last.model.dropout, last.optim.clip, last.model.tied) == (0.1, 0.0, False)


def test_every_cell_has_its_first_seed_before_any_has_its_second():
    plan = planned(["model.dropout=0.1,0.2"], seeds=3)
    assert [run.seed for run in plan.runs] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert all(run.recipe.train.seed == run.seed for run in plan.runs)
    assert len({run.name for run in plan.runs}) == 9


def test_a_level_that_the_recipe_has_already_is_its_baseline():
    plan = planned(["model.width=64,128"], base=override(Recipe(), {"model.width": 128}))
    assert [plan.label(cell) for cell in plan.cells] == ["baseline", "width 64"]
    with pytest.raises(LabError, match="only the recipe's own setting"):
        planned(["model.width=128"], base=override(Recipe(), {"model.width": 128}))


def test_cells_that_would_be_scored_in_different_windows_are_refused_before_any_is_trained():
    documents = override(Recipe(), {"data.windows": "documents"})
    for words, base in ((["data.windows=documents"], Recipe()), (["model.context=32"], documents)):
        with pytest.raises(LabError, match="different windows of documents.* expected one data.windows"):
            planned(words, base=base)
    assert len(planned(["model.context=32"]).cells) == 2


def test_more_seeds_and_more_levels_keep_the_names_of_the_runs_there_are():
    few, more = planned(["model.dropout=0.1"], seeds=2), planned(["model.dropout=0.1,0.2"], seeds=5)
    assert {run.name: run.recipe for run in few.runs}.items() <= {run.name: run.recipe for run in more.runs}.items()


def test_a_plan_read_back_is_the_same_plan():
    for words, design in (
        (["optim.betas=0.9,0.95;0.8,0.9", "model.tied=no"], "factorial"),
        (["model.dropout=0.1"], "cumulative"),
    ):
        plan = planned(words, design)
        again = plan_from(plan.to_json(), "plan.json")
        assert again.runs == plan.runs and again.to_json() == plan.to_json()


def test_names_of_runs_can_be_folders_and_differ_however_long_or_odd_labels_are():
    factors = [
        {
            "name": "a/b" * 30,
            "levels": [{"label": "x" * 90, "model.dropout": 0.1}, {"label": "?", "model.dropout": 0.2}],
        }
    ]
    definition = definition_from({"name": "odd", "recipe": "first", "factors": factors}, "odd.toml")
    names = [run.name for run in plan_study(definition, Recipe()).runs]
    assert len(set(names)) == len(names) and all(len(name) <= 100 and "/" not in name for name in names)


@pytest.mark.parametrize(
    ("words", "design", "says"),
    [
        (["model.dropout=0.1,0.2"], "cumulative", "adds one level"),
        (["model.dropout=0.1", "model.dropout=0.2"], "one-factor", "twice"),
        (["model.heads=3"], "one-factor", "the cell heads 3 can't be trained"),
        (["model.dropouts=3"], "one-factor", "did you mean model.dropout"),
        (["model.dropout"], "one-factor", "expected FIELD=VALUE"),
        (["model.dropout=0.1"], "star", "expected one of one-factor"),
    ],
)
def test_what_can_t_be_studied_is_refused_in_words(words, design, says):
    with pytest.raises(LabError, match=says):
        planned(words, design)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"factors": []}, "varies something"),
        ({"seeds": 0}, "whole number from 1"),
        ({"seed": 3}, "expected seeds"),
        ({"name": "a/b"}, "can't be named"),
        ({"format": 9}, "format 9"),
        ({"factors": [{"name": "x", "levels": [{"label": "y"}]}]}, "settings it changes"),
        ({"factors": [{"field": "model.dropout", "values": [0.1, 0.1]}]}, "level twice"),
    ],
)
def test_a_file_that_is_no_study_is_refused_in_words(changes, says):
    value = {"recipe": "first", "factors": [{"field": "model.dropout", "values": [0.1]}], **changes}
    with pytest.raises(LabError, match=says):
        definition_from(value, "my.toml")


@pytest.mark.parametrize("name", study_names())
def test_every_shipped_study_can_be_planned(name):
    definition = load_study(name)
    base = check(override(load_recipe(definition.recipe), definition.settings))
    plan = plan_study(definition, base)
    assert definition.about and len(plan.runs) == len(cells_of(plan.factors, plan.design)) * definition.seeds


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("bogus=1,2", "unknown setting 'bogus': the nearest are [a-z]+[.][a-z_]+, [a-z]+[.][a-z_]+, [a-z]+[.][a-z_]+$"),
        ("dropuot=0.1", "did you mean model.dropout"),
        ("model.vektor=8", "did you mean model.vector"),
        ("name=x,y", "unknown setting 'name'"),
    ],
)
def test_a_field_that_no_recipe_has_is_refused_before_a_text_is_read(word, says, tmp_path):
    with pytest.raises(LabError, match=says):
        asked(str(tmp_path), [word], {})


def test_a_recipe_is_varied_and_a_study_is_changed_by_the_command_s_words():
    own = asked("first", ["optim.lr=1e-3,3e-3"], {"train.steps": "9"}, seeds=4)
    assert (own.name, own.seeds, own.settings) == ("first-lr", 4, {"train.steps": "9"})
    shipped = asked("interventions", [], {"train.steps": "9"}, seeds=1, name="mine")
    assert (shipped.name, shipped.seeds, shipped.settings["train.steps"]) == ("mine", 1, "9")
    with pytest.raises(LabError, match="did you mean interventions"):
        asked("intervention", [], {})
    with pytest.raises(LabError, match="say what to vary"):
        asked("first", [], {})
