"""Prove the native engine right on every processor: `python -m tools.processors` (`make test-processors`).

    --list            which configurations there are, and what keeps any from running here
    --only TEXT       those whose name has these words, as in "AVX2", "clang++" or "NEON driver"; may be given several times
    --no-record       leave docs/processors.json and docs/processors.md as they are
    --next-lower      print the CXX that compiles the engine for the set below this machine's own, nothing where there is none

For each instruction set and compiler the engine's Python tests run, and a C++ program (tests/native/driver) that checks it
without Python: as it is, under sanitizers, and for ARM64 under an emulator. Exit status 1 where anything failed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from benchmarks.machine import changed_files, command
from benchmarks.render import fill
from lmlab.files import write_json, write_text
from lmlab.hardware.cpu import cpu_name, instructions
from lmlab.native.compiler import USUAL
from lmlab.native.process import run_command
from lmlab.runs.code import git_commit
from tools.processors.builds import ROOT, Outcome, Workshop, differing
from tools.processors.matrix import COMPILERS, CROSS, EMULATOR, Configuration, configurations, next_lower

RECORD, DOCUMENT = ROOT / "docs" / "processors.json", ROOT / "docs" / "processors.md"
ROUNDING = 1e-3
"""Of a norm: what float32 sums in other orders may differ by, Muon's small singular values and a relu at zero included."""


def main() -> int:
    """List, or run, print and record."""
    parser = argparse.ArgumentParser(prog="python -m tools.processors", usage=__doc__)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--next-lower", action="store_true")
    flags = parser.parse_args()
    machine, known = platform.machine(), instructions()
    if flags.next_lower:
        if lower := next_lower(machine, known):
            print(f"{chosen_compiler()} {lower.flag}")
        return 0
    every = configurations(machine, known, lambda program: shutil.which(program) is not None)
    chosen = [one for one in every if not flags.only or any(f" {text}" in f" {one.name}" for text in flags.only)]
    if flags.list or not chosen:
        for one in every:
            print(f"{one.name:28} {one.lacks}".rstrip())
        return 0 if flags.list else 2
    outcomes = run_all(chosen)
    compare(outcomes)
    ordered = [outcome for one in chosen for outcome in outcomes if outcome.name == one.name]
    print("\n" + "\n".join(line(outcome) for outcome in ordered))
    failed = [outcome for outcome in ordered if outcome.result == "failed"]
    if not flags.only and not flags.no_record:
        record(ordered)
    print(f"{len(failed)} of {len(ordered)} failed" if failed else "none failed")
    return int(bool(failed))


def chosen_compiler() -> str:
    """CXX, or the first usual one that is installed."""
    found = next((name for name in USUAL if shutil.which(name)), USUAL[0])
    return os.environ.get("CXX", "").strip() or found


def run_all(chosen: list[Configuration]) -> list[Outcome]:
    """Drivers side by side, then Python's tests, which use all cores themselves, one after the other."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="lmlab-processors-") as folder:
        workshop = Workshop(Path(folder))
        drivers = [one for one in chosen if one.kind != "tests"]
        started = time.monotonic()
        # Each waits for its turn with a compiler or program, of which there are as many as cores.
        with ThreadPoolExecutor(max(1, len(drivers))) as pool:
            for done in as_completed([pool.submit(workshop.outcome, one) for one in drivers]):
                outcomes.append(tell(done.result(), started))
        for one in chosen:
            if one.kind == "tests":
                outcomes.append(tell(workshop.outcome(one), started))
    return outcomes


def tell(outcome: Outcome, started: float) -> Outcome:
    """Print an outcome as it comes."""
    print(f"{time.monotonic() - started:6.0f} s  {line(outcome)}", flush=True)
    if outcome.result == "failed":
        print("\n".join("          " + text for text in outcome.said.splitlines()), flush=True)
    return outcome


def line(outcome: Outcome) -> str:
    """An outcome in one line."""
    figures = f"{outcome.checks:6,} checks {outcome.cpu_seconds:6.0f} s of processor time"
    return f"{outcome.name:28} {outcome.result:8} {outcome.said if outcome.result == 'skipped' else figures}"


def compare(outcomes: list[Outcome]) -> None:
    """Fail the builds whose results aren't those of the first one, g++'s for the narrowest vectors."""
    reference = next(
        (one for one in sorted(outcomes, key=lambda one: " SSE driver" not in one.name) if one.digest), None
    )
    for outcome in outcomes:
        if reference is not None and outcome.digest and (wrong := differing(outcome, reference, ROUNDING)):
            outcome.result, outcome.said = "failed", "\n".join(wrong)
            print(f"{outcome.name}: results of its own\n" + "\n".join(wrong[:10]))


def record(outcomes: list[Outcome]) -> None:
    """Write docs/processors.json and the table of docs/processors.md."""
    programs = {name: name for name in COMPILERS} | {"ARM64 g++": CROSS["g++"][0], "emulator": EMULATOR[0]}
    compilers = {
        name: run_command([program, "--version"], 60).output.splitlines()[0].strip()
        for name, program in programs.items()
        if shutil.which(program)
    }
    rows = [
        {
            "configuration": outcome.name,
            "result": outcome.result,
            "checks": outcome.checks,
            "cpu_seconds": round(outcome.cpu_seconds, 1),
            "why": outcome.said.splitlines()[0] if outcome.result != "passed" else "",
        }
        for outcome in outcomes
    ]
    date = datetime.date.today().isoformat()
    changed = changed_files(ROOT)
    source = {"commit": git_commit(ROOT), "dirty": None if changed is None else bool(changed)}
    facts = {"date": date, "command": command(), "source": source, "processor": cpu_name(), "compilers": compilers}
    write_json(RECORD, {"format": 1, **facts, "results": rows})
    table = [
        f"{date}, {cpu_name()}; " + "; ".join(compilers.values()) + ".",
        "",
        "| compiler, instruction set, what ran | checks | processor time | result |",
        "|---|---:|---:|---|",
    ]
    for row in rows:
        figures = f"{row['checks']:,} | {row['cpu_seconds']:.0f} s"
        table.append(f"| {row['configuration']} | {figures} | {row['result']} {row['why']}".rstrip() + " |")
    write_text(DOCUMENT, fill(DOCUMENT.read_text(encoding="utf-8"), {"processors": "\n".join(table)}))


if __name__ == "__main__":
    sys.exit(main())
