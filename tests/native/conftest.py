"""The engine's library, or the reason to skip."""

import pytest

from lmlab.native import Library, load


@pytest.fixture(scope="session")
def library() -> Library:
    """Built once a session."""
    loaded = load(lambda line: None)
    if not isinstance(loaded, Library):
        pytest.skip(loaded.reason)
    return loaded
