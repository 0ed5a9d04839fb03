"""The share of the processor that other programs leave."""

import sys
import threading
import time

import pytest

from lmlab.hardware import load
from lmlab.hardware.load import ShareMeter, expected_share, is_busy, others_running, share_of, thread_seconds


def test_a_share_is_the_time_run_of_the_time_wanted():
    assert share_of(1.0, 0.0) == 1.0
    assert share_of(1.0, 3.0) == 0.25
    assert share_of(0.0, 0.0) == 1.0
    assert share_of(1.1, -0.1) == 1.0  # clocks differ a little


def test_a_meter_counts_only_what_passes_while_it_is_held(monkeypatch):
    times = iter([{"1": (5.0, 9.0), "2": (1.0, 1.0)}, {"1": (6.0, 10.0), "2": (2.0, 1.0), "3": (1.0, 2.0)}])
    monkeypatch.setattr(load, "thread_seconds", lambda: next(times))
    # Thread 1 ran 1 s and waited 1 s, thread 2 ran 1 s, thread 3 began and ran 1 s, waited 2 s.
    assert ShareMeter(2).share() == pytest.approx(3 / 6)


def test_without_threads_own_times_the_process_s_own_serve(monkeypatch):
    monkeypatch.setattr(load, "thread_seconds", dict)
    clock, processor = iter([0.0, 2.0]), iter([0.0, 1.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", lambda: next(processor))
    assert ShareMeter(2).share() == pytest.approx(0.25)  # 1 s of 2 threads' 2 s each


@pytest.mark.skipif(sys.platform != "linux" or not thread_seconds(), reason="the system doesn't tell of threads")
def test_more_threads_than_processors_wait_for_each_other():
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(1000))

    meter = ShareMeter(1)
    began = sum(ran for ran, _ in thread_seconds().values())
    worker = threading.Thread(target=spin)
    worker.start()
    time.sleep(0.1)
    stop.set()
    worker.join()
    assert 0 < meter.share() <= 1
    assert sum(ran for ran, _ in thread_seconds().values()) >= began


def test_the_load_is_what_runs_besides_this_thread(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(load, "LOADAVG", tmp_path / "loadavg")
    monkeypatch.setattr(load, "physical_cores", lambda: 4)
    monkeypatch.setattr(load, "logical_cores", lambda: 4)
    for running, others, share, busy in (
        (1, 0, 1.0, False),
        (3, 2, 1.0, False),
        (4, 3, 4 / 5, True),
        (9, 8, 0.4, True),
    ):
        (tmp_path / "loadavg").write_text(f"0.00 0.00 0.00 {running}/400 77\n")
        assert others_running() == others
        assert expected_share(2) == pytest.approx(share)
        assert is_busy() == busy
    (tmp_path / "loadavg").unlink()
    monkeypatch.setattr(load, "load_average", lambda: 2.5)
    assert others_running() == 2.5
