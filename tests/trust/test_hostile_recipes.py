"""A recipe that claims the absurd: refused in one line, before anything is allocated or computed for it."""

import os
from pathlib import Path

import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.planning.memory.check import needed_bytes, require_memory
from lmlab.recipe import Recipe, from_toml, load_recipe, override, recipe_names, to_toml
from lmlab.recipe.divisors import nearest_divisor
from lmlab.recipe.text import LARGEST_BYTES, read_recipe
from lmlab.training.policy import choose_policy
from tests.trust.support import assert_answers_one_line, assert_refused, computes_at_most, confined

TEXTS = {
    "a number of 10,000 digits": "[model]\nwidth = " + "9" * 10_000,
    "a hexadecimal number without end": "[model]\nwidth = 0x" + "f" * 100_000,
    "a number of 400 digits": "[model]\nwidth = 1" + "0" * 400,
    "a number just beyond 64 bits": "[train]\nseed = 9223372036854775808",
    "an infinite number": "[optim]\nlr = inf",
    "no number": "[optim]\nlr = nan",
    "lists without end": "[evaluate]\nprompts = " + "[" * 100_000,
    "tables without end": "x = " + "{a=" * 100_000,
    "a deep list": "[evaluate]\nprompts = " + "[" * 90 + "]" * 90,
    "a name of many parts": "[model]\n" + "a." * 200_000 + "a = 1",
    "a table's name of many parts": "[" + "a." * 200_000 + "a]",
    "a quoted name of many parts": "[model]\n" + '"a\\"b" . ' * 60_000 + "a = 1",
    "spaces without end": " " * 900_000 + "x",
    "a kind that is a list": "[optim]\nkind = ['adamw']",
    "a kind that is a table": "[model]\nkind = {a = 1}",
    "a preset that is a list": "[model]\npreset = ['gpt2']",
    "a width that is a table": "[model]\nwidth = {a = 1}",
    "a date": "[model]\nwidth = 1979-05-27",
    "an impossible date": "[model]\nwidth = 1979-99-99",
    "half a surrogate": 'name = "\\ud800"',
    "claims as a number": "claims = 3",
    "a claim's step as text": "[[claims]]\nmetric = 'valid_loss'\nvalue = 1\nsource = 'x'\nstep = 'x'",
    "a claim without end": "[[claims]]\nmetric = 'valid_loss'\nvalue = inf\nsource = 'x'",
    "a claim's source as a list": "[[claims]]\nmetric = 'valid_loss'\nvalue = 1\nsource = ['x']",
    "a format that is a table": "format = {a = {b = {c = 1}}}",
    "a section as a number": "model = 3",
    "an entry of no recipe": "'../../x' = 3",
    "NUL": "name = '\0'",
    "a device with a number without end": "[train]\ndevice = 3",
}

TEXTS_SAID = {
    "a number of 10,000 digits": "is not valid TOML: Exceeds the limit",
    "a hexadecimal number without end": "is not a recipe: expected values that 64 bits hold, in lists and tables 4 deep at most",
    "a number of 400 digits": "is not a recipe: expected values that 64 bits hold, in lists and tables 4 deep at most",
    "a number just beyond 64 bits": "is not a recipe: expected values that 64 bits hold, in lists and tables 4 deep at most",
    "an infinite number": "optim.lr can't be inf: expected a finite number",
    "no number": "optim.lr can't be nan: expected a finite number",
    "lists without end": "is not valid TOML",
    "tables without end": "is not valid TOML",
    "a deep list": "is not a recipe: expected values that 64 bits hold, in lists and tables 4 deep at most",
    "a name of many parts": "is not a recipe: expected names of at most 8 parts",
    "a table's name of many parts": "is not a recipe: expected names of at most 8 parts",
    "a quoted name of many parts": "is not a recipe: expected names of at most 8 parts",
    "spaces without end": "is not valid TOML: Expected '=' after a key",
    "a kind that is a list": "optim.kind can't be ('adamw',): expected one of adamw, muon",
    "a kind that is a table": "model.kind can't be {'a': 1}: expected one of gpt, context",
    "a preset that is a list": "model.preset can't be ('gpt2',): expected one of gpt2, modern, llama",
    "a width that is a table": "model.width can't be {'a': 1}: expected a whole number",
    "a date": "is not a recipe: expected values that 64 bits hold, in lists and tables 4 deep at most",
    "an impossible date": "is not valid TOML",
    "half a surrogate": "is not valid TOML",
    "claims as a number": "claims must be tables: write [[claims]] above each",
    "a claim's step as text": "a claim's step can't be 'x'",
    "a claim without end": "a claim's value can't be inf",
    "a claim's source as a list": "a claim's source can't be ['x']",
    "a format that is a table": "is not one that this version reads: expected 1",
    "a section as a number": "[model] must be a table of settings",
    "an entry of no recipe": "unknown entry '../../x': expected one of data, model",
    "NUL": "is not valid TOML",
    "a device with a number without end": "train.device can't be 3: expected text",
}
"""What is said to be wrong, or expected."""


@pytest.mark.parametrize("kind", TEXTS)
def test_a_hostile_recipe_is_refused_at_once(kind):
    with computes_at_most(5):
        assert_refused(
            lambda: from_toml(TEXTS[kind], "hostile.toml"), "hostile.toml", TEXTS_SAID[kind], most_bytes=100_000_000
        )


def test_a_recipe_of_a_terabyte_is_refused_unread(tmp_path):
    with open(tmp_path / "large.toml", "wb") as file:
        file.truncate(1 << 40)
    assert_refused(lambda: read_recipe(tmp_path / "large.toml"), "larger than", f"{LARGEST_BYTES:,}")


SETTINGS = {
    **{"model.width": 10**12, "model.layers": 10**9, "model.heads": 10**12, "model.context": 10**12},
    **{"model.kv_heads": 10**12, "model.hidden": 10**15, "train.batch": 10**12, "train.steps": 10**18},
    **{"train.threads": 10**9, "train.epochs": 1e300, "data.vocabulary": 10**12, "evaluate.sample_tokens": 10**12},
    **{"schedule.warmup": 10**30, "optim.weight_decay": "1e999", "model.softcap": "nan", "train.keep": 10**25},
}

SETTINGS_SAID = {
    "model.width": "expected at most 16777216",
    "model.layers": "expected at most 65536",
    "model.heads": "expected at most 16777216",
    "model.context": "expected at most 16777216",
    "model.kv_heads": "expected at most 16777216",
    "model.hidden": "expected at most 16777216",
    "train.batch": "expected at most 16777216",
    "train.steps": "expected at most 999999999999",
    "train.threads": "expected at most 1024",
    "train.epochs": "expected at most 1000000000.0",
    "data.vocabulary": "expected at most 4194304",
    "evaluate.sample_tokens": "expected at most 1048576",
    "schedule.warmup": "expected a number that 64 bits hold",
    "optim.weight_decay": "expected a finite number",
    "model.softcap": "expected a finite number",
    "train.keep": "expected a number that 64 bits hold",
}
"""What is expected instead."""


@pytest.mark.parametrize("name", SETTINGS)
def test_an_absurd_setting_is_refused_in_files_and_on_the_command_line(name):
    for value in (SETTINGS[name], str(SETTINGS[name])):
        assert_refused(lambda value=value: override(Recipe(), {name: value}), f"{name} can't be ", SETTINGS_SAID[name])


def test_the_nearest_divisor_of_a_large_number_is_found_at_once_and_is_that_of_the_slow_search():
    with computes_at_most(1):
        assert nearest_divisor(2**24 - 3, 5000) == 1
    for number in (1, 12, 97, 360):
        for wish in (1, 5, 7, 100):
            slow = [divisor for divisor in range(1, number + 1) if number % divisor == 0]
            assert nearest_divisor(number, wish) == min(slow, key=lambda divisor: (abs(divisor - wish), divisor))


def test_a_training_that_the_memory_cannot_hold_is_refused_and_every_recipe_that_is_shipped_fits_in_64_gigabytes(
    monkeypatch,
):
    policy = choose_policy(override(Recipe(), {"train.engine": "torch", "train.device": "cpu"}))
    large = override(Recipe(), {"model.width": 2**20, "model.layers": 1000})
    assert_refused(lambda: require_memory(large, policy, 300), "memory", "model.width")
    wide = override(Recipe(), {"train.batch": 2**24, "model.context": 2**20, "train.micro_batch": 1})
    assert_refused(lambda: require_memory(wide, policy, 300), "memory", "train.batch")
    monkeypatch.setattr("lmlab.training.memory.total_memory_bytes", lambda: 0)
    require_memory(large, policy, 300)  # a system that doesn't say how much it has
    assert all(needed_bytes(load_recipe(name), 50_257) < 64e9 for name in recipe_names())


def test_absurd_trainings_end_in_one_line_in_a_process_with_little_memory(tmp_path, tiny_text_file):
    recipe = tmp_path / "wide.toml"
    data = f"[data]\ncorpus = {str(tiny_text_file)!r}\ntokenizer = 'bytes'\n"
    recipe.write_text(f"{data}[model]\nwidth = 8388608\nlayers = 4096\n[train]\ndevice = 'cpu'\n")
    batch = ["train", tiny_text_file, "--train.device", "cpu", "--data.tokenizer", "bytes"]
    answers = confined(
        [
            ["train", recipe],
            [*batch, "--train.batch", 2**24, "--train.micro_batch", "1", "--model.context", "600"],
            [*batch, "--data.tokenizer", "bpe", "--data.vocabulary", 10**12],
            [*batch, "--train.steps", 10**400],
            ["train", "x" * 5000],
            ["train", "x" * 5000 + ".toml"],
            ["train", tiny_text_file, "--train.device", "cuda:99999999999999999999"],
            ["data", "prepare", "x" * 5000],
            ["data", "show", "/".join(["x" * 200] * 40)],
        ],
        tmp_path,
    )
    no_corpus, no_recipe = "there is no corpus 'xxxx", "there is no recipe 'xxxx"
    words = [
        *(["memory", "model.width"], ["memory", "train.batch"]),
        *(["data.vocabulary", "expected at most"], ["train.steps", "expected a whole number"]),
        *([no_recipe], [".toml can't be read: File name too long"], ["device", "expected"], [no_corpus], ["no corpus"]),
    ]
    for answer, expected in zip(answers, words, strict=True):
        assert_answers_one_line(answer, *expected)
    assert not (tmp_path / "runs").exists() or not os.listdir(tmp_path / "runs")


def test_a_recipe_that_is_a_folder_or_has_no_name_is_refused(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    assert_refused(lambda: load_recipe(str(tmp_path / "folder.toml")), "folder.toml")
    with pytest.raises(LabError, match="there is no recipe"):
        load_recipe("../../etc/passwd")


@pytest.mark.parametrize("words", [["bench"], ["plan", "--budget", "1h"], ["tune"]])
def test_a_recipe_s_name_leads_no_file_out_of_its_folder(tmp_path, tiny_text_file, monkeypatch, words):
    """What each verb writes has the recipe's name in its own."""
    places = []

    def measured(*arguments, **options):
        places.extend(one for one in arguments if isinstance(one, Path))
        raise LabError("nothing is measured here")

    for name in (
        "lmlab.experiment.benching.bench",
        "lmlab.experiment.budgeted.plan_within",
        "lmlab.study.tune.tuning.tune",
    ):
        monkeypatch.setattr(name, measured)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    recipe = override(Recipe(), {"name": "x/../../escaped/y", "data.corpus": str(tiny_text_file)})
    Path("evil.toml").write_text(to_toml(recipe), encoding="utf-8")
    assert main([*words, "evil.toml"]) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["here", tiny_text_file.name]
    assert all(place.resolve().is_relative_to(tmp_path / "here") for place in places)
