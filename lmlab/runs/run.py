"""A run's folder: the names of its files, and the methods to read and write them.

    recipe.toml origin.json policy.json forecast.json summary.json tokenizer.json template.json tags.json note.json   plain values
    metrics.jsonl samples.jsonl events.jsonl segments.jsonl discarded.jsonl                   a line for each thing that happened
    units-valid.npy   checkpoints/   control/   tasks/   texts/   lock

docs/formats.md describes each file.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lmlab import LabError
from lmlab.files import (
    DISK,
    Storage,
    is_link,
    is_plain_name,
    read_json,
    remove_temporaries,
    write_json,
    writing_failed,
)
from lmlab.recipe import Recipe, read_recipe, template
from lmlab.runs import units
from lmlab.runs.black_boxes import FOLDER as BLACK_BOXES
from lmlab.runs.control import clear_control, read_control
from lmlab.runs.lines import FORMAT, append_line, now, read_lines
from lmlab.runs.lock import is_locked
from lmlab.runs.names import is_run_name
from lmlab.runs.task_results import FOLDER as TASKS

ORIGIN = "origin.json"
RECIPE = "recipe.toml"
SEGMENTS = "segments.jsonl"
LARGEST_BYTES = 16 << 20
"""Size limit of a JSON file in a run, except the tokenizer."""

ORIGIN_FACTS = {
    "id": re.compile(r"\S{1,100}"),
    "recipe_hash": re.compile(r"[0-9a-f]{64}"),
    "data_id": re.compile(r"[0-9a-f]{16}"),
}
"""Fields of origin.json that are used later, and their format."""
SOME_TOKENS = {"valid_tokens": 1, "train_tokens": 1}
"""Fields of `evaluation` in origin.json, with default values."""
MOST_TOKENS = 1 << 32
"""Limit of the size of a vocabulary."""

StatusName = Literal["new", "running", "stopped", "finished", "imported"]


@dataclass(frozen=True)
class Run:
    """An existing run; reading it takes no lock."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def id(self) -> str:
        """The identity of the run, unaffected by renaming: 32 hexadecimal digits."""
        found: str = self.origin()["id"]
        return found

    @property
    def checkpoints(self) -> Path:
        """The folder of the run's checkpoints."""
        return self.folder / "checkpoints"

    @cached_property
    def _origin(self) -> dict[str, Any]:
        path = self.folder / ORIGIN
        value = self.read(ORIGIN)
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            raise LabError(
                f"{path} is damaged: expected a JSON object with the run's id; put it back from a copy of the run"
            )
        if value.get("format") != FORMAT:
            raise LabError(
                f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab"
            )
        wrong = _origin_problem(value)
        if wrong:
            raise LabError(f"{path} is damaged: expected {wrong}; put it back from a copy of the run")
        return value

    def origin(self) -> dict[str, Any]:
        """Return the run's provenance: id, code, data, hardware, versions, command line, parent."""
        return self._origin

    def fact(self, name: str) -> Any:
        """Return the value of `name` in origin.json; raises LabError if it has none."""
        if name not in self._origin and self.model_from is not None:
            raise LabError(
                f"{self.name} is an imported model ({self.model_from['form']}), without data of its own: name a text with --on, or "
                "with --data.corpus to train on"
            )
        if name not in self._origin:
            raise LabError(f"{self.folder / ORIGIN} has no {name}: take it from a copy of the run")
        return self._origin[name]

    @property
    def imported(self) -> dict[str, Any] | None:
        """For a run made from a foreign log: its file and form, and what is known of it; else None."""
        return self._origin.get("imported")

    @property
    def model_from(self) -> dict[str, Any] | None:
        """For a run made from another project's model: its form, files and what is known of it; else None.

        Such a run has a recipe and weights, but no data set, training or losses.
        """
        return self._origin.get("model_from")

    def require_trained(self) -> None:
        """Raise LabError for a run that is another project's model: it has no training, optimizer state or losses."""
        if self.model_from is not None:
            raise LabError(
                f"{self.name} is an imported model ({self.model_from['form']}), which wasn't trained here: evaluate it with --on "
                f"TEXT, sample it, or train from it with lmlab train --from {self.name}"
            )

    def recipe(self) -> Recipe:
        """Return the recipe; raises LabError for an imported run, which has none."""
        if self.imported is not None:
            raise LabError(
                f"{self.name} was imported from a log ({self.imported['file'][:80]}): it has no recipe, data or weights; "
                "lmlab runs, report and compare read it"
            )
        return read_recipe(self.folder / RECIPE)

    def template(self) -> template.Template | None:
        """Return the template of the conversations that the model was tuned with; None for a model that continues plain text.

        Raises LabError if template.json is damaged, or names a template that this version doesn't know.
        """
        path = self.folder / template.FILE
        if not path.exists():
            return None
        value = self.read(template.FILE)
        try:
            return template.template_from_json(value)
        except LabError as error:
            raise LabError(f"{path}: {error}") from None

    def read(self, name: str) -> Any:
        """Return the value of a JSON file in the run's folder; raises LabError if it's missing or damaged."""
        return read_json(self._file(name, ".json"), LARGEST_BYTES)

    def write(self, name: str, value: Any, storage: Storage = DISK) -> None:
        """Write a JSON file into the run's folder, atomically and durably."""
        write_json(self._file(name, ".json"), value, storage)

    def summary(self) -> dict[str, Any] | None:
        """Return the results of the training; None before its end."""
        if not (self.folder / "summary.json").exists():
            return None
        value = self.read("summary.json")
        if not isinstance(value, dict):
            raise LabError(f"{self.folder / 'summary.json'} is damaged: expected a JSON object")
        return value

    def read_lines(self, file: str, most: int | None = None) -> list[dict[str, Any]]:
        """Return the lines of metrics, samples, events, segments or discarded in the order in which they were written; only the
        first `most` if given.
        """
        return read_lines(self._file(f"{file}.jsonl", ".jsonl"), most)

    def read_control(self) -> set[str]:
        """Return the current requests: save, pause, stop."""
        return read_control(self.folder)

    def begin_segment(
        self, kind: Literal["start", "resume"], step: int, exact: bool, storage: Storage = DISK, **values: Any
    ) -> int:
        """Record that a process starts or resumes the run; return the segment's number, counted from 0.

        `exact` is whether it continues bit for bit. These lines are kept when a resume rewinds. Requests in control/ to an
        earlier process are cleared, and its partially written files are removed. The caller holds the run's lock.
        """
        segment = self.next_segment()
        who = {"exact": exact, "pid": os.getpid(), "host": socket.gethostname()}
        line = {"format": FORMAT, "id": self.id, "segment": segment, "step": step, "kind": kind, "time": now()}
        try:
            append_line(self.folder / SEGMENTS, {**line, **who, **values}, storage)
        except OSError as error:
            raise writing_failed(self.folder / SEGMENTS, error) from None
        clear_control(self.folder)
        remove_temporaries(self.folder)
        for inner in (self.folder / BLACK_BOXES, self.folder / TASKS):
            if inner.is_dir() and not is_link(inner):
                remove_temporaries(inner)
        return segment

    def next_segment(self) -> int:
        """Return the number of the next start or resume."""
        return max((line.get("segment", -1) for line in self.read_lines("segments")), default=-1) + 1

    def start_units(
        self, split: np.ndarray, split_tokens: int, scored: np.ndarray | None = None, storage: Storage = DISK
    ) -> None:
        """Create units-valid.npy. `split` has key, bytes and start (its first token) of each unit of a split of `split_tokens`
        tokens.

        `scored`: number of scored tokens of each unit; None: each token once.
        """
        counts = np.diff(split["start"], append=split_tokens) if scored is None else scored
        units.start_units(self.folder / units.NAME, split["key"], split["bytes"], counts, storage)

    def append_units(self, evaluation: int, bits: np.ndarray, storage: Storage = DISK) -> None:
        """Add the bits (float64 [units]) of evaluation number `evaluation`, from 0; NaN where a unit was not scored."""
        units.append_evaluation(self.folder / units.NAME, evaluation, bits, storage)

    def truncate_units(self, evaluations: int, storage: Storage = DISK) -> None:
        """Drop all but the first `evaluations`."""
        units.truncate_units(self.folder / units.NAME, evaluations, storage)

    def put_units_aside(self, storage: Storage = DISK) -> str | None:
        """Rename a damaged units-valid.npy to keep it for inspection; return its new name, None if there is no file."""
        return units.put_aside(self.folder / units.NAME, storage)

    def units(self) -> np.ndarray:
        """Return structured [units]: key V32, bytes i8, tokens i8, bits f8[evaluations]."""
        return units.read_units(self.folder / units.NAME)

    def status(self) -> StatusName:
        """Return imported: from a log or a model; running: a process holds its lock; finished: it reached its end; stopped: it has
        begun; else new.
        """
        if self.imported is not None or self.model_from is not None:
            return "imported"
        if is_locked(self.folder):
            return "running"
        if (self.summary() or {}).get("finished") is True:
            return "finished"
        return "stopped" if (self.folder / SEGMENTS).exists() else "new"

    def _file(self, name: str, ending: str) -> Path:
        if not is_plain_name(name) or not name.endswith(ending):
            raise ValueError(
                f"{name!r} is not a {ending} file of a run: expected a plain file name that ends in {ending}"
            )
        return self.folder / name


def _origin_problem(value: dict[str, Any]) -> str:
    """Return what is wrong with an origin.json, as what was expected; empty if nothing. Missing fields are checked when they are
    used.
    """
    for name, pattern in ORIGIN_FACTS.items():
        if name in value and not (isinstance(value[name], str) and pattern.fullmatch(value[name])):
            return f"a valid {name}, got {str(value[name])[:20]!r}"
    size = value.get("vocabulary_size", 1)
    if type(size) is not int or not 0 < size <= MOST_TOKENS:
        return f"a vocabulary_size of at most {MOST_TOKENS:,}"
    scored = value.get("evaluation", SOME_TOKENS)
    if not isinstance(scored, dict) or any(
        type(scored.get(name)) is not int or scored[name] < 1 for name in SOME_TOKENS
    ):
        return "the numbers of tokens that an evaluation scores"
    imported = value.get("imported")
    if imported is not None:
        return _imported_problem(imported)
    if value.get("model_from") is not None:
        return _model_problem(value["model_from"])
    parent = value.get("parent")
    if parent is None:
        return ""
    if not isinstance(parent, dict):
        return "parent as an object"
    for name in ("id", "name", "recipe_hash", "weights_sha256"):
        if not isinstance(parent.get(name, ""), str):
            return f"the parent's {name} as text"
    step = parent.get("step", 0)
    if not is_run_name(parent.get("name", "run")) or type(step) is not int or not 0 <= step < 1 << 63:
        return "the parent's name and step"
    return ""


def _model_problem(model: Any) -> str:
    if not isinstance(model, dict) or not isinstance(model.get("files"), list):
        return "model_from as an object with a list of files"
    for name in ("form", "kind", "path"):
        if not isinstance(model.get(name), str):
            return f"the imported model's {name}"
    return ""


def _imported_problem(imported: Any) -> str:
    if not isinstance(imported, dict):
        return "imported as an object"
    for name in ("file", "sha256", "form"):
        if not isinstance(imported.get(name), str):
            return f"the imported log's {name}"
    for name in ("parameters", "step_tokens", "planned_steps"):
        count = imported.get(name)
        if count is not None and (type(count) is not int or not 0 < count < 1 << 63):
            return f"the imported log's {name} as a positive whole number"
    return ""
