"""Renaming and removing runs: atomic, never while a process works on them, and whole or gone after a kill at any time."""

import itertools

import pytest

from lmlab import LabError
from lmlab.files import Storage
from lmlab.runs import RunLock, list_runs, remove_leftovers, remove_run, rename_run


class Killed(BaseException):
    """The simulated process died."""


class Dying(Storage):
    """Dies before its operation number `at`."""

    def __init__(self, at):
        self.left = at

    def step(self):
        self.left -= 1
        if self.left < 0:
            raise Killed

    def rename(self, old, new):
        self.step()
        super().rename(old, new)

    def remove(self, path):
        self.step()
        super().remove(path)

    def remove_folder(self, folder):
        self.step()
        super().remove_folder(folder)

    def flush_folder(self, folder):
        self.step()


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_kill_at_any_instant_of_a_removal_leaves_the_whole_run_or_none(make_run, tmp_path):
    outcomes = []
    for at in itertools.count():
        run = make_run("victim")
        (run.checkpoints / "step-00000001").mkdir()
        (run.checkpoints / "step-00000001" / "weights.safetensors").write_bytes(b"x")
        with RunLock(run.folder):
            before = contents(run.folder)
        try:
            remove_run(run, Dying(at))
        except Killed:
            left = list_runs(tmp_path)
            # Who holds the lock signs its file.
            assert not left or {**contents(left[0].folder), **_lock(before)} == before
            outcomes.append(bool(left))
            if left:
                remove_run(left[0])
            remove_leftovers(tmp_path)
            assert list(tmp_path.iterdir()) == []
        else:
            break
    assert outcomes[0] is True and outcomes[1:] == [False] * (len(outcomes) - 1) and len(outcomes) > 5


def _lock(files):
    return {path: content for path, content in files.items() if path.name == "lock"}


def test_a_removal_takes_the_run_and_nothing_else(make_run, tmp_path):
    make_run("one")
    remove_run(make_run("two"))
    assert [run.name for run in list_runs(tmp_path)] == ["one"]


def test_of_a_link_only_the_link_goes(make_run, tmp_path):
    run = make_run("one")
    link = tmp_path / "other"
    link.symlink_to(run.folder, target_is_directory=True)
    remove_run(next(one for one in list_runs(tmp_path) if one.folder == link))
    assert [one.name for one in list_runs(tmp_path)] == ["one"] and run.recipe().name == "small"


def test_a_new_name_keeps_id_and_files(make_run, tmp_path):
    run = make_run("one")
    known = run.id
    renamed = rename_run(run, "two")
    assert renamed.name == "two" and renamed.id == known
    assert [one.name for one in list_runs(tmp_path)] == ["two"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("taken", "already"), ("a/b", "can't be named"), ("", "can't be named"), (".x", "can't be named")],
)
def test_a_name_that_cannot_be_is_refused(make_run, tmp_path, name, said):
    make_run("taken")
    run = make_run("one")
    with pytest.raises(LabError, match=said):
        rename_run(run, name)
    assert [one.name for one in list_runs(tmp_path)] == ["one", "taken"]


def test_a_run_that_somebody_works_on_is_left_alone(make_run, tmp_path):
    run = make_run("one")
    with RunLock(run.folder):
        for act in (lambda: remove_run(run), lambda: rename_run(run, "two")):
            with pytest.raises(LabError, match="in use by process"):
                act()
    assert [one.name for one in list_runs(tmp_path)] == ["one"]
