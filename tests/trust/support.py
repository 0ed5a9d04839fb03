"""What the tests of trust share: how a refusal looks, a training to damage, and commands with little memory."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lmlab import LabError, printable

CHECKOUT = Path(__file__).parents[2]
ROOM = 1 << 30
"""What a confined command may take beside its imports: threads and the allocator reserve a good part of it."""


def assert_one_line(text: str, *words: str) -> None:
    """A refusal as a person should see it: it has the words that say what was wrong and what to do."""
    assert words
    assert text and "\n" not in text and printable(text) == text, text
    assert len(text) <= LabError.LONGEST + 3, len(text)
    for word in words:
        assert word in text, text


def assert_refused(call: Callable[[], Any], *words: str, most_bytes: int = 8_000_000) -> None:
    """`call` raises LabError in one line with these words, and Python allocates no more than so much on the way."""
    gc.freeze()  # else each collection goes through all that earlier tests of this process have left
    tracemalloc.start()
    try:
        with pytest.raises(LabError) as caught:
            call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert_one_line(str(caught.value), *words)
    assert peak < most_bytes, peak


@contextmanager
def computes_at_most(seconds: float) -> Iterator[None]:
    """The body takes less than so much processor time of its thread: a wait of a busy machine isn't the code's."""
    began = time.thread_time()
    yield
    took = time.thread_time() - began
    assert took < seconds, took


def confined(commands: Sequence[Sequence[object]], folder: Path, room: int = ROOM) -> list[tuple[Any, str]]:
    """(exit status, standard error) of each command, in one process that may take `room` bytes; skips without /proc."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux, where a process can be told how much memory it may take")
    words = [[str(word) for word in command] for command in commands]
    kept = {"LMLAB_TEST_ROOM": str(room), "LMLAB_NATIVE": "off", "LMLAB_RUNS": str(folder / "runs")}
    answer = subprocess.run(
        [sys.executable, "-m", "tests.trust.confined"],
        input=json.dumps(words),
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, **kept, "LMLAB_CACHE": str(folder / "cache")},
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return [(status, errors) for status, errors in json.loads(answer.stdout.splitlines()[-1])]


def assert_answers_one_line(answer: tuple[Any, str], *words: str) -> None:
    """A command ended with status 1 and one line that has these words."""
    status, errors = answer
    assert status == 1, errors[-2000:]
    lines = [line for line in errors.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("lmlab: "), errors[-2000:]
    assert_one_line(lines[0].removeprefix("lmlab: "), *words)
