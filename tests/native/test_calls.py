"""What can go wrong around a call into the engine: it ends as one line, never as a process that hangs or aborts."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from lmlab.model.native import native_engine
from lmlab.native.decoder import Decoder, Settings
from lmlab.native.library import Library
from lmlab.native.recurrence import RecurrenceKernel
from tests.model.grid import VOCABULARY, random_model, settings

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
PREPARE = """
import os, resource, sys
import numpy as np, torch
from lmlab import LabError
from lmlab.model.native import native_engine
from lmlab.native.decoder import Decoder
from tests.model.grid import VOCABULARY, random_model, settings

torch.set_num_threads(1)
model = random_model(settings("gpt2", width=192, context=64))
batch = np.random.default_rng(1).integers(0, VOCABULARY, (2, 8, 64))
free = resource.getrlimit(resource.RLIMIT_AS)

def leave(megabytes):
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (megabytes << 20), free[1]))
"""
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="limits its own address space, as Linux does")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def said_by(script: str) -> list[str]:
    """The lines of a Python process that runs PREPARE and `script`; it must end by itself and in order."""
    words = [sys.executable, "-W", "ignore", "-c", PREPARE + textwrap.dedent(script)]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        words, capture_output=True, text=True, timeout=SECONDS, env={**os.environ, "PYTHONPATH": paths}
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout.splitlines()


@needs_proc
def test_threads_that_the_system_refuses_are_an_error_and_the_engine_works_with_fewer(library: Library) -> None:
    lines = said_by("""
        leave(150)
        try:
            native_engine(model, 49)
        except LabError as error:
            print(error)
        print(native_engine(model, 1).learn(*batch, 1.0) > 0)
    """)
    assert lines[0].startswith("the CPU engine can't start its threads") and "--train.threads" in lines[0]
    assert lines[1:] == ["True"]


@needs_proc
@pytest.mark.parametrize("threads", [1, 2])
def test_memory_that_isn_t_there_is_an_error_and_a_smaller_call_still_works(library: Library, threads: int) -> None:
    lines = said_by(f"""
        engine, other = native_engine(model, {threads}), native_engine(random_model(model.config), {threads})
        expected = other.learn(*batch, 1.0)
        engine.gradients
        leave(4)
        for call in (lambda: engine.learn(*batch, 1.0), lambda: Decoder(engine, 1000, 64)):
            try:
                call()
            except LabError as error:
                print(error)
        resource.setrlimit(resource.RLIMIT_AS, free)
        print(engine.learn(*batch, 1.0) == expected)
    """)
    assert len(lines) == 3 and lines[2] == "True"
    assert all("not enough memory" in line and "train.micro_batch" in line for line in lines[:2])


@needs_fork
def test_a_forked_process_computes_with_threads_of_its_own(library: Library) -> None:
    lines = said_by("""
        engine = native_engine(model, 3)
        expected = engine.learn(*batch, 1.0)
        child = os.fork()
        if child == 0:
            os._exit(7 if engine.learn(*batch, 1.0) == expected else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), engine.learn(*batch, 1.0) == expected)
    """)
    assert lines == ["7 True"]


@needs_fork
def test_a_process_forked_amid_a_call_of_another_thread_doesn_t_wait_for_it(library: Library) -> None:
    lines = said_by("""
        import threading
        engine = native_engine(model, 2)
        expected = engine.learn(*batch, 1.0)
        enough = threading.Event()

        def work():
            while not enough.is_set():
                engine.learn(*batch, 1.0)

        busy = threading.Thread(target=work)
        busy.start()
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                os._exit(7 if engine.learn(*batch, 1.0) == expected else 1)
            children.append(child)
        print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
        enough.set()
        busy.join()
    """)
    assert lines == [str([7] * 3)]


def test_two_threads_that_use_one_engine_take_turns(library: Library) -> None:
    model = random_model(settings("gpt2"))
    engine = native_engine(model, 2)
    assert engine is not None
    batches = [np.random.default_rng(seed).integers(0, VOCABULARY, (2, 6, 12)) for seed in range(2)]
    expected = []
    for tokens, targets in batches:
        nats = engine.scores(tokens, targets)[0].copy()
        expected.append((engine.learn(tokens, targets, 1.0), nats))
    decoder = Decoder(engine, 1, 12)
    plain = Settings(
        temperature=0.0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, vocabulary=VOCABULARY, end_of_text=-1
    )

    def written() -> list[list[int]] | None:
        decoder.start(0, [1, 2], [1, 2], 8)
        return decoder.write([0], plain, np.zeros((1, 8)))

    text = written()
    failures: list[str] = []

    def use(place: int) -> None:
        tokens, targets = batches[place]
        for _ in range(150):
            if engine.learn(tokens, targets, 1.0) != expected[place][0]:
                failures.append("a loss")
            if not np.array_equal(engine.scores(tokens, targets)[0], expected[place][1]):
                failures.append("scores")
            if place == 0 and written() != text:
                failures.append("a text")

    threads = [threading.Thread(target=use, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


@needs_proc
def test_a_recurrence_kernel_s_threads_that_the_system_refuses_are_an_error(library: Library) -> None:
    lines = said_by("""
        from lmlab.native.library import load
        from lmlab.native.recurrence import RecurrenceKernel
        functions = load().functions
        leave(150)
        try:
            RecurrenceKernel(functions, 49)
        except LabError as error:
            print(error)
    """)
    assert lines[0].startswith("the CPU engine can't start its threads")


def test_kernels_are_closed_without_waiting(library: Library) -> None:
    for _ in range(20):
        RecurrenceKernel(library.functions, 3)
        native_engine(random_model(settings("gpt2")), 3)
    assert torch.get_num_threads() >= 1
