"""What a user types, end to end, in one process and on a tiny text."""

import json

import pytest

pytestmark = [pytest.mark.tried, pytest.mark.apart]


def test_from_text_to_a_trained_evaluated_model_that_writes_in_one_command(lmlab, small, tmp_path):
    status, output, errors = lmlab(*small, "--run", "mine")
    assert status == 0, errors
    assert "forecast:" in output
    assert "whole validation split" in output and "perplexity" in output and "bits per byte" in output
    assert "the model of step" in output
    folder = tmp_path / "runs" / "mine"
    assert output.splitlines()[-1] == str(folder)
    for name in (
        "recipe.toml",
        "origin.json",
        "policy.json",
        "forecast.json",
        "summary.json",
        "tokenizer.json",
        "units-valid.npy",
    ):
        assert (folder / name).exists(), name


def test_json_is_all_of_standard_output(lmlab, small):
    status, output, _ = lmlab(*small, "--run", "mine", "--json")
    value = json.loads(output)
    assert status == 0
    for name in ("loss", "perplexity", "accuracy", "bits_per_byte", "tokens", "run", "folder"):
        assert value[name] is not None, name


def test_a_trained_run_can_be_evaluated_sampled_and_drawn(lmlab, small, tmp_path, tiny_text):
    lmlab(*small, "--run", "mine", "--train.keep_finished", "all")
    other = tmp_path / "other.txt"
    other.write_text(tiny_text[:3000])
    for words in (
        ["mine"],
        ["mine@init"],
        ["mine@3"],
        ["mine@latest", "--on", str(other)],
        ["mine", "--split", "train"],
    ):
        status, output, errors = lmlab("evaluate", *words, "--json")
        assert status == 0, errors
        value = json.loads(output)
        assert value["loss"] > 0 and value["whole"] is True
    status, output, errors = lmlab("sample", "mine", "--prompt", "The", "--tokens", "10", "--samples", "2", "--json")
    assert status == 0, errors
    assert output.count("The") >= 2
    status, output, errors = lmlab("report", "mine")
    assert status == 0, errors
    assert output.strip().splitlines()[-1].endswith((".png", ".svg"))
    assert list((tmp_path / "runs" / "mine").rglob("*.png"))


def test_evaluating_the_final_model_gives_the_summary_s_figures(lmlab, small):
    _, output, _ = lmlab(*small, "--run", "mine", "--json")
    summary = json.loads(output)
    _, output, _ = lmlab("evaluate", "mine@latest", "--json")
    assert json.loads(output)["loss"] == summary["final"]["loss"]


def test_or_resume_continues_the_same_recipe_and_refuses_another(lmlab, small):
    assert lmlab(*small, "--run", "mine", "--or-resume")[0] == 0
    status, output, _ = lmlab(*small, "--run", "mine", "--or-resume")
    assert status == 0 and "is finished" in output
    status, _, errors = lmlab(*small, "--run", "mine", "--or-resume", "--train.batch", "4")
    assert status == 1 and "train.batch" in errors


def test_recipes_are_listed_with_claims_and_exact_parameter_counts(lmlab):
    status, output, _ = lmlab("recipes", "--json")
    assert status == 0
    entries = {entry["name"]: entry for entry in json.loads(output)["recipes"]}
    assert entries["stories-0.8m"]["parameters"] == 815_388
    assert entries["stories-10.8m"]["parameters"] == 10_823_534
    assert entries["shakespeare-cpu"]["claims"][0]["value"] == 1.88
    assert entries["wikitext2-context-baseline"]["parameters"] == 2_739_432
    status, output, _ = lmlab("recipes")
    assert status == 0 and "815,388" in output and "shakespeare-gpu" in output


@pytest.mark.parametrize("verb", ["train", "resume", "evaluate", "sample", "chat", "report", "recipes"])
def test_every_verb_explains_itself(lmlab, capsys, verb):
    with pytest.raises(SystemExit) as ended:
        lmlab(verb, "--help")
    assert ended.value.code == 0
    assert f"lmlab {verb}" in capsys.readouterr().out


def test_continuing_on_fresh_tokens_is_one_flag(lmlab, small, tmp_path):
    lmlab(*small, "--run", "mine")
    status, output, errors = lmlab("train", "--from", "mine", "--data.fresh", "--run", "next")
    assert status == 0, errors
    assert (
        "fresh tokens:" in output
        and "were not used by mine@6" in output
        and "fresh tokens left after this run" in output
    )
    status, output, errors = lmlab("train", "--data.fresh", "--from", "next", "--train.steps", "9e9", "--json")
    assert status == 1 and errors.splitlines()[-1].startswith("lmlab: 9,000,000,000 steps of 2 windows")
    status, output, errors = lmlab(*small, "--data.fresh", "--run", "alone")
    assert status == 1 and errors.count("\n") == 1 and "--from RUN" in errors


def test_text_that_was_added_is_trained_on_with_the_same_tokenizer(lmlab, small, tmp_path, tiny_text):
    lmlab(*small, "--run", "mine")
    (tmp_path / "more.txt").write_text(tiny_text[::-1])
    identity = json.loads((tmp_path / "runs" / "mine" / "origin.json").read_text())["data_id"]
    status, output, errors = lmlab("data", "extend", identity, str(tmp_path / "more.txt"), "--json")
    assert status == 0, errors
    extended = json.loads(output)
    assert (extended["added"], extended["extends"][0]["id"]) == ({"train": 1}, identity)
    words = ["--data.corpus", extended["id"], "--data.fresh", "--train.epochs", "1", "--json"]
    seldom = ["--evaluate.every", "500", "--train.checkpoint_every", "500"]
    status, output, errors = lmlab("train", "--from", "mine", *words, *seldom)
    assert status == 0, errors
    used = json.loads(output)["data_used"]
    assert (used["data_id"], used["fresh"]) == (extended["id"], True)
    status, output, errors = lmlab("data", "show", extended["id"])
    assert f"extends     {identity}" in output and "what was added later trains" in output
