"""A disk that fails, or loses power, at the n-th operation; and tiny checkpoints that are quick to save."""

import contextlib
import errno
import os
import shutil

import pytest
import torch

from lmlab.checkpoint.pointers import Best, pointed
from lmlab.checkpoint.pruning import Retention
from lmlab.checkpoint.saving import save_and_point
from lmlab.files import Storage


class Killed(BaseException):
    """The simulated process died; none of its code runs afterwards."""


class FaultyStorage(Storage):
    """Counts its operations; at number `at` comes the fault.

    kill: the process dies before the operation. torn: it dies after it, or in the middle of a write. once, from then
    on: the system refuses this operation, or this one and all that follow. After a kill, `lose_what_was_not_flushed`
    leaves what a power cut could leave in the worst case: no byte that wasn't fsynced, no name whose folder wasn't.
    fsync itself is left out, which makes the tests quick: without a power cut nothing depends on it.
    """

    def __init__(self, at=-1, fault="kill", code=errno.ENOSPC):
        self.at, self.fault, self.code = at, fault, code
        self.count, self.dead = 0, False
        self.unflushed, self.names, self.writes = set(), [], []

    @contextlib.contextmanager
    def operation(self):
        if self.dead:
            raise Killed
        number, self.count = self.count, self.count + 1
        comes = number == self.at
        if self.fault in ("once", "from then on") and (comes or (0 <= self.at < number and self.fault != "once")):
            raise OSError(self.code, os.strerror(self.code))
        self.dead = comes and self.fault in ("kill", "torn")
        if self.dead and self.fault == "kill":
            raise Killed
        yield self.dead
        if self.dead:
            raise Killed

    def make_folder(self, folder):
        with self.operation():
            super().make_folder(folder)
            self.names.append(["made", folder, None, None])

    def open(self, path, mode="xb"):
        with self.operation() as dies:
            if not path.exists():
                self.names.append(["made", path, None, None])
            self.unflushed.add(path)
            file = super().open(path, mode)
            if dies:
                file.close()
            return file

    def write(self, file, content):
        self.writes.append(self.count)
        with self.operation() as torn:
            super().write(file, memoryview(content)[: len(content) // 2] if torn else content)

    def truncate(self, file, length):
        with self.operation():
            super().truncate(file, length)

    def flush(self, file):
        with self.operation():
            self.unflushed = {
                path for path in self.unflushed if not os.path.samestat(os.fstat(file.fileno()), path.stat())
            }

    def flush_folder(self, folder):
        with self.operation():
            self.names = [entry for entry in self.names if entry[1].parent != folder]

    def rename(self, old, new):
        with self.operation():
            replaced = new.read_bytes() if new.is_file() else None
            super().rename(old, new)
            self._moved(old, new)
            self.names.append(["renamed", new, old, replaced])

    def remove(self, path):
        with self.operation():
            super().remove(path)
            self._forget(path)

    def remove_folder(self, folder):
        with self.operation():
            super().remove_folder(folder)
            self._forget(folder)

    def _moved(self, old, new):
        def now(path):
            return new / path.relative_to(old) if path.is_relative_to(old) else path

        self.unflushed = {now(path) for path in self.unflushed}
        for entry in self.names:
            entry[1] = now(entry[1])

    def _forget(self, gone):
        """A removal may also come undone, but what it brings back is only litter."""
        self.unflushed = {path for path in self.unflushed if not path.is_relative_to(gone)}
        self.names = [entry for entry in self.names if not entry[1].is_relative_to(gone)]

    def lose_what_was_not_flushed(self):
        for path in self.unflushed:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        while self.names:
            kind, path, origin, replaced = self.names.pop()
            if kind == "renamed":
                os.replace(path, origin)
                self._moved(path, origin)
                if replaced is not None:
                    path.write_bytes(replaced)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


class Disk:
    """The names above that tests use."""

    Killed = Killed
    Faulty = FaultyStorage


@pytest.fixture(scope="session")
def disk():
    return Disk


def parts_of(value):
    """Weights and optimizer whose values identify their checkpoint."""
    weights = {
        "head.weight": torch.full((3, 2), float(value)),
        "head.bias": torch.full((2,), value, dtype=torch.bfloat16),
    }
    return {"weights": weights, "optimizer": {"step": torch.tensor(value)}}


@pytest.fixture(scope="session")
def save_tiny():
    """save_tiny(folder, step, value=step, best=False, keep=2, storage=...): `value` is in tensors and state."""

    def save_one(folder, step, value=None, *, best=False, keep=2, **options):
        value = step if value is None else value
        before = pointed(folder, "best")
        known = Best(step=before["step"], loss=before["loss"]) if before else None
        options.setdefault("storage", FaultyStorage())
        return save_and_point(
            folder,
            step,
            parts_of(value),
            {"value": value},
            retention=Retention(keep=keep),
            best=Best(step=step, loss=1.0 / (1 + step)) if best else known,
            **options,
        )

    return save_one


@pytest.fixture(scope="session")
def value_of():
    """The value that a tiny checkpoint was saved with, after checking that all of its parts have it."""

    def value_in(checkpoint):
        value = checkpoint.state["value"]
        for part, expected in parts_of(value).items():
            found = checkpoint.tensors(part)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
        return value

    return value_in


@pytest.fixture(scope="session")
def damage():
    """Flip one bit in the middle of a file."""

    def flip(path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))

    return flip
