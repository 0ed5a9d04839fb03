"""The history of a run, in order: its events, the beginning and end of each process that worked on it, and its branches.

Ends are recorded (`stopped`, `failed`, `finished` in events.jsonl; a resume moves them to discarded.jsonl, because its checkpoint
is older). Where none is recorded it is inferred: for a run from before these lines from its summary, for a process that was killed
from the last line that it wrote.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from lmlab import LabError
from lmlab.runs import Run, list_runs

ENDS = ("stopped", "failed", "finished")
"""Kinds of events that record how a process's work on a run ended."""
ENDED = "ended"
"""The kind of a line generated here for a process without a recorded end."""


def events_of(run: Run, checkpoints: bool = True) -> list[dict[str, Any]]:
    """Return all events of `run`, by time.

    Lines of events.jsonl unchanged, without those of kind `checkpoint` where `checkpoints` is false; those of segments.jsonl
    with `segment_line`, the first of a branch with its `parent`; and, with `inferred`, ends that no line records. A line of
    kind `branch` marks where another run in the same folder begins: `run`, `step`.
    """
    segments = [{**line, "segment_line": True} for line in run.read_lines("segments")]
    parent = run.origin().get("parent")
    if segments and parent is not None:
        segments[0]["parent"] = {"name": parent.get("name"), "step": parent.get("step")}
    events = run.read_lines("events")
    discarded = [
        line for line in run.read_lines("discarded") if line.get("kind") in ENDS and line.get("kind") != "finished"
    ]
    lines = [*segments, *events, *discarded, *_inferred_ends(run, segments, [*events, *discarded]), *_branches(run)]
    shown = [line for line in lines if checkpoints or line["kind"] != "checkpoint"]
    # One process may end and the next one begin in the same millisecond.
    return sorted(shown, key=lambda line: (str(line.get("time", "")), line.get("segment", len(segments))))


def _inferred_ends(
    run: Run, segments: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return a line for each segment whose end isn't recorded, at the last step and time in its lines."""
    ended = {line.get("segment") for line in events if line["kind"] in ENDS}
    begun = [line for line in segments if line["segment"] not in ended]
    status = run.status()
    last = segments[-1]["segment"] if segments else None
    found = []
    for line in begun:
        if line["segment"] == last and status == "running":
            continue
        step, time = _last_of(run, line)
        end: dict[str, Any] = {"kind": ENDED, "segment": line["segment"], "step": step, "time": time, "inferred": True}
        summary = run.summary() if line["segment"] == last else None
        if summary is not None:
            end |= {"kind": "finished", "step": summary.get("steps", step), "reason": summary.get("reason")}
        found.append(end)
    return found


def _last_of(run: Run, segment: dict[str, Any]) -> tuple[int, str]:
    """Return the last step and time in a segment's lines."""
    step, time = int(segment["step"]), str(segment.get("time", ""))
    for file in ("metrics", "events", "discarded"):
        for line in run.read_lines(file):
            if line.get("segment") == segment["segment"]:
                step, time = max(step, line.get("step", 0)), max(time, str(line.get("time", "")))
    return step, time


def _branches(run: Run) -> list[dict[str, Any]]:
    """Return a line for each run beside this one that was branched from it."""
    found = []
    for other in list_runs(run.folder.resolve().parent):
        with contextlib.suppress(LabError):
            parent = other.origin().get("parent")
            if parent is not None and parent.get("id") == run.id:
                step, created = int(parent.get("step", 0)), other.origin().get("created")
                found.append({"kind": "branch", "step": step, "time": created, "run": other.name})
    return found
