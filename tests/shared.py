"""Data beside the checkout that some tests compare with: public texts and reference files, too large to ship."""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent


def shared_data(name: str) -> Path:
    """That file or folder of the shared data, in $LMLAB_SHARED or beside the checkout; else the test is skipped."""
    root = Path(os.environ.get("LMLAB_SHARED") or CHECKOUT.parent / "shared")
    for folder in (root / "data", root):
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"needs {name} of the shared data: set LMLAB_SHARED to the folder that has it")
