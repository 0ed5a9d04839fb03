"""Runs: folders of plain files that say what was trained, how it went and where it left off."""

from lmlab.runs.control import REQUESTS, clear_control, read_control
from lmlab.runs.create import create_run, require_free_name
from lmlab.runs.journal import Journal
from lmlab.runs.lines import read_lines
from lmlab.runs.lock import RunLock, is_locked
from lmlab.runs.opening import list_runs, open_run
from lmlab.runs.run import Run
from lmlab.runs.units import read_units

__all__ = [
    "REQUESTS",
    "Journal",
    "Run",
    "RunLock",
    "clear_control",
    "create_run",
    "is_locked",
    "list_runs",
    "open_run",
    "read_control",
    "read_lines",
    "read_units",
    "require_free_name",
]
