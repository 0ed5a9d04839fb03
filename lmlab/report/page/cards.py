"""The cards of a run: result, model, training, data with what its check found, machine."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from lmlab import LabError
from lmlab.data.dataset import find_dataset
from lmlab.data.hygiene.check import kept
from lmlab.data.hygiene.report import sections
from lmlab.experiment.overview import Overview
from lmlab.experiment.record import Record
from lmlab.recipe.quantities import byte_count, count, duration
from lmlab.report.page.values import Card, Fact, number

ORIGIN, POLICY, RECIPE, SUMMARY = "origin.json", "policy.json", "recipe.toml", "summary.json"


def cards_of(name: str, found: Overview, record: Record) -> tuple[Card, ...]:
    """Return the cards that have anything to state."""
    cards = (
        _result(name, found),
        _model(name, found, record),
        _training(name, found, record),
        _data(name, found),
        _machine(name, found),
    )
    return tuple(card for card in cards if card.facts or card.lines)


class _Source:
    """Makes facts of one run's file, and leaves out unknown ones."""

    def __init__(self, name: str, file: str) -> None:
        self.name, self.file, self.facts = name, file, list[Fact]()

    def add(self, title: str, key: str, value: Any, unit: str = "", shown: str = "", file: str = "") -> None:
        if value is None or value == "":
            return
        text = shown or (
            number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
        )
        source = f"{self.name}/{file or self.file}: {key}"
        self.facts.append(Fact(name=title, value=value, shown=text, unit=unit, source=source))


def _result(name: str, found: Overview) -> Card:
    source, summary = _Source(name, SUMMARY), found.summary
    if summary is None:
        return Card(
            title="Result",
            lines=("No result yet: summary.json is written at the end of the run.",) if found.recipe else (),
        )
    final, best = summary["final"], summary["best"]
    for title, key, entry in (("last model", "final", final), ("best model", "best", best)):
        if key == "best" and best["step"] == final["step"]:
            continue
        source.add(f"step, {title}", f"{key}.step", entry["step"])
        source.add(f"validation loss, {title}", f"{key}.loss", entry["loss"], "nats per token")
        low, high = entry.get("loss_interval") or (None, None)
        if low is not None and high is not None:
            shown = f"{number(low)} to {number(high)}"
            source.add(f"95% interval, {title}", f"{key}.loss_interval", shown, "nats per token", shown)
        source.add(f"perplexity, {title}", f"{key}.perplexity", entry["perplexity"], "", f"{entry['perplexity']:,.2f}")
        source.add(f"bits per byte, {title}", f"{key}.bits_per_byte", entry["bits_per_byte"], "bits per byte")
        source.add(f"accuracy, {title}", f"{key}.accuracy", entry["accuracy"], "", f"{entry['accuracy']:.1%}")
        source.add(f"scored tokens, {title}", f"{key}.tokens", entry["tokens"], "tokens")
    return Card(title="Result", facts=tuple(source.facts), lines=(str(summary["verdict"]["reason"]),))


def _model(name: str, found: Overview, record: Record) -> Card:
    source, recipe = _Source(name, RECIPE), found.recipe
    imported = found.run.imported
    if recipe is None:
        known = imported or {}
        source.add("imported from", "imported.file", known.get("file"), file=ORIGIN)
        source.add("form of the log", "imported.form", known.get("form"), file=ORIGIN)
        source.add("parameters", "imported.parameters", known.get("parameters"), file=ORIGIN)
        return Card(title="Model", facts=tuple(source.facts))
    model = recipe.model
    source.add("form", "model.kind", model.kind)
    total = (record.parameters or {}).get("total")
    source.add(
        "parameters", "counted from model and vocabulary", total, "", f"{total:,} ({count(total)})" if total else ""
    )
    for title, key in (("layers", "layers"), ("width", "width"), ("heads", "heads"), ("context", "context")):
        source.add(title, f"model.{key}", getattr(model, key, None), "tokens" if key == "context" else "")
    for key in ("positions", "norm", "activation", "dropout"):
        value = getattr(model, key, None)
        source.add(key, f"model.{key}", value, "", f"{value:g}" if isinstance(value, float) else "")
    changed = [f"{key} {new} (was {old})" for key, (old, new) in found.changed.items()]
    base = () if found.base is None else (f"Changed from lmlab's {found.base}: {', '.join(changed) or 'nothing'}.",)
    return Card(title="Model", facts=tuple(source.facts), lines=base)


def _training(name: str, found: Overview, record: Record) -> Card:
    source, recipe = _Source(name, RECIPE), found.recipe
    source.add("steps taken", "last line's step", record.step, "", file="metrics.jsonl")
    source.add("tokens trained on", "last line's tokens", record.tokens, "tokens", file="metrics.jsonl")
    source.add(
        "passes over the text", "tokens of metrics.jsonl / data.train_tokens", record.epochs, "epochs", file=ORIGIN
    )
    flops = record.training_flops
    source.add("training compute", "counted from model and tokens", flops, "FLOP", f"{flops:.3e}" if flops else "")
    seconds = (found.summary or {}).get("seconds", {})
    for title, key in (("training time", "train"), ("time in all", "wall")):
        value = seconds.get(key)
        shown = "" if value is None else f"{value:,.0f}"
        source.add(title, f"seconds.{key}", value, "" if value is None else f"s ({duration(value)})", shown, SUMMARY)
    rate = record.tokens_per_second
    shown = "" if rate is None else number(rate, 0)
    source.add("throughput", "tokens / training time", rate, "tokens/s", shown, file="metrics.jsonl")
    if recipe is not None and found.run.model_from is None:
        for title, key, value in (
            ("optimizer", "optim.kind", recipe.optim.kind),
            ("learning rate", "optim.lr", f"{recipe.optim.lr:g}"),
            ("schedule", "schedule.kind", recipe.schedule.kind),
            ("batch", "train.batch", recipe.train.batch),
            ("seed", "train.seed", recipe.train.seed),
        ):
            source.add(title, key, value, "sequences" if key == "train.batch" else "")
    return Card(title="Training", facts=tuple(source.facts))


def _data(name: str, found: Overview) -> Card:
    source, recipe, origin = _Source(name, RECIPE), found.recipe, found.origin
    if recipe is None or found.run.model_from is not None:
        source.add("corpus", "imported.corpus", (found.run.imported or {}).get("corpus"), file=ORIGIN)
        return Card(title="Data", facts=tuple(source.facts))
    data = recipe.data
    source.add("corpus", "data.corpus", data.corpus)
    source.add("tokenizer", "data.tokenizer", data.tokenizer)
    source.add("vocabulary", "vocabulary_size", origin.get("vocabulary_size"), "tokens", file=ORIGIN)
    source.add("split", "data.split", data.split)
    sets = origin.get("data")
    first = sets[0] if isinstance(sets, list) and sets and isinstance(sets[0], Mapping) else {}
    source.add("training text", "data.train_tokens", first.get("train_tokens"), "tokens", file=ORIGIN)
    identity = origin.get("data_id")
    source.add("data set", "data_id", identity, file=ORIGIN)
    return Card(title="Data", facts=tuple(source.facts), lines=_check(identity))


def _check(identity: Any) -> tuple[str, ...]:
    """Return what `lmlab data check` found, where its result is kept with the data set."""
    value = None
    with contextlib.suppress(LabError, OSError):
        value = kept(find_dataset(str(identity)))
    if value is None:
        return (f"Not checked on this machine: lmlab data check {identity} looks for duplicates and leaks.",)
    found = []
    with contextlib.suppress(LabError):
        for section in sections(value):
            found += [f"{section.title}: {item.text}" for item in section.items]
    return (f"lmlab data check, {str(value.get('created', ''))[:10]}:", *found)


def _machine(name: str, found: Overview) -> Card:
    source, origin, policy = _Source(name, ORIGIN), found.origin, found.policy
    hardware = origin.get("hardware")
    hardware = hardware if isinstance(hardware, Mapping) else {}
    source.add("processor", "hardware.cpu", hardware.get("cpu"))
    source.add("cores", "hardware.physical_cores", hardware.get("physical_cores"))
    memory = hardware.get("memory")
    if isinstance(memory, int | float):
        source.add("memory", "hardware.memory", memory, f"bytes ({byte_count(memory)})")
    cards = [str(card.get("name")) for card in hardware.get("accelerators") or [] if isinstance(card, Mapping)]
    source.add("accelerators", "hardware.accelerators", ", ".join(cards))
    source.add("system", "hardware.system", hardware.get("system"))
    for title in ("device", "threads", "precision", "engine", "micro_batch", "ranks"):
        source.add(title.replace("_", "-"), title, policy.get(title), file=POLICY)
    for title, key in (("lmlab", "lmlab"), ("PyTorch", "torch"), ("Python", "python"), ("compiler", "compiler")):
        source.add(title, key, origin.get(key))
    return Card(title="Machine", facts=tuple(source.facts))
