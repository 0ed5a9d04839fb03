"""SIGKILL at every point of a training, also while it goes on from an earlier kill: nothing lost, nothing twice, no bit other."""

import os
import random

import pytest

from tests.faults.conftest import SEED
from tests.faults.suite import Fault, assert_same_end, assert_same_extension, points, tally

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

QUICK = 10
ENDS_OF_RUNS = 0.02
"""The share of points, the last ones, that other runs of the same training may not come to."""
PAIRS = 60
"""Kills of a training whose resume is killed as well, in the long suite."""
EXTENSIONS = 6
SAMPLED = 120
"""Points of the other recipes and of the data's preparation, in the long suite."""


def test_a_sample_of_all_points(plain):
    """Each run of the tests takes others with LMLAB_FAULTS_SEED; the last ones kill the resume too."""
    chance, passed = random.Random(SEED), plain.points()
    assert len(passed) > 200
    for number, fault in enumerate(chance.sample(passed, QUICK)):
        assert_same_end(plain, f"quick-{number}", [fault])
    for number in range(2):
        assert_same_end(plain, f"twice-{number}", [chance.choice(passed), chance.choice(passed)])


@pytest.mark.parametrize("name", ["beside", "eventful"])
def test_a_sample_with_saves_beside_the_training_and_with_rewinds(request, name):
    ground = request.getfixturevalue(name)
    for number, fault in enumerate(random.Random(SEED).sample(ground.points(), QUICK // 2)):
        assert_same_end(ground, f"quick-{number}", [fault])


def test_a_sample_with_rewinds_that_abandon_the_best_model(regretted):
    for number, fault in enumerate(random.Random(SEED).sample(regretted.points(), QUICK // 3)):
        assert_same_end(regretted, f"quick-{number}", [fault])


def test_what_is_killed_before_its_first_checkpoint_begins_again(plain):
    assert_same_end(plain, "early", [Fault("evaluation", 0)])


def test_what_is_killed_while_its_data_is_prepared_prepares_it(plain, tmp_path):
    for number, index in enumerate((3, 11)):
        cold = {"LMLAB_CACHE": str(tmp_path / f"cold-{number}")}
        assert_same_end(plain, f"cold-{number}", [Fault("disk", index, "after")], cold)


def test_a_sample_of_all_points_of_extending_the_data(extending):
    passed = points(extending.folder / "untouched")
    assert len(passed) > 60
    for number, fault in enumerate(random.Random(SEED).sample(passed, EXTENSIONS)):
        assert_same_extension(extending, f"quick-{number}", [fault])


@pytest.mark.faults
def test_every_point_of_extending_the_data_and_many_kills_of_what_takes_over(extending):
    chance, passed = random.Random(SEED), points(extending.folder / "untouched")
    for number, fault in enumerate(passed):
        assert_same_extension(extending, f"every-{number}", [fault])
    for number in range(PAIRS):
        assert_same_extension(extending, f"pair-{number}", [chance.choice(passed), chance.choice(passed)])


@pytest.mark.faults
def test_every_point(plain):
    before = tally["points that were not reached"]
    passed = plain.points()
    for number, fault in enumerate(passed):
        assert_same_end(plain, f"every-{number}", [fault])
    assert tally["points that were not reached"] - before < ENDS_OF_RUNS * len(passed)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["beside", "eventful"])
def test_many_points_of_saves_beside_the_training_and_of_rewinds(request, name):
    ground = request.getfixturevalue(name)
    passed = ground.points()
    for number, fault in enumerate(random.Random(SEED + 1).sample(passed, min(SAMPLED, len(passed)))):
        assert_same_end(ground, f"many-{number}", [fault])


@pytest.mark.faults
def test_many_points_of_rewinds_that_abandon_the_best_model(regretted):
    passed = regretted.points()
    for number, fault in enumerate(random.Random(SEED + 1).sample(passed, SAMPLED)):
        assert_same_end(regretted, f"many-{number}", [fault])


@pytest.mark.faults
def test_kills_of_what_goes_on_from_a_kill(plain, eventful):
    chance = random.Random(SEED)
    for ground in (plain, eventful):
        passed = ground.points()
        for number in range(PAIRS):
            assert_same_end(ground, f"pair-{number}", [chance.choice(passed), chance.choice(passed)])


@pytest.mark.faults
def test_every_disk_operation_of_preparing_the_data(plain, tmp_path):
    folder = tmp_path / "traced"
    command = [*plain.words, "--run", "traced", "--or-resume"]
    assert plain.nursery.run(command, folder, None, {"LMLAB_CACHE": str(tmp_path / "traced-cache")}) == 0
    operations = [line.split()[0] for line in (folder / "trace.txt").read_text().splitlines()]
    for index in range(operations[: operations.index("step")].count("disk")):
        cold = {"LMLAB_CACHE": str(tmp_path / f"cold-{index}")}
        assert_same_end(plain, f"cold-{index}", [Fault("disk", index, "before")], cold)
