"""Runs: folders of plain files that record what was trained, its progress and where it stopped."""

from lmlab.runs.control import REQUESTS, clear_control, read_control
from lmlab.runs.create import create_imported, create_run, require_free_name, require_place
from lmlab.runs.journal import Journal
from lmlab.runs.lines import lines_from_end, read_lines
from lmlab.runs.lock import RunLock, TakenOver, is_locked, require_unlocked
from lmlab.runs.notes import check_note, read_note, write_note
from lmlab.runs.opening import list_runs, open_run, open_runs
from lmlab.runs.removal import remove_leftovers, remove_run, rename_run
from lmlab.runs.run import Run
from lmlab.runs.tags import change_tags, read_tags
from lmlab.runs.units import read_units

__all__ = [
    "REQUESTS",
    "Journal",
    "Run",
    "RunLock",
    "TakenOver",
    "change_tags",
    "check_note",
    "clear_control",
    "create_imported",
    "create_run",
    "is_locked",
    "lines_from_end",
    "list_runs",
    "open_run",
    "open_runs",
    "read_control",
    "read_lines",
    "read_note",
    "read_tags",
    "read_units",
    "remove_leftovers",
    "remove_run",
    "rename_run",
    "require_free_name",
    "require_place",
    "require_unlocked",
    "write_note",
]
