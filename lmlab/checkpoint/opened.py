"""A checkpoint that was verified, ready to be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab import LabError
from lmlab.checkpoint.layout import MANIFEST, STATE, SUFFIX, folder_of
from lmlab.checkpoint.manifest import read_manifest, verify_files
from lmlab.files import read_json, sha256_of_file

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_STATE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The folder of one step: parts of named tensors, a state of plain values, and the manifest that lists them."""

    folder: Path
    step: int
    state: dict[str, Any]
    """The content of state.json."""
    manifest: dict[str, Any]

    @property
    def parts(self) -> list[str]:
        """The names that `tensors` accepts: weights, optimizer."""
        return [name.removesuffix(SUFFIX) for name in self.manifest["files"] if name.endswith(SUFFIX)]

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of manifest.json, which covers everything in the checkpoint."""
        return sha256_of_file(self.folder / MANIFEST)

    def tensors(self, part: str) -> dict[str, Tensor]:
        """Return the tensors of a part, on the CPU; raises LabError if there is no such part or its file is damaged."""
        from lmlab.checkpoint.tensors import read_tensors

        self._require(part)
        return read_tensors(self.folder / f"{part}{SUFFIX}")

    def sha256_of(self, part: str) -> str:
        """Return the SHA-256 of a part's file; raises LabError if there is no such part."""
        self._require(part)
        found: str = self.manifest["files"][f"{part}{SUFFIX}"]["sha256"]
        return found

    def elements(self, part: str) -> int:
        """Return the number of elements in a part, from its header alone."""
        from lmlab.checkpoint.header import read_header

        self._require(part)
        return sum(math.prod(entry.shape) for entry in read_header(self.folder / f"{part}{SUFFIX}"))

    def _require(self, part: str) -> None:
        if part not in self.parts:
            raise LabError(f"{self.folder} has no part {part!r}: expected one of {', '.join(self.parts)}")

    def verify(self) -> None:
        """Read everything and compare it with the manifest; raises LabError with the file that is missing or damaged."""
        verify_files(self.folder, self.manifest)


def open_checkpoint(folder: Path, step: int) -> Checkpoint:
    """Return the checkpoint of `step` in `folder`, fully verified; raises LabError in one line if it is not intact."""
    manifest = read_manifest(folder, step)
    verify_files(folder, manifest)
    return Checkpoint(folder=folder, step=step, state=_state(folder), manifest=manifest)


def read_state_file(checkpoints: Path, step: int) -> dict[str, Any]:
    """Return the content of a step's state.json, without reading its tensors; raises LabError if it is missing or damaged."""
    return _state(folder_of(checkpoints, step))


def _state(folder: Path) -> dict[str, Any]:
    state = read_json(folder / STATE, LARGEST_STATE_BYTES)
    if not isinstance(state, dict):
        raise LabError(f"{folder / STATE} is damaged: expected a JSON object")
    return state
