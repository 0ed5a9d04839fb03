"""Which checkpoints are kept whole, which keep their weights only, and the effect of a disk budget."""

import pytest

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps
from lmlab.checkpoint.pruning import Retention, occupied, prune
from lmlab.checkpoint.slimming import slim


def whole_steps(folder):
    return [step for step in steps(folder) if "optimizer" in find(folder, str(step))[0].parts]


@pytest.fixture
def eleven(tmp_path, save_tiny):
    """Checkpoints of steps 0 to 1000, the best at 200."""
    for step in range(0, 1100, 100):
        save_tiny(tmp_path, step, best=step == 200, keep=99)
    return tmp_path


def test_every_nth_stays_besides_the_newest(eleven):
    prune(eleven, Retention(keep=2, keep_every=300))
    assert steps(eleven) == [0, 200, 300, 600, 900, 1000]
    assert whole_steps(eleven) == steps(eleven)


def test_older_ones_drop_their_optimizer_and_stay_intact(eleven):
    prune(eleven, Retention(keep=2, keep_every=300, weights_only=True, protect=(300,)))
    assert steps(eleven) == [0, 200, 300, 600, 900, 1000]
    assert whole_steps(eleven) == [300, 900, 1000]
    for step in steps(eleven):
        checkpoint, lines = find(eleven, str(step))
        assert not lines and checkpoint.state == {"value": step}
        assert float(checkpoint.tensors("weights")["head.weight"][0, 0]) == step
    best, lines = find(eleven, "best")
    assert best.step == 200 and not lines


def test_a_crash_at_any_point_of_dropping_leaves_an_intact_checkpoint(tmp_path, save_tiny, disk, value_of):
    at = 0
    while True:
        folder = tmp_path / str(at)
        save_tiny(folder, 100, best=True)
        save_tiny(folder, 200)
        storage = disk.Faulty(at)
        try:
            dropped = slim(folder, 100, storage)
        except disk.Killed:
            dropped = False
        found, lines = find(folder, "best")
        assert found.step == 100 and not [line for line in lines if "damaged" in line]
        if "optimizer" in found.parts:
            assert value_of(found) == 100
        save_tiny(folder, 300, keep=9)
        parts = {entry.name for entry in found.folder.iterdir()}
        assert parts == {*find(folder, "100")[0].manifest["files"], "manifest.json"}
        if dropped:
            break
        at += 1
    assert at > 5


def test_a_disk_budget_shrinks_old_ones_then_removes_them_and_never_the_newest_or_the_best(tmp_path, save_tiny):
    save_tiny(tmp_path, 0)
    one = occupied(tmp_path)
    budget = 5 * one
    for step in range(100, 2000, 100):
        save_tiny(tmp_path, step, best=step == 300, keep=99, budget=budget)
        assert occupied(tmp_path) <= budget + 2000  # manifests and pointers, which are large beside such small tensors
        assert step in steps(tmp_path) and (step < 300 or 300 in steps(tmp_path))
        assert step in whole_steps(tmp_path)
    assert len(steps(tmp_path)) >= 4


def test_a_budget_below_what_must_stay_is_refused_and_nothing_is_lost(tmp_path, save_tiny, value_of):
    save_tiny(tmp_path, 0, best=True)
    with pytest.raises(LabError, match=r"train.disk .* is too little.*resume with a larger"):
        save_tiny(tmp_path, 100, budget=occupied(tmp_path))
    assert steps(tmp_path) == [0] and value_of(find(tmp_path, "latest")[0]) == 0
