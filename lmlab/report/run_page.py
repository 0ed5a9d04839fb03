"""One run on one page: a heading for each topic, with its lines beside it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lmlab import LabError
from lmlab.experiment.closing import figures_line
from lmlab.experiment.expectations import expectation_line, read_expectations
from lmlab.experiment.overview import Kept, Overview
from lmlab.recipe.quantities import byte_count, count, duration
from lmlab.report.events import event_lines
from lmlab.report.measure_names import stored_lines

MOST_EVENTS = 8
MOST_CHANGED = 12
MOST_CHECKPOINTS = 6
MOST_FILES = 4


def page_lines(found: Overview) -> list[str]:
    """Return the page, a string for each line."""
    sections = [
        ("recipe", _recipe(found)),
        ("data", _data(found)),
        ("from", _parent(found)),
        ("machine", _machine(found)),
        ("engine", _engine(found)),
        ("training", _training(found)),
        ("result", _result(found)),
        ("expected", _expected(found)),
        ("its texts", stored_lines(found.measures)),
        ("checkpoints", _checkpoints(found.checkpoints)),
        ("disk", [byte_count(found.disk_bytes)]),
        ("tags", [", ".join(found.row.tags)] if found.row is not None and found.row.tags else []),
        ("note", found.note.splitlines()),
        ("problems", list(found.problems)),
    ]
    status = "" if found.row is None else f": {found.row.status}"
    width = max(len(title) for title, lines in sections if lines)
    page = [f"{found.run.name}{status}, {found.run.folder}", ""]
    for title, lines in sections:
        page += [f"{title if not place else '':<{width}}  {line}" for place, line in enumerate(lines)]
    return [*page, "", *_events(found), "", *_commands(found)]


def _recipe(found: Overview) -> list[str]:
    recipe = found.recipe
    if recipe is None:
        imported = found.run.imported
        return ["-" if imported is None else f"none: imported from {imported['file']} ({imported['form']})"]
    lines = [recipe.name + (f": {recipe.about}" if recipe.about else "")]
    if found.base is not None:
        changed = [f"{name} {new} (was {old})" for name, (old, new) in found.changed.items()]
        more = f", and {len(changed) - MOST_CHANGED} more" if len(changed) > MOST_CHANGED else ""
        lines.append(f"changed: {', '.join(changed[:MOST_CHANGED])}{more}" if changed else f"as lmlab's {found.base}")
    model, train = recipe.model, recipe.train
    size = "" if found.row is None or not found.row.parameters else f", {count(found.row.parameters)} parameters"
    lines.append(
        f"model {model.kind}: {_many(model.layers, 'layer')}, {model.width} wide, context {model.context}{size}"
    )
    length = f"{train.steps:,} steps" if train.epochs is None else f"{train.epochs:g} epochs"
    lines.append(
        f"{recipe.optim.kind}, learning rate {recipe.optim.lr:g}, {length} of {train.batch} sequences, seed {train.seed}"
    )
    return lines


def _data(found: Overview) -> list[str]:
    if found.recipe is None or found.run.imported is not None:
        return []
    if found.run.model_from is not None:
        return [f"none: {found.recipe.data.tokenizer}, vocabulary {found.origin.get('vocabulary_size', 0):,}"]
    data, origin = found.recipe.data, found.origin
    split = f"split {data.split}"
    return [
        f"{data.corpus}, {data.tokenizer}, vocabulary {origin.get('vocabulary_size', 0):,}, {split} (data {origin.get('data_id')})"
    ]


def _many(number: Any, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _parent(found: Overview) -> list[str]:
    lineage = found.origin.get("lineage") or []
    parent, model = found.origin.get("parent"), found.run.model_from
    if model is not None:
        files = [
            f"{one.get('name')} {str(one.get('sha256'))[:16]}"
            for one in model["files"][:MOST_FILES]
            if isinstance(one, dict)
        ]
        return [f"{model['path']} ({model['form']}: {model['kind']})", ", ".join(files)]
    if parent is None:
        return []
    older = [f"{one['name']}@{one['step']}" for one in lineage if isinstance(one, dict) and "name" in one]
    return [" > ".join(older) if older else f"{parent.get('name')}@{parent.get('step')}"]


def _machine(found: Overview) -> list[str]:
    hardware = found.origin.get("hardware")
    if not isinstance(hardware, Mapping):
        return []
    memory = hardware.get("memory")
    parts = [f"{hardware.get('physical_cores', '?')} cores of {hardware.get('cpu', '?')}"]
    parts += [byte_count(memory)] if isinstance(memory, (int, float)) else []
    cards = [str(card.get("name")) for card in hardware.get("accelerators") or [] if isinstance(card, Mapping)]
    return [", ".join([*parts, *cards, str(hardware.get("system", ""))]).strip(", ")]


def _engine(found: Overview) -> list[str]:
    policy, origin = found.policy, found.origin
    if not policy:
        return []
    code = origin.get("code") or {}
    commit = f" ({str(code['commit'])[:10]})" if code.get("commit") else ""
    threads = (
        f" on {_many(policy.get('threads'), 'thread')}"
        if policy.get("device") == "cpu"
        else f" on {policy.get('device')}"
    )
    return [
        f"{policy.get('engine', 'torch')}{threads}, {policy.get('precision')}, micro-batch {policy.get('micro_batch')}; "
        f"lmlab {code.get('version', '?')}{commit}, PyTorch {origin.get('torch', '?')}, Python {origin.get('python', '?')}"
    ]


def _training(found: Overview) -> list[str]:
    row = found.row
    if row is None or found.run.model_from is not None:
        return []
    planned = f" of {row.steps:,}" if row.steps and row.steps != row.step else ""
    parts = [f"{row.step:,}{planned} steps"]
    parts += [f"{count(row.tokens)} tokens"] if row.tokens else []
    parts += [f"{row.epochs:.3g} epochs"] if row.epochs else []
    parts += [duration(row.seconds)] if row.seconds is not None else []
    parts += [f"{row.tokens_per_second:,.0f} tokens/s"] if row.tokens_per_second else []
    return [", ".join(parts)]


def _result(found: Overview) -> list[str]:
    summary, row = found.summary, found.row
    if summary is not None:
        final, best = summary["final"], summary["best"]
        lines = [figures_line(f"last step {final['step']:,}", final)]
        lines += [figures_line(f"best step {best['step']:,}", best)] if best["step"] != final["step"] else []
        return [*lines, str(summary["verdict"]["reason"])]
    if found.run.model_from is not None:
        return ["none: it wasn't trained here"]
    if row is None or row.loss is None:
        return ["no evaluation yet"]
    return [f"last evaluation: loss {row.loss:.4f} nats a token, perplexity {math.exp(min(row.loss, 700.0)):.2f}"]


def _expected(found: Overview) -> list[str]:
    """Return the run's expectations: scored once it has finished, before that the ranges themselves."""
    if found.summary is not None and found.summary.get("expectations"):
        return [expectation_line(entry) for entry in found.summary["expectations"]]
    with contextlib.suppress(LabError):
        asked = read_expectations(found.origin.get("expected"))
        return [f"{entry.metric} {_limit(entry.low)}..{_limit(entry.high)}" for entry in asked]
    return []


def _limit(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _checkpoints(kept: Sequence[Kept]) -> list[str]:
    shown = kept if len(kept) <= MOST_CHECKPOINTS else [kept[0], *kept[1 - MOST_CHECKPOINTS :]]
    lines = []
    for one in shown:
        what = " and ".join(one.parts) if one.parts else "damaged" if one.bytes else "regenerated from its seed"
        pointers = f", {' and '.join(one.pointers)}" if one.pointers else ""
        size = f", {byte_count(one.bytes)}" if one.bytes else ""
        lines.append(f"step {one.step:,}: {what}{size}{pointers}")
    return [*lines[:1], f"({len(kept) - len(shown)} more)", *lines[1:]] if len(shown) < len(kept) else lines


def _events(found: Overview) -> list[str]:
    events: list[Any] = list(found.events)[-MOST_EVENTS:]
    lines = event_lines(found.run, events)
    hidden = len(found.events) - len(events)
    return [*lines, f"({hidden} earlier ones: lmlab events {found.run.folder})"] if hidden else lines


def _commands(found: Overview) -> list[str]:
    commands = found.commands()
    width = max(len(command) for command, _ in commands)
    return [f"{command:<{width}}  {what}" for command, what in commands]
