"""Runs that differ only in the seed as one curve: their mean, between the lowest and the highest."""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence

import numpy as np

from lmlab.report.page.courses import Course
from lmlab.report.page.values import AXES, Line, Places

SEED = re.compile(r"[-_. ]+(s|seed)?\d*$")
"""The end of what names of seeds have in common: "-s" of a-s1 and a-s2."""


def groups_of(courses: Sequence[Course]) -> list[list[int]]:
    """Return the places of the runs of each group, in the order of their first runs.

    A group has the finished runs of one family (`Record.family`: equal recipes but for the seed, of the same data). A run that has
    not ended is a group of its own, since a mean would end where it does.
    """
    found: dict[str, list[int]] = {}
    for place, course in enumerate(courses):
        key = course.record.family if course.record.final is not None else f"{place} {course.record.id}"
        found.setdefault(key, []).append(place)
    return list(found.values())


def group_name(courses: Sequence[Course]) -> str:
    """Return what a group is called: its run's name, or what the names have in common with the number of seeds."""
    names = [course.name for course in courses]
    if len(names) == 1:
        return names[0]
    common = SEED.sub("", os.path.commonprefix(names)) or names[0]
    seeds = len({course.record.seed for course in courses})
    return f"{common} ({seeds} seeds)" if seeds > 1 else f"{common} ({len(names)} runs)"


def mean_line(name: str, lines: Sequence[Line]) -> Line:
    """Return the mean of curves at the steps that all of them have, with the lowest and the highest as its band.

    Positions on the other axes are means, too, since seeds take different times.
    """
    steps = set(lines[0].places.steps.tolist())
    for line in lines[1:]:
        steps &= set(line.places.steps.tolist())
    common = sorted(steps)
    kept = [np.searchsorted(line.places.steps, common) for line in lines]
    values = np.asarray([line.values[places] for line, places in zip(lines, kept, strict=True)]).reshape(len(lines), -1)
    places = Places(
        **{
            axis.lower(): np.mean([line.places.on(axis)[at] for line, at in zip(lines, kept, strict=True)], axis=0)
            for axis in AXES
        }
    )
    first = lines[0]
    return Line(
        name=name,
        group=first.group,
        quantity=f"{first.quantity}, mean of {len(lines)} runs",
        style=first.style,
        places=places,
        values=values.mean(axis=0),
        low=values.min(axis=0),
        high=values.max(axis=0),
        source="; ".join(line.source for line in lines),
    )
