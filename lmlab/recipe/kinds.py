"""The kinds of the sections that have several: which dataclass describes `model.kind gpt`, `optim.kind muon`, and so on.

A new kind is a frozen dataclass whose first field is `kind: Literal["name"] = "name"`, and which `add_kind` registers.
"""

from __future__ import annotations

import dataclasses
import typing

from lmlab.recipe.extensions import note_kind
from lmlab.recipe.model import GPT, Context
from lmlab.recipe.optim import AdamW, Muon
from lmlab.recipe.schedule import WSD, Constant, Cosine, Linear

KINDS: dict[str, dict[str, type]] = {"model": {}, "optim": {}, "schedule": {}}
"""section -> kind -> the dataclass that describes it."""


def add_kind(section: str, settings: type) -> None:
    """Register a dataclass as one more kind of `section`. ValueError if it has no field `kind`, or its kind is known already."""
    if not dataclasses.is_dataclass(settings) or typing.get_origin(_annotation(settings)) is not typing.Literal:
        raise ValueError(f'{settings.__name__} needs a field kind: Literal["..."]')
    (kind,) = typing.get_args(_annotation(settings))
    if KINDS[section].setdefault(kind, settings) is not settings:
        raise ValueError(f"{section}.kind {kind} is {KINDS[section][kind].__name__} already")
    note_kind(f"{section}.kind", kind, settings)


def _annotation(settings: type) -> typing.Any:
    return typing.get_type_hints(settings).get("kind")


add_kind("model", GPT)
add_kind("model", Context)
add_kind("optim", AdamW)
add_kind("optim", Muon)
add_kind("schedule", Constant)
add_kind("schedule", Linear)
add_kind("schedule", Cosine)
add_kind("schedule", WSD)
