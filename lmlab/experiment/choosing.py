"""Filter and sort the rows of a table: conditions such as loss<1.6, and fields to sort by.

    FIELD=VALUE  !=  <  <=  >  >=  ~ (contains)  !~        parameters>1M  time<2h  tag=night  model.layers=6

A field is a column of the table or a setting of the recipe by its dotted name. An unknown value satisfies only != and !~.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.experiment.listing import ListedRun
from lmlab.recipe.experiment import SECTIONS
from lmlab.recipe.foreign import own_name
from lmlab.recipe.override import nearest
from lmlab.recipe.quantities import seconds_in

FIELDS = {
    **{
        "name": "name",
        "status": "status",
        "recipe": "recipe_name",
        "corpus": "corpus",
        "device": "device",
        "tag": "tags",
    },
    **{"parameters": "parameters", "tokens": "tokens", "loss": "loss", "bits": "bits_per_byte", "time": "seconds"},
    **{"perplexity": "perplexity", "accuracy": "accuracy", "epochs": "epochs"},
    **{
        "speed": "tokens_per_second",
        "step_seconds": "step_seconds",
        "epoch_seconds": "epoch_seconds",
        "disk": "disk_bytes",
        "seed": "seed",
        "step": "step",
        "created": "created",
        "family": "family",
        "id": "id",
    },
}
"""Names for users -> the row's own names, which are accepted, too."""
NUMBERS = (
    *("parameters", "tokens", "loss", "perplexity", "accuracy", "bits_per_byte", "epochs", "seed", "step"),
    *("seconds", "tokens_per_second", "epoch_seconds", "step_seconds", "disk_bytes"),
)
CONDITION = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(==|<=|>=|!=|!~|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
AMOUNT = re.compile(r"([-+]?\d[\d,_]*(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*([kKMBGT]?)")
MULTIPLES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
UNKNOWN = "none"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition on a row."""

    field: str
    operator: str
    value: str

    def holds(self, row: ListedRun) -> bool:
        """Return whether the row satisfies it; LabError where the values can't be compared."""
        found = value_of(row, self.field)
        if self.operator in ("!=", "!~"):
            return not dataclasses.replace(self, operator=self.operator[1:]).holds(row)
        if found is None:
            return self.operator == "=" and self.value.lower() == UNKNOWN
        if isinstance(found, tuple):
            return any(self._holds_for(entry) for entry in found)
        return self._holds_for(found)

    def _holds_for(self, found: Any) -> bool:
        if self.operator == "~":
            return self.value.lower() in str(found).lower()
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            if self.operator == "=" and self.value.lower() == UNKNOWN:
                return False
            return _compared(float(found), self.operator, _amount(self.field, self.value))
        return _compared(str(found).lower(), self.operator, self.value.lower())


def parse_condition(text: str) -> Condition:
    """Parse FIELD OPERATOR VALUE; LabError for anything else, and for an unknown field."""
    match = CONDITION.fullmatch(text)
    if not match:
        raise LabError(
            f"{text[:60]!r} is not a condition: expected one such as status=finished, 'loss<1.6', corpus~tiny or tag=x"
        )
    name, operator, value = match.groups()
    field = check_field(name)
    if field in NUMBERS and operator not in ("~", "!~") and value.lower() != UNKNOWN:
        _amount(field, value)
    return Condition(field=field, operator="=" if operator == "==" else operator, value=value)


def check_field(name: str) -> str:
    """Return the row's own name of a field, or a setting's dotted name; LabError where it is neither."""
    if name in FIELDS:
        return FIELDS[name]
    if name in FIELDS.values():
        return name
    if name.partition(".")[0] in SECTIONS and name.count(".") == 1:
        return name
    ours = own_name(name)
    if ours and "." in ours:
        raise LabError(f"runs have no field {name[:40]!r}: it is called {ours.split(' ')[0]} here")
    raise LabError(
        f"runs have no field {name[:40]!r}: {nearest(name, list(FIELDS))}; a setting needs its section: model.layers"
    )


def chosen(rows: Sequence[ListedRun], conditions: Sequence[Condition]) -> list[ListedRun]:
    """Return the rows that satisfy all conditions; LabError for a setting that no run's recipe has."""
    for field in {condition.field for condition in conditions if "." in condition.field}:
        _require_setting(rows, field)
    return [row for row in rows if all(condition.holds(row) for condition in conditions)]


def in_order_of(rows: Sequence[ListedRun], field: str, descending: bool = False) -> list[ListedRun]:
    """Sort by a field; rows without a value come last in both directions, and the sort is stable."""
    field = check_field(field)
    if "." in field:
        _require_setting(rows, field)
    known = [row for row in rows if value_of(row, field) is not None]
    without = [row for row in rows if value_of(row, field) is None]
    return [*sorted(known, key=lambda row: _key(value_of(row, field)), reverse=descending), *without]


def value_of(row: ListedRun, field: str) -> Any:
    """Return a field's value, by the name from `check_field`; None where it's unknown, or the recipe has no such setting."""
    section, dot, key = field.partition(".")
    return getattr(getattr(row.recipe, section, None), key, None) if dot else getattr(row, field)


def _require_setting(rows: Sequence[ListedRun], field: str) -> None:
    section, _, key = field.partition(".")
    parts = [getattr(row.recipe, section) for row in rows if row.recipe is not None]
    if parts and not any(hasattr(part, key) for part in parts):
        known = sorted({f"{section}.{name}" for part in parts for name in vars(part)})
        raise LabError(f"no run here has a setting {field[:60]}: {nearest(field, known)}")


def _key(value: Any) -> tuple[int, float, str]:
    """Return a sort key that puts numbers before words."""
    if isinstance(value, (int, float)):
        return (0, float(value), "")
    return (1, 0.0, ", ".join(map(str, value)) if isinstance(value, tuple) else str(value).lower())


def _amount(field: str, text: str) -> float:
    """Parse 1.6, 10M, 50k; for times also 2h or 90s."""
    match = AMOUNT.fullmatch(text)
    if match:
        return float(match[1].replace(",", "").replace("_", "")) * MULTIPLES[match[2]]
    if field.endswith("seconds"):
        return seconds_in(text)
    raise LabError(f"{field} can't be compared with {text[:40]!r}: expected a number such as 1.6 or 10M")


def _compared(found: Any, operator: str, value: Any) -> bool:
    if operator == "=":
        return bool(found == value)
    if operator in ("<", "<="):
        return bool(found < value or (operator == "<=" and found == value))
    return bool(found > value or (operator == ">=" and found == value))
