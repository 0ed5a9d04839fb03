"""Links among a run's files are refused: a resume could otherwise empty, truncate or delete files elsewhere.

A run may come from another machine, and an archive can contain links. A link to a run's whole folder is allowed.
"""

from __future__ import annotations

from pathlib import Path

from lmlab import LabError
from lmlab.files import is_link
from lmlab.runs.black_boxes import FOLDER as BLACK_BOXES
from lmlab.runs.control import FOLDER as CONTROL
from lmlab.runs.journal import DISCARDED, FILES
from lmlab.runs.measures import FOLDER as MEASURES
from lmlab.runs.task_results import FOLDER as TASKS

WRITTEN = (
    "lock",
    "checkpoints",
    CONTROL,
    BLACK_BOXES,
    TASKS,
    MEASURES,
    "segments.jsonl",
    DISCARDED,
    *(f"{file}.jsonl" for file in FILES),
)
"""Files and folders that are changed in place, or written into. The others are replaced, and a link with them."""


def refuse_links(folder: Path) -> None:
    """Raise LabError if one of `WRITTEN` is a link."""
    for name in WRITTEN:
        if is_link(folder / name):
            raise LabError(
                f"{folder / name} is a link: expected the run's own; put what it points to in its place, or link the "
                "whole run"
            )
