"""docs/forecasts.json: every pass over a set of trainings, the oldest first. None is ever changed or left out.

    {"format": 2, "passes": [{"date", "set", "commit", "clean", "command", "machine", "versions", "source_sha256", "note",
    "cases"}]}

`date` is that of the pass's first training, `commit` what all of them ran under and `clean` whether the checkout was equal to it;
passes from before this format lack it (null, false) in part. A case has `name`, `set` (`shaping`, or a set that was named before
it was run), `command`, `run` (the run's id), `score` as in summary.json, and what the trained model was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import changed_files
from benchmarks.worker import ROOT
from lmlab import LabError
from lmlab.files import read_json, write_json
from lmlab.runs import open_run
from lmlab.runs.code import git_commit, source_sha256

FORMAT = 2


def read_passes(path: Path) -> list[dict[str, Any]]:
    """The passes in a file, the oldest first; none where there is no file."""
    if not path.exists():
        return []
    value = read_json(path)
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {value.get('format')}: expected {FORMAT}")
    return list(value["passes"])


def append_pass(path: Path, new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The passes with `new` at their end, which are written; LabError where one of its runs is in an earlier pass already."""
    earlier = read_passes(path)
    known = {case.get("run") for one in earlier for case in one["cases"]} - {None}
    again = [case["name"] for case in new["cases"] if case["run"] in known]
    if again:
        raise LabError(
            f"the run of {again[0]} is in {path.name} already: a pass is made of new runs, in another --runs folder"
        )
    passes = [*earlier, dict(new)]
    write_json(path, {"format": FORMAT, "passes": passes})
    return passes


def pass_of(
    name: str, commands: Mapping[str, Sequence[str]], runs: Path, contexts: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The pass over the set `name`: case -> the words of its command, and what its training ran under (`machine.context`).

    LabError where one of them hasn't been trained, or they ran under several commits, machines or a checkout with changes.
    """
    lacking = [case for case in commands if case not in contexts or not (runs / case / "summary.json").exists()]
    if lacking:
        raise LabError(
            f"{len(lacking)} of {len(commands)} trainings of the set {name} are missing: {', '.join(lacking)}"
        )
    sources = {case: _source(context, runs, case) for case, context in contexts.items() if case in commands}
    if len(set(sources.values())) > 1:
        raise LabError(f"the trainings of a pass ran under several commits or changes: {sorted(set(sources.values()))}")
    commit, clean, source = next(iter(sources.values()))
    first = min((contexts[case] for case in commands), key=lambda context: str(context["date"]))
    machines = {_identity(contexts[case]["machine"]) for case in commands}
    if len(machines) > 1:
        raise LabError(f"the trainings of a pass ran on several machines: {sorted(machines)}")
    return {
        "date": first["date"],
        "set": name,
        "commit": commit,
        "clean": clean,
        "command": f"python -m benchmarks.forecasts run --set {name}",
        "machine": first["machine"],
        "versions": first["versions"],
        "source_sha256": source,
        "note": "",
        "cases": [_case(case, name, words, runs) for case, words in commands.items()],
    }


def _identity(machine: Mapping[str, Any]) -> str:
    return f"{machine['cpu']}, {machine['physical_cores']} cores, {machine['accelerators']}"


def _source(context: Mapping[str, Any], runs: Path, case: str) -> tuple[str | None, bool, str]:
    """The commit that a training ran under, whether the checkout was clean, and the hash of lmlab's source.

    A machine without git doesn't know the commit; where this checkout has the source that the run had, it's this one's.
    """
    run, _ = open_run(case, runs)
    source = str(run.origin()["code"]["source_sha256"])
    told = context["source"]
    if told["commit"] is not None:
        return told["commit"], told["dirty"] is False, source
    if source == source_sha256() and changed_files(ROOT) == []:
        return git_commit(ROOT), True, source
    return None, False, source


def _case(name: str, of: str, words: Sequence[str], runs: Path) -> dict[str, Any]:
    run, _ = open_run(name, runs)
    summary, forecast, policy = run.summary(), run.read("forecast.json"), run.read("policy.json")
    assert summary is not None
    return {
        "name": name,
        "set": of,
        "command": " ".join(["lmlab train", *words]),
        "run": run.id,
        "kind": run.recipe().model.kind,
        "parameters": forecast["parameters"],
        "tokens": forecast["tokens"],
        "steps": forecast["steps"],
        "step_seconds": forecast["step_seconds"],
        "start_seconds": forecast["start_seconds"],
        "micro_batch": policy["micro_batch"],
        "device": policy["device"],
        "engine": policy.get("engine", "torch"),
        "score": summary["score"],
        "rests_on": forecast["figures"].get("final_loss", {}).get("rests_on", ""),
    }
