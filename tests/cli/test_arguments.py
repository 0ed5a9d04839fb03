"""Words of a command line: which belong to the verb, and which to the recipe."""

import pytest

from lmlab.cli import main
from lmlab.cli.arguments import recipe_shown, split_overrides, with_tables
from lmlab.cli.errors import UsageError
from lmlab.recipe import Context, Recipe, load_recipe


@pytest.mark.parametrize(
    ("words", "rest", "settings"),
    [
        (["--data.fresh"], [], {"data.fresh": "true"}),
        (["--data.fresh", "--run", "a"], ["--run", "a"], {"data.fresh": "true"}),
        (["--data.fresh", "stories.txt"], ["stories.txt"], {"data.fresh": "true"}),
        (["--data.fresh", "no", "stories.txt"], ["stories.txt"], {"data.fresh": "no"}),
        (["--data.fresh=false", "x"], ["x"], {"data.fresh": "false"}),
        (["--data.lowercase", "--data.order", "random"], [], {"data.lowercase": "true", "data.order": "random"}),
        (["x", "--train.steps", "5", "--train.steps", "6"], ["x"], {"train.steps": "6"}),
        (["--evaluate.prompts", "a", "--evaluate.prompts", "b"], [], {"evaluate.prompts": ("a", "b")}),
    ],
)
def test_a_setting_takes_the_next_word_unless_it_is_a_switch(words, rest, settings):
    assert split_overrides(words) == (rest, settings)


@pytest.mark.parametrize("words", [["--train.steps"], ["--data.order", "--data.fresh"], ["--nonsense.at_all"]])
def test_any_other_setting_needs_a_value(words):
    with pytest.raises(UsageError, match="needs a value"):
        split_overrides(words)


def test_help_shows_the_settings_of_the_recipe_and_the_kinds_that_are_asked_for(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('[model]\nkind = "context"\nvector = 9\n')
    assert recipe_shown(["first"], {}) == load_recipe("first")
    assert recipe_shown(["--quiet", str(own)], {}).model == Context(vector=9)
    assert recipe_shown([], {"model.kind": "context", "model.layers": "3"}).model.kind == "context"
    assert recipe_shown([str(tmp_path / "none.toml")], {"model.kind": "rnn"}) == Recipe()


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("train", ["epochs", "gradient accumulation"]),
        ("plan", ["Chinchilla", "FLOPs", "epochs"]),
        ("compare", ["Why do they differ: lmlab explain"]),
        ("explain", ["Why do they differ"]),
        ("sample", ["Sample among the k likeliest tokens"]),
        ("judge", ["Sample among the k likeliest tokens", "Tokens of an answer at most"]),
    ],
)
def test_help_has_the_words_that_are_looked_for(verb, words, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for word in words:
        assert word in told


def test_help_breaks_no_line_within_a_sentence_but_for_width(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    told = capsys.readouterr().out
    assert "or a worked example by its name or file." in told.replace("\n", "|")


@pytest.mark.parametrize("words", [["--run", ""], ["--run="], ["--from", ""], ["--size=", "--quiet"]])
def test_an_empty_value_is_refused_and_not_taken_for_a_flag_that_is_left_out(words, capsys):
    assert main(["train", "x.txt", *words]) == 2
    assert f"{words[0].rstrip('=')} is empty: give it a value, or leave it out" in capsys.readouterr().err


def test_a_name_for_the_run_is_answered_with_its_flag(capsys):
    assert main(["train", "x.txt", "--name", "mine"]) == 2
    assert "--name is called --run here" in capsys.readouterr().err


def test_no_tables_is_a_setting_and_excludes_tables_that_are_asked_for():
    assert with_tables({"train.steps": "5"}, True) == {"train.steps": "5"}
    assert with_tables({"train.steps": "5"}, False) == {"train.steps": "5", "model.ngrams": "none"}
    with pytest.raises(UsageError, match="--no-tables and --model.ngrams 2,3 exclude each other"):
        with_tables({"model.ngrams": "2,3"}, False)


@pytest.mark.parametrize("verb", ["train", "plan", "tune", "bench", "study"])
def test_every_verb_that_chooses_a_model_takes_a_size_and_no_tables(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    told = capsys.readouterr().out
    assert "--size" in told and "--no-tables" in told and "750k, 2M" in " ".join(told.replace("│", " ").split())


def test_help_shows_no_flag_of_a_setting_that_the_command_line_refuses(capsys):
    with pytest.raises(SystemExit):
        main(["train", "first", "--help"])
    assert ".no-" not in capsys.readouterr().out
