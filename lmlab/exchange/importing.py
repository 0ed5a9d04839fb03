"""Import of a log file as runs without weights."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.progress import Silent
from lmlab.data.readers import DAMAGE, SourceFile, describe_name, opened
from lmlab.exchange.forms import AUTO, read_log
from lmlab.exchange.log import Log, LogPoint
from lmlab.files import reason, sha256_of_file
from lmlab.runs import Run, create_imported, require_free_name
from lmlab.runs.names import check_name, stem_of

LARGEST_EXPONENT = 700.0
LARGEST_BYTES = 1 << 28
"""Maximum size of a decompressed log: some three million lines."""
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
"""Byte order marks and encodings of texts that aren't plain UTF-8: PowerShell redirects output as UTF-16."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A run that was created, and the log that it is from."""

    run: Run
    log: Log

    def lines(self) -> list[str]:
        """Return a description of the import for the user."""
        points, losses = self.log.points, [point for point in self.log.points if point.kind == "evaluation"]
        what = "epoch" if self.log.epochs else "step"
        said = f"{self.run.name}: {self.log.form}, {len(points):,} points up to {what} {points[-1].step:,}"
        last = f", {_last(losses[-1])}" if losses else ", no validation loss"
        return [said + last, *(f"  {note}" for note in self.log.notes)]

    def to_json(self) -> dict[str, Any]:
        """Return the value for `--json`."""
        points = self.log.points
        losses = [point.loss for point in points if point.kind == "evaluation"]
        return {
            "run": self.run.name,
            "folder": str(self.run.folder),
            "form": self.log.form,
            "points": len(points),
            "step": points[-1].step,
            "steps_are_epochs": self.log.epochs,
            "loss": losses[-1] if losses else None,
            "notes": list(self.log.notes),
        }


def import_log(path: Path, root: Path, name: str | None = None, form: str = AUTO, **given: Any) -> list[Imported]:
    """Create a run in `root` for each training in the log at `path`.

    The runs are named `name` (default: the file's name), with -LABEL appended if there are several. `given` are facts that the
    log doesn't have: parameters, step_tokens, corpus; None is unknown. LabError if the file can't be read, has no training in it,
    or a name is taken; no run is created then.
    """
    text, digest = _text(path), sha256_of_file(path)
    try:
        logs = read_log(text, form)
    except LabError as error:
        raise LabError(f"{path.name}: {error}") from None
    stem = check_name(name) if name else stem_of(_stem(path))
    names = [stem if len(logs) == 1 else stem_of(f"{stem}-{log.label}") for log in logs]
    if len(set(names)) < len(names):
        raise LabError(
            f"{path.name} has several runs of one name: expected different names, got {', '.join(names)[:200]}"
        )
    for one in names:
        require_free_name(root, one)
    made = []
    for one, log in zip(names, logs, strict=True):
        facts = _facts(path, digest, log, given)
        run = create_imported(root, one, facts, _lines(log, facts["step_tokens"]))
        made.append(Imported(run=run, log=log))
    return made


def _last(point: LogPoint) -> str:
    """Return the last evaluation's figures as text."""
    assert point.loss is not None
    perplexity = f", perplexity {math.exp(point.loss):.4g}" if point.loss < LARGEST_EXPONENT else ""
    accuracy = "" if point.accuracy is None else f", accuracy {point.accuracy:.1%}"
    return f"last validation loss {point.loss}{perplexity}{accuracy}"


def _text(path: Path) -> str:
    kind, packing = describe_name(path.name)
    if not path.is_file():
        raise LabError(f"there is no file {path}: expected a log")
    try:
        with opened(SourceFile(name=path.name, path=path, kind=kind, packing=packing), Silent()) as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except DAMAGE as error:
        raise LabError(f"{path.name} can't be read: {reason(error) if isinstance(error, OSError) else error}") from None
    if len(content) > LARGEST_BYTES:
        raise LabError(
            f"{path.name} has more than {LARGEST_BYTES:,} bytes: expected a log; cut out the lines of training"
        )
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    return content.decode(encoding, errors="replace")


def _stem(path: Path) -> str:
    """Return the file's name without the suffixes of compression and type: main for main.log.xz."""
    name = path.name
    packing = describe_name(name)[1]
    name = name.removesuffix(f".{packing}") if packing else name
    return name.rpartition(".")[0] or name


def _facts(path: Path, digest: str, log: Log, given: dict[str, Any]) -> dict[str, Any]:
    """Return the facts about the log for origin.json; null is unknown."""
    known = {name: value for name, value in given.items() if value is not None}
    return {
        "file": path.name,
        "sha256": digest,
        "bytes": path.stat().st_size,
        "form": log.form,
        "label": log.label or None,
        "planned_steps": log.planned_steps,
        "clock": log.clock or None,
        "corpus": known.get("corpus"),
        "parameters": known.get("parameters", log.parameters),
        "step_tokens": known.get("step_tokens", log.step_tokens),
        "given": sorted(known),
        **({"steps_are_epochs": True} if log.epochs else {}),
    }


def _lines(log: Log, step_tokens: int | None) -> Iterator[dict[str, Any]]:
    """Yield the points as lines of metrics.jsonl; unknown values have no key."""
    for point in log.points:
        tokens = point.tokens if point.tokens is not None or step_tokens is None else point.step * step_tokens
        yield {
            "segment": point.segment,
            "step": point.step,
            **({} if tokens is None else {"tokens": tokens}),
            "kind": point.kind,
            **_values(log, point, step_tokens),
        }


def _values(log: Log, point: LogPoint, step_tokens: int | None) -> dict[str, Any]:
    if point.kind == "evaluation":
        values = {
            "valid_loss": point.loss,
            "train_loss": point.train_loss,
            "valid_accuracy": point.accuracy,
            "train_accuracy": point.train_accuracy,
            "whole": log.whole,
        }
    else:
        rate = step_tokens / point.step_seconds if step_tokens and point.step_seconds else None
        values = {
            "loss": point.loss,
            "learning_rate": point.learning_rate,
            "gradient_norm": point.gradient_norm,
            "tokens_per_second": rate,
        }
    values["train_seconds"] = point.seconds
    return {name: value for name, value in values.items() if value is not None}
