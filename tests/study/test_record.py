"""What a search has measured outlives the process, in Optuna's storage."""

import math
import sqlite3
import sys

import pytest

optuna = pytest.importorskip("optuna")

from lmlab import LabError, StorageError  # noqa: E402
from lmlab.scaling.noise import GradientNoise  # noqa: E402
from lmlab.study.tune.halving import ShortRun  # noqa: E402
from lmlab.study.tune.search_record import SearchRecord  # noqa: E402
from lmlab.study.tune.short_training import ShortResult  # noqa: E402


def outcome(loss: float) -> ShortResult:
    return ShortResult(loss=loss, error=0.01, seconds=1.5, noise=GradientNoise(square=0.1, trace=2.0, steps=30))


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{(tmp_path / 'study.db').as_posix()}"


def test_what_was_added_is_there_for_the_next_process_and_goes_on_in_its_trial(storage):
    made = {ShortRun(20, 0, 1): outcome(2.5), ShortRun(20, 0, 3): outcome(math.inf)}
    first = SearchRecord(storage, "search", 1e-3)
    for run, found in made.items():
        first.add(run, found)
    again = SearchRecord(storage, "search", 1e-3)
    assert again.measured() == made
    more = {ShortRun(40, 0, 1): outcome(2.25), ShortRun(40, 1, 1): outcome(2.75)}
    for run, found in more.items():
        again.add(run, found)
    assert SearchRecord(storage, "search", 1e-3).measured() == {**made, **more}
    assert SearchRecord(storage, "another", 1e-3).measured() == {}
    trials = optuna.load_study(storage=storage, study_name="search").get_trials()
    assert [trial.params["optim.lr"] for trial in trials] == pytest.approx([2e-3, 8e-3])
    assert trials[0].intermediate_values == {20: 2.5, 40: 2.25}


def test_at_the_end_trials_are_complete_or_pruned_and_a_longer_search_may_follow(storage):
    record = SearchRecord(storage, "search", 1e-3)
    for run, loss in ((ShortRun(20, 0, 0), 2.5), (ShortRun(20, 0, 1), 2.6), (ShortRun(40, 0, 0), 2.0)):
        record.add(run, outcome(loss))
    record.add(ShortRun(20, 0, 5), outcome(math.inf))
    record.close(40)
    trials = optuna.load_study(storage=storage, study_name="search").get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert trials[0].value == 2.0
    record.add(ShortRun(40, 1, 0), outcome(2.1))
    assert len(record.measured()) == 5


def test_a_full_disk_is_named_and_the_search_goes_on_after_it(storage, tmp_path, monkeypatch):
    record = SearchRecord(storage, "search", 1e-3)
    run = ShortRun(20, 0, 1)
    pages = sqlite3.connect(tmp_path / "study.db").execute("PRAGMA page_count").fetchone()[0]
    connect = sqlite3.dbapi2.connect

    def small(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3.dbapi2, "connect", small)
        with pytest.raises(StorageError, match="full; free some space"):
            full = SearchRecord(storage, "search", 1e-3)
            for rate in range(2000):
                full.add(ShortRun(20, 0, rate % 30), outcome(2.5))
    record = SearchRecord(storage, "search", 1e-3)
    record.add(run, outcome(2.25))
    assert record.measured()[run] == outcome(2.25)


def test_a_storage_that_cannot_be_had_is_named_in_one_line(tmp_path, monkeypatch):
    for storage in ("nonsense", "sqlite:////nowhere/at/all/study.db", "nosuch://host/db"):
        with pytest.raises(LabError, match="storage"):
            SearchRecord(storage, "search", 1e-3)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(LabError, match=r"pip install \"lmlab\[tune\]\""):
        SearchRecord("sqlite://", "search", 1e-3)
