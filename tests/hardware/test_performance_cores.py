"""Detecting the performance cores of a hybrid processor from Linux's files."""

import pytest

from lmlab.hardware.cpu import cores_of, fastest_of, performance_cores, physical_cores, threads_in


def topology(folder, siblings, capacities=None):
    for thread, group in enumerate(siblings):
        (folder / f"cpu{thread}" / "topology").mkdir(parents=True)
        (folder / f"cpu{thread}" / "topology" / "thread_siblings_list").write_text(f"{group}\n")
        if capacities:
            (folder / f"cpu{thread}" / "cpu_capacity").write_text(f"{capacities[thread]}\n")
    return folder


def test_intel_lists_its_performance_cores(tmp_path):
    folder = topology(tmp_path / "cpu", ["0-1", "0-1", "2-3", "2-3", "4", "5"])
    listed = tmp_path / "cpus"
    listed.write_text("0-3\n")
    fast = fastest_of(set(range(6)), folder, listed)
    assert fast == {0, 1, 2, 3} and cores_of(fast, folder) == 2
    assert fastest_of({1, 4, 5}, folder, listed) == {1}, "of those that this process may use"
    assert fastest_of({4, 5}, folder, listed) == {4, 5}, "it may use none of them"


def test_arm_tells_capacities(tmp_path):
    folder = topology(tmp_path, "012345", [446, 446, 446, 446, 1024, 1024])
    assert fastest_of(set(range(6)), folder, tmp_path / "none") == {4, 5}


def test_cores_that_are_alike_all_count(tmp_path):
    folder = topology(tmp_path, "0123")
    assert fastest_of({0, 1, 2, 3}, folder, tmp_path / "none") == {0, 1, 2, 3}
    assert 1 <= performance_cores() <= physical_cores()


@pytest.mark.parametrize(
    "text, threads", [("0-3,8\n", {0, 1, 2, 3, 8}), ("5", {5}), ("", set()), ("0-", set()), ("all", set())]
)
def test_lists_of_threads(text, threads):
    assert threads_in(text) == threads
