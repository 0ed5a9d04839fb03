"""Build of the engine's library from its sources, once for each source, compiler and processor, into the cache.

    CACHE/native/
      lock   compilers.json
      KEY/        engine.so (.dylib, .dll)   build.json   build.log
      .building-*/   a build in progress, or left by a process that died: the next build removes it

KEY is a hash of everything that determines the library's code. build.json has the compiler, flags and the library's SHA-256, or the
reason of a failure: failures are cached too, if the compiler or the source caused them. The folder is renamed into place, so that
incomplete builds are never visible. Entries stay, so that a run can be resumed with the library that it began with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError, StorageError
from lmlab.files import (
    FileLock,
    read_json,
    remove_dead,
    remove_tree,
    sha256_of_file,
    temporary_folder,
    write_json,
    write_text,
)
from lmlab.hardware.cpu import logical_cores
from lmlab.native.compiler import Compiler, compile_flags, find_compiler, link_flags, without_target
from lmlab.native.private import OWN, private_folder, require_private, writable_by_everyone
from lmlab.native.process import CommandResult, run_command, run_commands
from lmlab.native.processor import processor_identity

FORMAT = 4
"""Version of the layout of data shared between Python and the library; `lmlab_format()` of the source returns it."""
LIBRARY = {"win32": "engine.dll", "darwin": "engine.dylib"}.get(sys.platform, "engine.so")
RECORD, LOG = "build.json", "build.log"
RECORD_FORMAT = 1
DRAFT = ".building-"
NOTICE = "building the CPU engine (once, about 20 s) ..."
WAITING = "another process is building the CPU engine: waiting for it"
CHECK = "import ctypes, sys; it = ctypes.CDLL(sys.argv[1]); print('answers', it.lmlab_format(), it.lmlab_selfcheck())"
CHECK_SECONDS = 120
COMPILE_SECONDS = 600
"""Time limit of a whole build, which takes 20 s on a slow laptop."""
LONGEST_MESSAGE = 200
IDENTITY_DIGITS = 16
TRANSIENT = re.compile(
    r"\bKilled\b|signal terminated program|No space left on device|Disk quota exceeded|memory exhausted|"
    r"cannot allocate memory|out of memory|bad_alloc|MemoryError|Resource temporarily unavailable",
    re.IGNORECASE,
)
"""Messages of compilers, linkers and loaders on a machine that is out of memory or disk space."""
SHELLS_OFFSET = 128
"""A shell script's exit status is this plus the number of the signal that ended its command."""
ENDED_FROM_OUTSIDE = (-9, -15)
"""SIGKILL and SIGTERM, as exit statuses."""


@dataclass(frozen=True)
class Build:
    """A library in the cache that has passed its self-check."""

    path: Path
    sha256: str
    """SHA-256 of the library file: equal hashes compute equal bits on one machine."""
    compiler: str
    """The first line of the compiler's `--version`."""

    @property
    def identity(self) -> str:
        """The first 16 hexadecimal digits of the library's SHA-256; equal identities compute equal bits on one machine."""
        return self.sha256[:IDENTITY_DIGITS]


@dataclass(frozen=True)
class _Failure:
    """The reason in one line why a build failed."""

    reason: str
    transient: bool = False
    """Whether the cause was a temporary state of the machine, so that the next start tries again."""


@dataclass(frozen=True)
class _Plan:
    """The inputs of a build: everything that determines the library's code."""

    files: dict[str, bytes]
    compiler: Compiler
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    processor: str

    @property
    def key(self) -> str:
        decides: list[Any] = [RECORD_FORMAT, self.compiler.version, self.compiler.command[1:], self.processor]
        decides += [self.compile_flags, self.link_flags]
        decides += [[name, hashlib.sha256(content).hexdigest()] for name, content in self.files.items()]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:32]


def find_or_build(source: Path, cache: Path, say: Callable[[str], object], rebuild: bool = False) -> Build:
    """Return the library of `source`/*.cpp in the folder `cache`; build it if it isn't there or `rebuild` is True.

    `say` is called with a line before a long operation. LabError with the reason if the build fails, or has failed before and the
    failure is cached.
    """
    cache = private_folder(cache)
    plan = _plan(source, cache)
    entry = cache / plan.key
    if not rebuild and (found := _cached(entry)) is not None:
        return found
    try:
        with FileLock(cache / "lock", say, WAITING):
            if not rebuild and (found := _cached(entry)) is not None:
                return found
            remove_dead(cache, DRAFT)
            say(NOTICE)
            _build(plan, entry, say)
            found = _cached(entry)
    except OSError as error:
        raise StorageError(f"it can't be built in {cache}: {error.strerror or error}") from None
    if found is None:
        raise LabError(f"the build in {entry} is missing or was changed: start again")
    return found


def find_build(identity: str, cache: Path) -> Build | None:
    """Return the build of this identity for this processor if `cache` has it intact; else None.

    LabError if other users may write to the folder.
    """
    if not cache.is_dir():
        return None
    cache, processor = private_folder(cache), processor_identity()
    for entry in sorted(path.parent for path in cache.glob(f"*/{RECORD}")):
        record = _record(entry) or {}
        if str(record.get("sha256"))[:IDENTITY_DIGITS] != identity or record.get("processor") != processor:
            continue
        with contextlib.suppress(LabError):  # other users may have written this entry
            if (found := _cached(entry)) is not None:
                return found
    return None


def _cached(entry: Path) -> Build | None:
    """Return an earlier build; None if there is none or it is damaged. LabError if it failed, or others may have written it."""
    if not os.path.lexists(entry):
        return None
    require_private(entry)
    record = _record(entry)
    if record is None:
        return None
    if "failed" in record:
        raise LabError(f"{record['failed']} (see {entry / LOG}; LMLAB_NATIVE=rebuild tries again)")
    library = entry / LIBRARY
    if not os.path.lexists(library):
        return None
    with contextlib.suppress(OSError):
        if writable_by_everyone(library):
            return None
        require_private(library)
        sha256 = sha256_of_file(library)
        if sha256 == record.get("sha256"):
            return Build(library, sha256, str(record.get("compiler")))
    return None


def _record(entry: Path) -> dict[str, Any] | None:
    """Return the content of build.json; None if it is missing or damaged."""
    try:
        record = read_json(entry / RECORD)
    except LabError:
        return None
    return record if isinstance(record, dict) and record.get("format") == RECORD_FORMAT else None


def _build(plan: _Plan, entry: Path, say: Callable[[str], object]) -> None:
    """Write the library, or the reason of the failure, to `entry`; after a transient failure raise a LabError and write nothing."""
    with temporary_folder(entry.parent, DRAFT) as held:
        work, draft = held.path / "work", held.path / "done"
        work.mkdir()
        draft.mkdir(OWN)
        record: dict[str, Any] = {"format": RECORD_FORMAT, "compiler": plan.compiler.version}
        record |= {"flags": plan.compile_flags, "processor": plan.processor}
        failed, log = _compile(plan, plan.compile_flags, work, draft / LIBRARY)
        plain = without_target(plan.compile_flags)
        if failed and not failed.transient and plain != plan.compile_flags:
            # Older compilers, or those in unusual environments, may not support this processor or its instructions.
            target = " ".join(flag for flag in plan.compile_flags if flag not in plain)
            again, more = _compile(plan, plain, work, draft / LIBRARY)
            log += more
            if again is None:
                say(f"the CPU engine is built without {target}, and slower than it could be: {failed.reason}")
                record |= {"flags": plain, "left_out": f"{target}: {failed.reason}"}
            failed = again
        failed = failed or _self_check(draft / LIBRARY)
        if failed and failed.transient:
            raise LabError(f"{failed.reason} (the next start tries again)")
        outcome = {"failed": failed.reason} if failed else {"sha256": sha256_of_file(draft / LIBRARY)}
        write_text(draft / LOG, log)
        write_json(draft / RECORD, {**record, **outcome})
        if os.path.lexists(entry):
            remove_tree(entry)
        os.rename(draft, entry)


def _plan(source: Path, cache: Path) -> _Plan:
    paths = sorted(path for path in source.glob("*") if path.suffix in (".cpp", ".h"))
    if not any(path.suffix == ".cpp" for path in paths):
        raise LabError(f"its source isn't in this installation: expected C++ files in {source}")
    files = {path.name: path.read_bytes() for path in paths}
    compiler = find_compiler(cache)
    return _Plan(files, compiler, compile_flags(compiler.command[1:]), link_flags(), processor_identity())


def _compile(plan: _Plan, flags: tuple[str, ...], work: Path, library: Path) -> tuple[_Failure | None, str]:
    """Compile with `flags` and link in the folder `work`; return the failure, or None, and the output of all commands."""
    for name, content in plan.files.items():
        (work / name).write_bytes(content)
    sources = [name for name in plan.files if name.endswith(".cpp")]
    # Relative names in a separate folder, so that no path gets into the library and builds are reproducible byte by byte.
    compiling = [[*plan.compiler.command, *flags, "-c", name, "-o", f"{name}.o"] for name in sources]
    linking = [*plan.compiler.command, *(f"{name}.o" for name in sources), *plan.link_flags, "-o", LIBRARY]
    results = run_commands(compiling, COMPILE_SECONDS, work, at_once=min(len(sources), logical_cores()))
    if all(result.status == 0 for result in results):
        results.append(run_command(linking, COMPILE_SECONDS, work))
    log = "".join(f"$ {' '.join(result.command)}\n{result.output}\n" for result in results)
    failures = [failure for result in results if (failure := _failure(plan.compiler, result))]
    if failures:
        # If one compiler was killed, the failure is transient, whatever errors the others reported.
        return next((failure for failure in failures if failure.transient), failures[0]), log
    os.rename(work / LIBRARY, library)
    library.chmod(OWN)
    return None, log


def _failure(compiler: Compiler, result: CommandResult) -> _Failure | None:
    """Return the failure in a compiler's or linker's result; None if it succeeded."""
    if result.status == 0:
        return None
    if result.status is None:
        return _Failure(f"{compiler.name} took longer than {COMPILE_SECONDS} s to compile it", transient=True)
    ended = result.status if result.status < 0 else SHELLS_OFFSET - result.status
    if ended in (result.status, *ENDED_FROM_OUTSIDE):
        return _Failure(f"{compiler.name} was ended by {_signal(ended)} while it compiled it", transient=True)
    line = first_error(result.output)
    return _Failure(f"{compiler.name} can't compile it: {line}", transient=bool(TRANSIENT.search(result.output)))


def _signal(status: int) -> str:
    """Return the name of the signal of a negative exit status."""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def first_error(output: str) -> str:
    """Return the first line of a compiler's or linker's output that reports an error, else its first line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    wrong = (line for line in lines if "error" in line.lower() or "undefined" in line.lower())
    return next(wrong, lines[0] if lines else "it printed no message")[:LONGEST_MESSAGE]


def _self_check(library: Path) -> _Failure | None:
    """Run a new library's self-check in a separate process, which it may crash; return the failure, or None."""
    result = run_command([sys.executable, "-I", "-c", CHECK, str(library)], CHECK_SECONDS)
    if result.status is None:
        return _Failure(f"its self-check took longer than {CHECK_SECONDS} s", transient=True)
    if result.status < 0:
        killed = result.status == -getattr(signal, "SIGKILL", 0)  # by the system, for memory, or by somebody
        return _Failure(f"it crashed in its self-check ({_signal(result.status)})", transient=killed)
    lines = result.output.replace(str(library), library.name).splitlines() or [""]
    words = lines[-1].split()
    if result.status or words[:1] != ["answers"]:
        why = lines[-1][:LONGEST_MESSAGE] or f"exit status {result.status}"
        return _Failure(f"it can't be loaded: {why}", transient=bool(TRANSIENT.search(result.output)))
    if int(words[1]) != FORMAT:
        return _Failure(f"it has format {words[1]}: expected {FORMAT}")
    return None if words[2] == "0" else _Failure(f"its self-check failed ({words[2]})")
