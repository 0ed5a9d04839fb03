"""The imports that a start waits for, without a look for garbage on the way."""

from __future__ import annotations

import gc
import importlib


def import_uncollected(*modules: str) -> None:
    """Import `modules` for good.

    They make a million objects of which none is garbage, and looking for some takes a sixth of the time. Later looks pass
    them over.
    """
    gc.disable()
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        gc.enable()
    gc.freeze()
