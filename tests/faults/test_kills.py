"""SIGKILL at every point of a training, also while it goes on from an earlier kill: nothing lost, nothing twice, no bit other."""

import os
import random

import pytest

from lmlab.recipe import Recipe, override, to_toml
from tests.faults.suite import Kill, Nursery, end_of, killed_and_continued, points

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

SEED = int(os.environ.get("LMLAB_FAULTS_SEED", "1"))
QUICK = 10
PAIRS = 60
"""Kills of a training whose resume is killed as well, in the long suite."""
SETTINGS = {
    **{"name": "small", "data.tokenizer": "characters", "data.vocabulary": "none", "data.split": "tail"},
    **{"model.layers": "2", "model.heads": "2", "model.width": "16", "model.context": "16", "model.dropout": "0.1"},
    **{
        "train.steps": "12",
        "train.batch": "4",
        "train.checkpoint_every": "4",
        "train.log_every": "3",
        "train.keep": "2",
    },
    **{"train.threads": "1", "train.device": "cpu", "train.engine": "torch"},
    **{"evaluate.every": "5", "evaluate.prompts": "The", "evaluate.sample_tokens": "5", "schedule.warmup": "2"},
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory, tiny_text):
    """A nursery, the command, and what an untouched run passed and came to."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "tiny.txt").write_text(tiny_text, encoding="utf-8")
    recipe = override(Recipe(), {**SETTINGS, "data.corpus": str(folder / "tiny.txt")})
    (folder / "small.toml").write_text(to_toml(recipe), encoding="utf-8")
    words = ["train", str(folder / "small.toml"), "--runs", str(folder / "runs"), "--quiet"]
    with Nursery({"LMLAB_CACHE": str(folder / "cache")}) as nursery:
        # The first prepares the data and measures the machine; what a run itself does is traced by the second.
        for name in ("first", "untouched"):
            assert nursery.run([*words, "--run", name], folder / name) == 0
        yield nursery, words, folder, end_of(folder / "runs", "untouched", folder / "untouched")


def assert_same_end(ground, number: str, kills: list[Kill]) -> None:
    nursery, words, folder, untouched = ground
    killed_and_continued(nursery, words, number, folder / number, kills)
    end = end_of(folder / "runs", number, folder / number)
    for what, expected in untouched.items():
        assert end[what] == expected, f"{what} after {kills}"


def test_a_sample_of_all_points(ground):
    """Each run of the tests takes others with LMLAB_FAULTS_SEED; the last ones kill the resume too."""
    chance = random.Random(SEED)
    passed = points(ground[2] / "untouched")
    assert len(passed) > 200
    for number, kill in enumerate(chance.sample(passed, QUICK)):
        assert_same_end(ground, f"quick-{number}", [kill])
    for number in range(2):
        assert_same_end(ground, f"twice-{number}", [chance.choice(passed), chance.choice(passed)])


def test_what_is_killed_before_its_first_checkpoint_begins_again(ground):
    assert_same_end(ground, "early", [Kill("evaluation", 0)])


@pytest.mark.faults
def test_every_point(ground):
    for number, kill in enumerate(points(ground[2] / "untouched")):
        assert_same_end(ground, f"every-{number}", [kill])


@pytest.mark.faults
def test_kills_of_what_goes_on_from_a_kill(ground):
    chance = random.Random(SEED)
    passed = points(ground[2] / "untouched")
    for number in range(PAIRS):
        assert_same_end(ground, f"pair-{number}", [chance.choice(passed), chance.choice(passed)])
