"""Everything that is to be measured on a GPU, in pieces of a few minutes: `python -m benchmarks.gpu --out gpu.json`.

    smoke        steps of each family, precision and optimizer, compiled and not; CPU -> GPU -> CPU; the tests that are marked gpu
    peak         matrix products against the datasheet
    speed        training tokens a second beside nanoGPT compiled, 10.8M parameters of characters and 163M of GPT-2's tokens
    memory       the peak of a step against the formula that chooses micro-batches
    generation   tokens a second of one text and of 64, beside nanoGPT's generate
    cores        how the CPU engine's steps scale over the machine's cores
    RECIPE       a recipe at its full length (--recipes), continued in each piece until it has finished

Each piece runs in a process of its own with a limit of time, and is written to the file at once, with chip, versions and commit; a
piece that is there already is left alone, so the same command goes on where it was stopped. It needs torch, numpy, safetensors and
jaxtyping; pieces that need more (recipes, marked tests) are left out with a word where that isn't installed. nanoGPT's part needs a
checkout (--nanogpt PATH), whose model is imported and of which nothing is here. `--device cpu --quick` tries all of it without a
GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu_pieces import cores, generation, memory, peak, smoke, speed
from benchmarks.gpu_shapes import Place
from benchmarks.machine import ROOT, context

LIMIT_SECONDS = 470
"""Of a piece: below the eight minutes after which a lent machine ends a command."""
PIECES: dict[str, Callable[[Place], dict[str, Any]]] = {
    "smoke": smoke,
    "peak": peak,
    "speed": speed,
    "memory": memory,
    "generation": generation,
    "cores": cores,
}
RECIPES = (
    "shakespeare-gpu",
    "stories-10.8m",
    "shakespeare-124m",
    "wikitext2-context-baseline",
    "wikitext2-context-advanced",
    "wikitext2-context-best",
)
NEEDED_BY_RECIPES = ("scipy", "tomli_w", "tiktoken", "tokenizers")


def main() -> int:
    """Run the pieces that are missing in the file, or one piece in this process (--piece)."""
    flags = parser().parse_args()
    place = Place(device=flags.device, nanogpt=flags.nanogpt, quick=flags.quick)
    if flags.piece:
        print(json.dumps(PIECES[flags.piece](place)))
        return 0
    names = flags.only or [*PIECES, *flags.recipes]
    for name in names:
        if flags.again or name not in done(flags.out):
            started = time.monotonic()
            if name in PIECES:
                found = in_a_process(name, flags)
            else:
                found = a_recipe(name, flags)
            found = {"context": context(flags.nanogpt), "seconds": round(time.monotonic() - started, 1), **found}
            kept = read(flags.out)
            kept["pieces"][name] = found
            flags.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            print(f"{name}: {found.get('failed') or 'measured'} ({found['seconds']:.0f} s)", flush=True)
    return 0


def in_a_process(name: str, flags: argparse.Namespace) -> dict[str, Any]:
    """Return what a piece finds, or why it failed."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--piece",
        name,
        "--device",
        flags.device,
        "--out",
        str(flags.out),
    ]
    command += ["--nanogpt", str(flags.nanogpt)] if flags.nanogpt else []
    command += ["--quick"] if flags.quick else []
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {LIMIT_SECONDS} s"}
    lines = ended.stdout.strip().splitlines()
    if ended.returncode or not lines:
        return {"failed": (ended.stderr.strip().splitlines() or [f"status {ended.returncode}"])[-1][:300]}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def a_recipe(name: str, flags: argparse.Namespace) -> dict[str, Any]:
    """Train a recipe for the length of a piece, or to its end; the next call goes on."""
    lacking = [module for module in NEEDED_BY_RECIPES if importlib.util.find_spec(module) is None]
    if lacking:
        return {"failed": f"left out: {', '.join(lacking)} isn't installed"}
    words = ["train", name, "--run", name, "--runs", str(flags.runs), "--or-resume", "--json", "--quiet"]
    words += ["--train.device", flags.device, "--train.until", f"{LIMIT_SECONDS - 60}s", *flags.words]
    ended = subprocess.run([sys.executable, "-m", "lmlab", *words], cwd=ROOT, capture_output=True, text=True)
    summary = flags.runs / name / "summary.json"
    if summary.exists():
        value = json.loads(summary.read_text(encoding="utf-8"))
        return {key: value[key] for key in ("steps", "final", "best", "verdict", "seconds", "score", "claims")}
    said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
    return {"failed": f"unfinished: {said[-1][:300] if said else ended.returncode}"}


def read(path: Path) -> dict[str, Any]:
    """Return the file's value, or an empty one."""
    if not path.exists():
        return {"format": 1, "pieces": {}}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def done(path: Path) -> set[str]:
    """Return the pieces that were measured."""
    return {name for name, piece in read(path)["pieces"].items() if "failed" not in piece}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, required=True, help="the file of results, which grows")
    made.add_argument("--device", default="cuda")
    made.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT")
    made.add_argument("--only", nargs="+", help="these pieces or recipes alone")
    made.add_argument("--recipes", nargs="*", default=[], help=f"recipes at full length, such as {', '.join(RECIPES)}")
    made.add_argument("--runs", type=Path, default=Path("runs"), help="where their runs are kept")
    made.add_argument(
        "--words", nargs="*", default=[], help="further words of lmlab train, such as --data.corpus=FOLDER"
    )
    made.add_argument("--again", action="store_true", help="measure what is there already once more")
    made.add_argument("--quick", action="store_true", help="tiny models, to try the command: its figures mean nothing")
    made.add_argument("--piece", choices=list(PIECES), help=argparse.SUPPRESS)
    return made


if __name__ == "__main__":
    sys.exit(main())
