"""The engine's library, and a folder for builds of other libraries."""

from pathlib import Path

import pytest

from lmlab.native.library import Library
from tests.engine import engine_library


@pytest.fixture(scope="session")
def library() -> Library:
    """Built once a session."""
    return engine_library()


@pytest.fixture
def native_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where builds of this test's own are kept; it isn't there yet."""
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.delenv("LMLAB_NATIVE", raising=False)
    return tmp_path / "native"
