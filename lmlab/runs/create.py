"""Creating runs: a run's folder appears complete and under a unique name, even if several processes create runs at once."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lmlab import LabError, StorageError, __version__
from lmlab.files import (
    TemporaryFolder,
    flush_folder,
    reason,
    remove_dead,
    temporary_folder,
    write_bytes,
    write_json,
    write_text,
)
from lmlab.recipe import Recipe, recipe_hash, to_toml
from lmlab.runs.code import git_commit, running_source_sha256
from lmlab.runs.control import FOLDER as CONTROL
from lmlab.runs.lines import FORMAT, line_bytes, now
from lmlab.runs.names import check_name, numbered_names, stem_of
from lmlab.runs.run import ORIGIN, RECIPE, Run

DRAFT = ".new-"
"""Prefix of a run's folder, before random digits, until it is complete. Hidden folders are not runs."""
MODE = 0o777
"""Permissions of a run's folder, less the umask."""


def require_free_name(root: Path, name: str | None) -> None:
    """Raise LabError if `name` can't be a new run's in `root`; None, for an automatic name, is always possible."""
    if name is not None and os.path.lexists(root / check_name(name)):
        raise _taken(root, name)


def require_place(root: Path) -> None:
    """Create the folder `root` if it doesn't exist; raises StorageError unless a run can be created in it."""
    probe = root / f"{DRAFT}{uuid.uuid4().hex}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise _refused(root, error) from None


def create_run(
    root: Path,
    name: str | None,
    recipe: Recipe,
    origin: dict[str, Any],
    add: Callable[[Path], None] | None = None,
) -> Run:
    """Create a run called `name` in `root`, or RECIPE-1, RECIPE-2, ...; raises LabError if the name is taken.

    `origin` describes the run's provenance: hardware, versions, command, data_id, parent. Added to it are format, the immutable
    id, the time, the recipe's name and hash, and the code: lmlab's version, its source's SHA-256, and the git commit. `add` writes
    further files into the folder before the run exists; where it fails, there is no run.
    """
    first = {"recipe": recipe.name, "recipe_hash": recipe_hash(recipe)}

    def fill(draft: Path, identity: str) -> None:
        for folder in ("checkpoints", CONTROL):
            (draft / folder).mkdir()
        write_text(draft / RECIPE, to_toml(recipe))
        write_json(draft / ORIGIN, _origin(identity, {**first, **origin}))
        if add is not None:
            add(draft)

    return _create(root, name, stem_of(recipe.name), fill)


def create_imported(root: Path, name: str, imported: dict[str, Any], metrics: Iterable[dict[str, Any]]) -> Run:
    """Create a run called `name` from the data of a foreign log; raises LabError if the name is taken.

    `imported` describes the log and what is known of the training; each of `metrics` is a line of metrics.jsonl without the fields
    that every line has. Such a run has no recipe, no data set and no checkpoints.
    """

    def fill(draft: Path, identity: str) -> None:
        lines = ({"format": FORMAT, "id": identity, **line} for line in metrics)
        write_bytes(draft / "metrics.jsonl", b"".join(map(line_bytes, lines)))
        write_json(draft / ORIGIN, _origin(identity, {"imported": imported}))

    return _create(root, name, name, fill)


def _create(root: Path, name: str | None, stem: str, fill: Callable[[Path, str], None]) -> Run:
    require_free_name(root, name)
    identity = uuid.uuid4().hex
    require_place(root)
    try:
        remove_dead(root, DRAFT)
        with temporary_folder(root, DRAFT, MODE) as draft:
            fill(draft.path, identity)
            folder = _named(draft, root, name, stem)
        flush_folder(root)
    except OSError as error:
        raise _refused(root, error) from None
    return Run(folder)


def _refused(root: Path, error: OSError) -> StorageError:
    return StorageError(f"no run can be made in {root}: {reason(error)}; choose another folder with --runs")


def _origin(identity: str, facts: dict[str, Any]) -> dict[str, Any]:
    code = {"version": __version__, "commit": git_commit(), "source_sha256": running_source_sha256()}
    return {"format": FORMAT, "id": identity, "created": now(), "code": code, **facts}


def _named(draft: TemporaryFolder, root: Path, name: str | None, stem: str) -> Path:
    """Rename the draft to the first free name. The system doesn't rename over a folder with files, so no name is used twice."""
    draft.release()
    taken = [entry.name for entry in root.iterdir()]
    candidates: Iterable[str] = [name] if name is not None else numbered_names(stem, taken)
    for candidate in candidates:
        folder = root / candidate
        if os.path.lexists(folder):
            continue
        try:
            os.rename(draft.path, folder)
        except OSError:
            if os.path.lexists(folder):
                continue
            raise
        return folder
    raise _taken(root, str(name))


def _taken(root: Path, name: str) -> LabError:
    return LabError(
        f"the run {name} exists already in {root}: choose another --run, or continue it: lmlab resume {name}"
    )
