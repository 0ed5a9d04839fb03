"""Which checkpoints are kept when older ones are removed."""

import pytest

from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps
from lmlab.checkpoint.pointers import point
from lmlab.checkpoint.pruning import Retention, prune, tidy


def folder_with(tmp_path, save_tiny, present, best=None):
    for step in present:
        save_tiny(tmp_path, step, best=step == best, keep=99)
    return tmp_path


@pytest.mark.parametrize(
    ("keep", "protect", "left"),
    [
        (2, (), [0, 200, 400, 500]),
        (1, (), [0, 200, 500]),
        (0, (), [0, 200, 500]),
        (2, (100,), [0, 100, 200, 400, 500]),
        (9, (), [0, 100, 200, 300, 400, 500]),
    ],
)
def test_the_newest_the_first_the_best_and_the_protected_stay(tmp_path, save_tiny, keep, protect, left):
    folder = folder_with(tmp_path, save_tiny, range(0, 600, 100), best=200)
    removed = prune(folder, Retention(keep=keep, protect=tuple(protect)))
    assert steps(folder) == left
    assert removed == [step for step in range(0, 600, 100) if step not in left]
    assert find(folder, "latest")[0].step == 500 and find(folder, "best")[0].step == 200


def test_a_long_training_keeps_a_constant_number(tmp_path, save_tiny):
    for step in range(0, 1000, 50):
        save_tiny(tmp_path, step, best=step in (0, 300), keep=2)
        assert len(steps(tmp_path)) <= 4
    assert steps(tmp_path) == [0, 300, 900, 950]


def test_after_a_rewind_the_line_that_was_left_goes_and_the_one_just_saved_stays(tmp_path, save_tiny):
    folder = folder_with(tmp_path, save_tiny, (0, 100, 200, 300, 400))
    save_tiny(folder, 150, keep=1)
    assert steps(folder) == [0, 150]


def test_nothing_goes_while_a_pointer_cannot_be_read(tmp_path, save_tiny):
    folder = folder_with(tmp_path, save_tiny, (0, 100, 200, 300), best=100)
    (folder / "best.json").write_text("{")
    assert prune(folder, Retention(keep=1)) == [] and steps(folder) == [0, 100, 200, 300]
    point(folder, "best", 100)
    assert prune(folder, Retention(keep=1)) == [200]


def test_tidying_touches_nothing_that_is_not_ours(tmp_path, save_tiny):
    folder = folder_with(tmp_path, save_tiny, (0, 100))
    for name in (".step-00000200.tmp-1", ".hidden", "step-x"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")
    for name in (".latest.json.77.tmp", "notes.txt", ".other.tmp"):
        (folder / name).write_text("x")
    tidy(folder)
    assert sorted(entry.name for entry in folder.iterdir()) == [
        ".hidden", ".other.tmp", "latest.json", "notes.txt", "step-00000000", "step-00000100", "step-x",
    ]  # fmt: skip


def test_a_link_in_an_unfinished_folder_is_removed_and_what_it_points_to_stays(tmp_path, save_tiny):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    folder = folder_with(tmp_path / "checkpoints", save_tiny, (0,))
    (folder / ".step-00000200.tmp-1").mkdir()
    (folder / ".step-00000200.tmp-1" / "link").symlink_to(tmp_path / "precious")
    tidy(folder)
    assert (tmp_path / "precious" / "file").exists() and not (folder / ".step-00000200.tmp-1").exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_of_two_checkpoints_of_one_step_the_new_one_stays_unless_it_is_damaged(
    tmp_path, save_tiny, value_of, damage, damaged
):
    folder = folder_with(tmp_path, save_tiny, (0, 100))
    (folder / "step-00000100").rename(folder / ".step-00000100.old")
    assert steps(folder) == [0, 100] and value_of(find(folder, "latest")[0]) == 100
    save_tiny(folder / "other", 100, 7)
    (folder / "other" / "step-00000100").rename(folder / "step-00000100")
    if damaged:
        damage(folder / "step-00000100" / "weights.safetensors")
    assert value_of(find(folder, "latest")[0]) == (100 if damaged else 7)
    tidy(folder)
    assert not (folder / ".step-00000100.old").exists()
    assert value_of(find(folder, "latest")[0]) == (100 if damaged else 7)
