"""The file of a chain: what it says, and one line for what is wrong with it."""

import pytest

from lmlab import LabError
from lmlab.chain.definition import load_chain

WHOLE = """
format = 1
name = "assistant"
[[bases]]
name = "small"
recipe = "base-small"
settings = { data.corpus = "shard.parquet", train.steps = 9 }
[[bases]]
name = "other"
run = "mine@20"
[[tunings]]
name = "answers"
data = "tasks.json"
recipe = "instruct-1100"
settings = { data.targets = "response" }
[judge]
data = "tasks.json"
part = "test"
bases = true
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text):
        (tmp_path / "chain.toml").write_text(text)
        return load_chain(tmp_path / "chain.toml")

    return load_text


def test_a_chain_names_its_runs_after_base_and_tuning(load):
    chain = load(WHOLE)
    (small, other), (answers,) = chain.bases, chain.tunings
    assert chain.run_of(small) == "assistant-small"
    assert chain.run_of(other, answers) == "assistant-other-answers"
    assert small.settings == {"data.corpus": "shard.parquet", "train.steps": 9} and other.run == "mine@20"
    assert answers.settings == {"data.targets": "response"}
    assert (chain.judge.part, chain.judge.bases, chain.judge.address) == ("test", True, "")


def test_a_chain_without_a_name_has_that_of_its_file(load):
    assert load(WHOLE.replace('name = "assistant"', "")).name == "chain"


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('recipe = "base-small"', "", "the base small needs either recipe, to train it, or run"),
        ('run = "mine@20"', 'run = "mine"\nsettings = { train.steps = 9 }', "leave settings out"),
        ('name = "other"', 'name = "small"', "two bases are named small"),
        ("train.steps = 9", "train.stepps = 9", "train.stepps"),
        ('part = "test"', 'part = "tests"', "judge.part can't be 'tests': expected all, train, test, valid"),
        ("bases = true", 'address = "http://127.0.0.1:1/v1"', "judge.address and judge.model"),
        ("bases = true", "items = 0", "items can't be 0"),
        ("[judge]", "[judges]", "unknown entry 'judges': expected judge"),
        ("[[tunings]]", "[[tuning]]", "unknown entry 'tuning': expected tunings"),
        ('name = "answers"', 'name = "a/b"', "name can't be 'a/b'"),
        ("format = 1", "format = 2", "format 2 is not one"),
    ],
)
def test_a_mistake_is_one_line_with_the_file(load, old, new, said):
    with pytest.raises(LabError) as error:
        load(WHOLE.replace(old, new))
    assert str(error.value).count("chain.toml") == 1 and said in str(error.value)
    assert "\n" not in str(error.value)
