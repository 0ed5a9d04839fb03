"""What differs between runs: settings of the recipe, data, policy, code, machine, versions. What is equal is only counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmlab.experiment.record import Record
from lmlab.recipe import Recipe, differences, science

Group = Literal["recipe", "log", "data", "policy", "code", "machine", "versions"]
GROUPS: tuple[Group, ...] = ("recipe", "log", "data", "policy", "code", "machine", "versions")
LOG = ("form", "corpus", "planned_steps", "step_tokens", "clock")
"""What is known about an imported run, besides its curve and size."""
VERSIONS = ("lmlab", "python", "torch", "numpy", "compiler")
MACHINE = ("cpu", "physical_cores", "logical_cores", "instructions", "memory", "system")
NO_POLICY = {"format", "reasons"}
"""Keys of policy.json that don't affect a run."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that isn't the same in all runs."""

    group: Group
    name: str
    values: tuple[Any, ...]
    """One value for each run; None where a run has no such thing."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """All differences, and how many things are the same."""

    found: tuple[Difference, ...]
    same: Mapping[Group, int]

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        found = [{"group": entry.group, "name": entry.name, "values": list(entry.values)} for entry in self.found]
        return {"differs": found, "same": dict(self.same)}


def what_differs(records: Sequence[Record]) -> Differences:
    """Return what differs between any of the runs."""
    found: list[Difference] = []
    same: dict[Group, int] = {}
    for group, tables in (("recipe", _recipes(records)), *_facts(records)):
        # Facts that a log doesn't state don't count as differences.
        known = [
            table for table, record in zip(tables, records, strict=True) if group == "log" or record.imported is None
        ]
        names = list(dict.fromkeys(name for table in known for name in table))
        apart = [name for name in names if any(table.get(name) != known[0].get(name) for table in known[1:])]
        found += [
            Difference(group=group, name=name, values=tuple(table.get(name) for table in tables)) for name in apart
        ]
        same[group] = len(names) - len(apart)
    return Differences(found=tuple(found), same=same)


def _recipes(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the settings that affect the result. Settings added after a recipe was written are included where they make a
    difference."""
    recipes = [record.recipe for record in records]
    known = [recipe for recipe in recipes if recipe is not None]  # an imported log has none
    names = {name for recipe in known for name in (*science(recipe), *differences(known[0], recipe))}

    def value(recipe: Recipe | None, name: str) -> Any:
        section, _, field = name.partition(".")
        return getattr(getattr(recipe, section, None), field, None)

    return [{name: value(recipe, name) for name in sorted(names)} for recipe in recipes]


def _facts(records: Sequence[Record]) -> Iterable[tuple[Group, list[dict[str, Any]]]]:
    if any(record.imported is not None for record in records):
        yield "log", [_plain(record.imported, LOG) for record in records]
    yield "data", [_data(record) for record in records]
    yield "policy", [{key: value for key, value in record.policy.items() if key not in NO_POLICY} for record in records]
    yield "code", [_plain(record.origin.get("code"), ("commit", "source_sha256")) for record in records]
    yield "machine", [_machine(record) for record in records]
    yield "versions", [_plain(record.origin, VERSIONS) for record in records]


def _data(record: Record) -> dict[str, Any]:
    parent = record.origin.get("parent")
    return {
        "data set": record.origin.get("data_id"),
        "training tokens": record.training_tokens,
        "vocabulary": record.origin.get("vocabulary_size"),
        **({} if record.checkpoint is None else {"checkpoint": record.checkpoint}),
        "continues": f"{parent.get('name')}@{parent.get('step')}" if isinstance(parent, dict) else None,
    }


def _machine(record: Record) -> dict[str, Any]:
    hardware = record.origin.get("hardware")
    table = _plain(hardware, MACHINE)
    cards = hardware.get("accelerators") if isinstance(hardware, Mapping) else None
    table["accelerators"] = [card.get("name") for card in cards or [] if isinstance(card, Mapping)]
    return table


def _plain(value: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: value.get(name) for name in names} if isinstance(value, Mapping) else {}
