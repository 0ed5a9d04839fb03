"""The registry of benchmark tasks: what each asks, where its items come from, and how they are scored.

lmlab's own tasks are listed in `lmlab.evaluation.tasks.known`; `add_task` registers another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from lmlab.evaluation.tasks.item import Item
from lmlab.evaluation.tasks.records import TaskFile

StyleName = Literal["completion", "normalised per token", "normalised per byte", "whole sentence", "last word"]
"""How the options' log-probabilities decide an item: see `lmlab.evaluation.tasks.styles`."""
Corruption = Literal["removed", "shuffled", "none"]
"""The control of a task's prompts: removed; their words in random order; or none, where items have no prompts."""

Read = Callable[[TaskFile], Iterator[Item]]
"""Yields the items of one file, in order. Raises LabError that names the file and line of a malformed one."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A result that others published."""

    model: str
    accuracy: float
    style: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark task."""

    name: str
    """Its name for --tasks, and in file names."""
    about: str
    """What it asks, in a few words."""
    source: str
    """The paper that introduced it."""
    files: tuple[str, ...]
    """Patterns of the last parts of its files' paths, such as winogrande/dev.jsonl, without the ending of a compression. The first
    one that a file matches is taken; all files that match a pattern with a * belong together."""
    read: Read
    styles: tuple[StyleName, ...]
    """The first one is the primary style, by which models are compared."""
    groupings: tuple[str, ...] = ()
    """Names of the groupings of its items; accuracies are reported by group too."""
    corruption: Corruption = "removed"
    positions_mean: bool = True
    """Whether the position of the right option varies, so that always choosing the most frequent one is a baseline. Of a task with
    one option an item the most frequent answer is the baseline in any case."""
    published: tuple[Published, ...] = ()

    @property
    def style(self) -> StyleName:
        """The primary style."""
        return self.styles[0]


NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
TASKS: dict[str, Task] = {}
"""Name -> task, in the order in which they are shown."""


def add_task(task: Task) -> None:
    """Register a task. ValueError if the name is known already, or can't be a file's name."""
    if not NAME.fullmatch(task.name):
        raise ValueError(
            f"{task.name!r} can't be a task's name: expected lower-case letters, digits and hyphens, at most 40"
        )
    if task.name in TASKS:
        raise ValueError(f"the task {task.name} exists already")
    TASKS[task.name] = task
