"""From source files to a library in the cache: built once for this source, compiler and processor.

    CACHE/native/
      lock   compilers.json
      KEY/        engine.so (.dylib, .dll)   build.json   build.log
      .building-*/   one that is being built, or was when its process died: the next builder removes it

KEY hashes all that decides the library's code. build.json says how it was built and the library's SHA-256, or why it
can't be: a failure is remembered too. The folder is renamed into place, so half a build is never seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import FileLock, make_folder, read_json, remove_tree, sha256_of_file, write_json, write_text
from lmlab.hardware.cpu import logical_cores
from lmlab.native.compiler import Compiler, compile_flags, find_compiler, link_flags, run_tool
from lmlab.native.processor import processor_identity

FORMAT = 1
"""What `lmlab_format()` of the source returns: how Python and the library lay out what they hand each other."""
LIBRARY = {"win32": "engine.dll", "darwin": "engine.dylib"}.get(sys.platform, "engine.so")
RECORD, LOG = "build.json", "build.log"
RECORD_FORMAT = 1
DRAFT = ".building-"
NOTICE = "building the CPU engine (once, about 20 s) ..."
WAITING = "another process is building the CPU engine: waiting for it"
CHECK = "import ctypes, sys; it = ctypes.CDLL(sys.argv[1]); print('answers', it.lmlab_format(), it.lmlab_selfcheck())"
CHECK_SECONDS = 120
LONGEST_MESSAGE = 200


@dataclass(frozen=True)
class Build:
    """A library in the cache that has passed its self-check."""

    path: Path
    sha256: str
    """Of the library: equal ones compute equal bits on one machine."""
    compiler: str
    """The compiler's version line."""


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
    plan = _plan(source, cache)
    entry = cache / plan.key
    if not rebuild and (found := _remembered(entry)) is not None:
        return found
    try:
        with FileLock(cache / "lock", say, WAITING):
            if not rebuild and (found := _remembered(entry)) is not None:
                return found
            for left in cache.glob(f"{DRAFT}*"):
                remove_tree(left)
            say(NOTICE)
            _build(plan, entry)
            found = _remembered(entry)
    except OSError as error:
        raise LabError(f"it can't be built in {cache}: {error.strerror or error}") from None
    if found is None:
        raise LabError(f"what was built in {entry} is gone or changed: start again")
    return found


def _plan(source: Path, cache: Path) -> _Plan:
    paths = sorted(path for path in source.glob("*") if path.suffix in (".cpp", ".h"))
    if not any(path.suffix == ".cpp" for path in paths):
        raise LabError(f"its source isn't in this installation: expected C++ files in {source}")
    files = {path.name: path.read_bytes() for path in paths}
    return _Plan(files, find_compiler(make_folder(cache)), compile_flags(), link_flags(), processor_identity())


def _remembered(entry: Path) -> Build | None:
    """What was built before, None where nothing was or it is damaged; LabError where it failed before."""
    try:
        record = read_json(entry / RECORD)
        if not isinstance(record, dict) or record.get("format") != RECORD_FORMAT:
            return None
    except LabError:
        return None
    if "failed" in record:
        raise LabError(f"{record['failed']} (see {entry / LOG}; LMLAB_NATIVE=rebuild tries again)")
    with contextlib.suppress(OSError):
        sha256 = sha256_of_file(entry / LIBRARY)
        if sha256 == record.get("sha256"):
            return Build(entry / LIBRARY, sha256, str(record.get("compiler")))
    return None


def _build(plan: _Plan, entry: Path) -> None:
    """Fill `entry` with the library, or with why there is none."""
    with tempfile.TemporaryDirectory(prefix=DRAFT, dir=entry.parent, ignore_cleanup_errors=True) as name:
        work, draft = Path(name) / "work", Path(name) / "done"
        work.mkdir()
        draft.mkdir()
        failed, log = _compile(plan, work, draft / LIBRARY)
        failed = failed or _self_check(draft / LIBRARY)
        record = {"format": RECORD_FORMAT, "compiler": plan.compiler.version, "flags": plan.compile_flags}
        outcome = {"failed": failed} if failed else {"sha256": sha256_of_file(draft / LIBRARY)}
        write_text(draft / LOG, log)
        write_json(draft / RECORD, {**record, "processor": plan.processor, **outcome})
        if entry.exists():
            remove_tree(entry)
        os.rename(draft, entry)


def _compile(plan: _Plan, work: Path, library: Path) -> tuple[str | None, str]:
    """Compile and link in the folder `work`: what is wrong in one line, or None; and all that was said."""
    for name, content in plan.files.items():
        (work / name).write_bytes(content)
    sources = [name for name in plan.files if name.endswith(".cpp")]
    # Relative names in a folder of their own, so that no path gets into the library and equal builds are equal bytes.
    compiling = [[*plan.compiler.command, *plan.compile_flags, "-c", name, "-o", f"{name}.o"] for name in sources]
    linking = [*plan.compiler.command, *(f"{name}.o" for name in sources), *plan.link_flags, "-o", LIBRARY]
    with ThreadPoolExecutor(min(len(sources), logical_cores())) as pool:
        answers = list(pool.map(lambda command: run_tool(command, work), compiling))
    if all(answer.returncode == 0 for answer in answers):
        answers.append(run_tool(linking, work))
    log = "".join(f"$ {' '.join(answer.args)}\n{answer.stdout}\n" for answer in answers)
    for answer in answers:
        if answer.returncode:
            return f"{plan.compiler.name} can't compile it: {first_error(answer.stdout)}", log
    os.rename(work / LIBRARY, library)
    return None, log


def first_error(output: str) -> str:
    """The line of a compiler's or linker's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    wrong = (line for line in lines if "error" in line.lower() or "undefined" in line.lower())
    return next(wrong, lines[0] if lines else "it says nothing")[:LONGEST_MESSAGE]


def _self_check(library: Path) -> str | None:
    """What is wrong with a new library, None where nothing is; in a process of its own, which it may crash."""
    command = [sys.executable, "-I", "-c", CHECK, str(library)]
    try:
        answer = run_tool(command, timeout=CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        return f"its self-check took longer than {CHECK_SECONDS} s"
    if answer.returncode < 0:
        return f"it crashed in its self-check ({signal.Signals(-answer.returncode).name})"
    lines = answer.stdout.replace(str(library), library.name).splitlines() or [""]
    words = lines[-1].split()
    if answer.returncode or words[:1] != ["answers"]:
        return f"it can't be loaded: {lines[-1][:LONGEST_MESSAGE] or f'exit status {answer.returncode}'}"
    if int(words[1]) != FORMAT:
        return f"it has format {words[1]}: expected {FORMAT}"
    return None if words[2] == "0" else f"its self-check failed ({words[2]})"
