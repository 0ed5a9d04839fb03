"""Imports at the start of a command, without garbage collection in between."""

from __future__ import annotations

import gc
import importlib


def import_uncollected(*modules: str) -> None:
    """Import `modules` without garbage collection.

    They create a million objects, none of them garbage, and collecting would take a sixth of the time. Later collections skip
    them.
    """
    gc.disable()
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        gc.enable()
    gc.freeze()
