"""latest.json and best.json agree with the newest state, whatever happened to them before."""

import itertools
import shutil

import pytest

from lmlab import LabError, StorageError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps
from lmlab.checkpoint.pointers import Best, point, pointed, update_pointers
from lmlab.checkpoint.pruning import Retention, occupied
from lmlab.checkpoint.saving import save_and_point
from lmlab.files import Owned
from tests.checkpoint.conftest import parts_of


@pytest.fixture
def three(tmp_path, save_tiny):
    """Checkpoints of steps 0, 250 (the best) and 500."""
    folder = tmp_path / "checkpoints"
    for step in (0, 250, 500):
        save_tiny(folder, step, best=step == 250, keep=9)
    return folder


DAMAGES = {
    "cut off": lambda path: path.write_text("{"),
    "emptied": lambda path: path.write_text(""),
    "deleted": lambda path: path.unlink(),
    "of another step": lambda path: path.write_text('{"format": 1, "step": 0}'),
    "to nothing": lambda path: path.write_text('{"format": 1, "step": 77}'),
    "of another format": lambda path: path.write_text('{"format": 9, "step": 250}'),
}


@pytest.mark.parametrize("name", ["latest", "best"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pointer_is_written_anew(three, name, damage):
    before = {which: pointed(three, which) for which in ("latest", "best")}
    DAMAGES[damage](three / f"{name}.json")
    assert update_pointers(three, 500, Best(step=250, loss=before["best"]["loss"])) == [name]
    assert {which: pointed(three, which) for which in ("latest", "best")} == before
    assert update_pointers(three, 500, Best(step=250, loss=before["best"]["loss"])) == []


@pytest.mark.parametrize("name", ["latest", "best"])
def test_a_save_goes_on_and_prunes_while_a_pointer_is_damaged(three, save_tiny, name):
    best = Best(step=250, loss=0.5)
    (three / f"{name}.json").write_text("{")
    save_and_keep(save_tiny, three, 750, best)
    assert steps(three) == [0, 250, 750]
    assert pointed(three, "latest")["step"] == 750 and pointed(three, "best")["loss"] == 0.5


@pytest.mark.parametrize("name", ["latest", "best"])
def test_a_budget_is_kept_while_a_pointer_is_damaged(three, save_tiny, name):
    budget = 4 * occupied(three / "step-00000500")
    (three / f"{name}.json").write_text("{")
    save_and_keep(save_tiny, three, 750, Best(step=250, loss=0.5), budget=budget)
    assert occupied(three) <= budget
    assert find(three, "latest")[0].step == 750 and find(three, "best")[0].step == 250


def save_and_keep(save_tiny, folder, step, best, **options):
    save_and_point(folder, step, parts_of(step), {"value": step}, retention=Retention(keep=1), best=best, **options)


def test_a_crash_at_any_operation_leaves_pointers_that_the_newest_state_makes_right(tmp_path, three, save_tiny, disk):
    """The new step is the best one: a crash after latest.json has moved leaves best.json at the one before."""
    best = {500: Best(step=250, loss=pointed(three, "best")["loss"]), 750: Best(step=750, loss=0.001)}
    trial = disk.Faulty()
    shutil.copytree(three, three.with_name("trial"))
    save_and_keep(save_tiny, three.with_name("trial"), 750, best[750], storage=trial)
    between = 0
    for number in range(trial.count):
        folder = three.with_name(f"killed-{number}")
        shutil.copytree(three, folder)
        storage = disk.Faulty(at=number)
        with pytest.raises(disk.Killed):
            save_and_keep(save_tiny, folder, 750, best[750], storage=storage)
        latest = find(folder, "latest")[0].step
        between += (latest, pointed(folder, "best")["step"]) == (750, 250)
        update_pointers(folder, latest, best[latest])
        assert find(folder, "best") == (find(folder, str(best[latest].step))[0], [])
    assert between


def test_no_best_model_has_no_pointer(three):
    assert update_pointers(three, 500, None) == ["best"]
    assert not (three / "best.json").exists()
    assert update_pointers(three, 500, Best(step=333, loss=0.1)) == []


def test_spared_steps_stay_with_their_weights(three, save_tiny):
    retention = Retention(keep=1, weights_only=True, spare=(250,))
    save_and_point(three, 750, parts_of(750), {"value": 750}, retention=retention, best=Best(step=750, loss=0.1))
    assert steps(three) == [0, 250, 750]
    assert find(three, "250")[0].parts == ["weights"]


class Lost(StorageError):
    """Another process has the run."""


def test_an_owner_that_has_lost_the_folder_leaves_all_that_the_new_one_has(three, save_tiny):
    """A takeover at any check of the owner, while the new owner saves the same step."""
    for moment in itertools.count():
        folder = three.with_name(f"taken-over-{moment}")
        shutil.copytree(three, folder)
        asked = itertools.count()

        def owner(asked=asked, moment=moment, folder=folder):
            number = next(asked)
            if number == moment:
                save_tiny(folder, 750, -1, keep=9)
            if number >= moment:
                raise Lost("taken over")

        try:
            save_and_keep(save_tiny, folder, 750, None, storage=Owned(owner))
        except Lost:
            assert find(folder, "latest")[0].state == {"value": -1}, moment
            assert {0, 750} <= set(steps(folder)), moment
            assert not [entry.name for entry in folder.iterdir() if entry.name.startswith(".step")], moment
        else:
            break
    assert moment > 5


def test_a_pointer_of_the_new_owner_s_is_not_removed_for_a_checkpoint_that_it_has_pruned(three, save_tiny):
    """Taken over between the two pointers: the earlier owner finds its best step gone, and best.json is the new one's."""
    asked = itertools.count()

    def owner():
        if next(asked) >= 1:  # the first is for latest.json
            raise Lost("taken over")

    before = (three / "best.json").read_bytes()
    (three / "latest.json").unlink()
    with pytest.raises(Lost):
        update_pointers(three, 500, Best(step=333, loss=0.1), Owned(owner))
    assert (three / "best.json").read_bytes() == before and pointed(three, "latest")["step"] == 500


def test_a_step_without_a_checkpoint_can_t_be_pointed_to(three):
    with pytest.raises(LabError, match="has no checkpoint of it"):
        point(three, "latest", 333)
