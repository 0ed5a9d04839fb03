"""The CPU engine's library for tests that need it."""

import pytest

from lmlab.native.compiler import NO_COMPILER, NONE_ON_WINDOWS
from lmlab.native.library import SETTING, Library, load

WITHOUT = (NO_COMPILER, NONE_ON_WINDOWS, f"{SETTING} is off")


def engine_library() -> Library:
    """The library; the test is skipped where there is no compiler, and fails where there is one that can't build it."""
    loaded = load(lambda line: None)
    if isinstance(loaded, Library):
        return loaded
    if loaded.reason in WITHOUT:
        pytest.skip(f"the CPU engine: {loaded.reason}")
    pytest.fail(f"the CPU engine: {loaded.reason}")
