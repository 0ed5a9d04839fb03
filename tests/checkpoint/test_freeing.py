"""Manual pruning: it frees what was computed before, and keeps what is needed whole."""

import pytest

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.freeing import free, to_free
from lmlab.checkpoint.layout import steps
from lmlab.checkpoint.pruning import occupied


@pytest.fixture
def five(tmp_path, save_tiny):
    """Checkpoints of steps 0 to 400, the best at 200."""
    for step in range(0, 500, 100):
        save_tiny(tmp_path, step, best=step == 200, keep=99)
    return tmp_path


def whole(folder):
    return [step for step in steps(folder) if "optimizer" in find(folder, str(step))[0].parts]


@pytest.mark.parametrize("removing", [False, True])
def test_what_is_freed_was_said_before_and_latest_and_best_stay_whole(five, removing, value_of):
    plan, before = to_free(five, removing), occupied(five)
    assert plan.kept == (200, 400)
    assert (plan.slimmed, plan.removed) == (((0,), (100, 300)) if removing else ((0, 100, 300), ()))
    freed = free(five, plan)
    assert freed == before - occupied(five)
    assert freed == pytest.approx(plan.bytes, abs=600)  # a manifest without its optimizer is shorter
    assert steps(five) == ([0, 200, 400] if removing else [0, 100, 200, 300, 400])
    assert whole(five) == [200, 400]
    assert [value_of(find(five, name)[0]) for name in ("latest", "best")] == [400, 200]
    again = to_free(five, removing)
    assert (again.slimmed, again.removed, again.bytes) == ((), (), 0)


def test_what_stands_in_for_a_damaged_latest_stays_whole(five, damage, value_of):
    damage(five / "step-00000400" / "weights.safetensors")
    plan = to_free(five, True)
    assert plan.kept == (200, 300, 400)
    free(five, plan)
    assert value_of(find(five, "latest")[0]) == 300


def test_nothing_is_pruned_by_a_damaged_pointer(five, tmp_path):
    (five / "best.json").write_text("{")
    with pytest.raises(LabError, match="damaged"):
        to_free(five)
    assert to_free(tmp_path / "nothing").bytes == 0


def test_a_crash_at_any_point_leaves_latest_and_best(tmp_path, save_tiny, disk, value_of):
    at = 0
    while True:
        folder = tmp_path / str(at)
        for step in range(0, 400, 100):
            save_tiny(folder, step, best=step == 100, keep=99)
        plan = to_free(folder, True)
        storage = disk.Faulty(at)
        try:
            free(folder, plan, storage)
        except disk.Killed:
            storage.lose_what_was_not_flushed()
        else:
            break
        assert [value_of(find(folder, name)[0]) for name in ("latest", "best")] == [300, 100]
        at += 1
    assert at > 5
