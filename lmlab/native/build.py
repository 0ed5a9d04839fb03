"""From source files to a library in the cache: built once for this source, compiler and processor.

    CACHE/native/
      lock   compilers.json
      KEY/        engine.so (.dylib, .dll)   build.json   build.log
      .building-*/   one that is being built, or was when its process died: a later builder removes it

KEY hashes all that decides the library's code. build.json says how it was built and the library's SHA-256, or why it
can't be: a failure is remembered too, where it is the compiler's or the source's own. The folder is renamed into place, so
half a build is never seen. Entries stay, so that a run can go on with the library that it began with.
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

FORMAT = 3
"""What `lmlab_format()` of the source returns: how Python and the library lay out what they hand each other."""
LIBRARY = {"win32": "engine.dll", "darwin": "engine.dylib"}.get(sys.platform, "engine.so")
RECORD, LOG = "build.json", "build.log"
RECORD_FORMAT = 1
DRAFT = ".building-"
NOTICE = "building the CPU engine (once, about 20 s) ..."
WAITING = "another process is building the CPU engine: waiting for it"
CHECK = "import ctypes, sys; it = ctypes.CDLL(sys.argv[1]); print('answers', it.lmlab_format(), it.lmlab_selfcheck())"
CHECK_SECONDS = 120
COMPILE_SECONDS = 600
"""Of a whole build, which takes 20 s on a slow laptop: a compiler that takes longer hangs."""
LONGEST_MESSAGE = 200
IDENTITY_DIGITS = 16
TRANSIENT = re.compile(
    r"\bKilled\b|signal terminated program|No space left on device|Disk quota exceeded|memory exhausted|"
    r"cannot allocate memory|out of memory|bad_alloc|MemoryError|Resource temporarily unavailable",
    re.IGNORECASE,
)
"""What compilers, linkers and loaders say of a machine that has run short of memory or disk."""
SHELLS_OFFSET = 128
"""A shell script that calls the compiler ends with this plus the number of the signal that ended it."""
ENDED_FROM_OUTSIDE = (-9, -15)
"""SIGKILL and SIGTERM."""


@dataclass(frozen=True)
class Build:
    """A library in the cache that has passed its self-check."""

    path: Path
    sha256: str
    """Of the library: equal ones compute equal bits on one machine."""
    compiler: str
    """The compiler's version line."""

    @property
    def identity(self) -> str:
        """16 hexadecimal digits of the library's SHA-256: equal ones compute equal bits on one machine."""
        return self.sha256[:IDENTITY_DIGITS]


@dataclass(frozen=True)
class _Failure:
    """Why there is no library, in one line."""

    reason: str
    transient: bool = False
    """Whether the machine was the cause at that moment, so that the next start tries again."""


@dataclass(frozen=True)
class _Plan:
    """What is to be built: nothing else decides the library's code."""

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
    """The library of `source`/*.cpp from the folder `cache`, built now where it isn't there or `rebuild` asks for it.

    `say` gets a line where something takes long. LabError with the reason where it can't be had, also from an earlier
    failure that is remembered.
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
        raise LabError(f"what was built in {entry} is gone or changed: start again")
    return found


def find_build(identity: str, cache: Path) -> Build | None:
    """The build of this identity that was made for this processor and lies in `cache` as it was; None where there is none.

    LabError where others may write the folder.
    """
    if not cache.is_dir():
        return None
    cache, processor = private_folder(cache), processor_identity()
    for entry in sorted(path.parent for path in cache.glob(f"*/{RECORD}")):
        record = _record(entry) or {}
        if str(record.get("sha256"))[:IDENTITY_DIGITS] != identity or record.get("processor") != processor:
            continue
        with contextlib.suppress(LabError):  # others may have written this entry
            if (found := _cached(entry)) is not None:
                return found
    return None


def _cached(entry: Path) -> Build | None:
    """What was built before, None where nothing was or it is damaged; LabError where it failed, or where others may have
    written it."""
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
    """What build.json says; None where there is none, or it is damaged."""
    try:
        record = read_json(entry / RECORD)
    except LabError:
        return None
    return record if isinstance(record, dict) and record.get("format") == RECORD_FORMAT else None


def _build(plan: _Plan, entry: Path, say: Callable[[str], object]) -> None:
    """Fill `entry` with the library, or with why there is none; LabError, and nothing in `entry`, where that may pass."""
    with temporary_folder(entry.parent, DRAFT) as held:
        work, draft = held.path / "work", held.path / "done"
        work.mkdir()
        draft.mkdir(OWN)
        record: dict[str, Any] = {"format": RECORD_FORMAT, "compiler": plan.compiler.version}
        record |= {"flags": plan.compile_flags, "processor": plan.processor}
        failed, log = _compile(plan, plan.compile_flags, work, draft / LIBRARY)
        plain = without_target(plan.compile_flags)
        if failed and not failed.transient and plain != plan.compile_flags:
            # Older compilers, and those in odd surroundings, don't know the processor, or its instructions.
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
    """Compile with `flags` and link in the folder `work`: what is wrong, or None; and all that was said."""
    for name, content in plan.files.items():
        (work / name).write_bytes(content)
    sources = [name for name in plan.files if name.endswith(".cpp")]
    # Relative names in a folder of their own, so that no path gets into the library and equal builds are equal bytes.
    compiling = [[*plan.compiler.command, *flags, "-c", name, "-o", f"{name}.o"] for name in sources]
    linking = [*plan.compiler.command, *(f"{name}.o" for name in sources), *plan.link_flags, "-o", LIBRARY]
    results = run_commands(compiling, COMPILE_SECONDS, work, at_once=min(len(sources), logical_cores()))
    if all(result.status == 0 for result in results):
        results.append(run_command(linking, COMPILE_SECONDS, work))
    log = "".join(f"$ {' '.join(result.command)}\n{result.output}\n" for result in results)
    failures = [failure for result in results if (failure := _failure(plan.compiler, result))]
    if failures:
        # One compiler that was killed says nothing of the source, whatever the others found.
        return next((failure for failure in failures if failure.transient), failures[0]), log
    os.rename(work / LIBRARY, library)
    library.chmod(OWN)
    return None, log


def _failure(compiler: Compiler, result: CommandResult) -> _Failure | None:
    """What is wrong with a compiler's or linker's result, None where nothing is."""
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
    """The name of the signal that a negative exit status stands for."""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def first_error(output: str) -> str:
    """The line of a compiler's or linker's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    wrong = (line for line in lines if "error" in line.lower() or "undefined" in line.lower())
    return next(wrong, lines[0] if lines else "it says nothing")[:LONGEST_MESSAGE]


def _self_check(library: Path) -> _Failure | None:
    """What is wrong with a new library, None where nothing is; in a process of its own, which it may crash."""
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
