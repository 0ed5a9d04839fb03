"""The engine's library, or the reason to skip."""

import pytest

from lmlab.native import Library
from tests.engine import engine_library


@pytest.fixture(scope="session")
def library() -> Library:
    """Built once a session."""
    return engine_library()
