"""A disk that is full, read-only or failing at any of its operations: one line, nothing lost, and the same end once it's mended."""

import os
import random

import pytest

from tests.faults.conftest import SEED
from tests.faults.suite import Fault, assert_same_end, assert_same_extension, points

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

QUICK, MANY = 3, 100
KINDS = ("full", "read-only", "fails once")


def operations(ground):
    """The disk operations of the untouched run."""
    return sorted({fault.index for fault in points(ground.folder / "untouched") if fault.point == "disk"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_all_operations(plain, kind):
    for index in random.Random(SEED).sample(operations(plain), QUICK):
        assert_same_end(plain, f"{kind}-{index}".replace(" ", "-"), [Fault("disk", index, kind)])


def test_a_save_beside_the_training_that_is_refused_surfaces_and_loses_nothing(beside):
    for index in random.Random(SEED).sample(operations(beside), QUICK):
        assert_same_end(beside, f"full-{index}", [Fault("disk", index, "full")])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_all_operations_of_extending_the_data(extending, kind):
    for index in random.Random(SEED).sample(operations(extending), QUICK):
        assert_same_extension(extending, f"{kind}-{index}".replace(" ", "-"), [Fault("disk", index, kind)])


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_of_extending_the_data(extending, kind):
    for index in operations(extending):
        assert_same_extension(extending, f"every-{kind}-{index}".replace(" ", "-"), [Fault("disk", index, kind)])


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_many_operations(plain, kind):
    chance = random.Random(SEED + 1)
    for index in sorted(chance.sample(operations(plain), MANY)):
        assert_same_end(plain, f"many-{kind}-{index}".replace(" ", "-"), [Fault("disk", index, kind)])
