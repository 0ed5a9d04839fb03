"""A study's runs as values, one for each cell and seed, with name and recipe; plan.json in the study's folder."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import read_json
from lmlab.recipe import Recipe, from_toml, override, to_toml
from lmlab.recipe.identity import policy_names
from lmlab.recipe.override import shown
from lmlab.stats.factorial import Cell
from lmlab.stats.shapley import Order, sampled_orders
from lmlab.study.grid.definition import Definition, study_name
from lmlab.study.grid.design import (
    BASELINE,
    DesignName,
    Factor,
    Level,
    cells_of,
    label_of,
    recipe_of,
    require_factors,
)
from lmlab.study.scores import windows_of

FORMAT = 1
PLAN = "plan.json"
DRAWN = "drawn"
"""The value of `orders` in a plan, except in those of earlier versions, which began with the order of the factors."""
LONGEST_SLUG = 48
ARITHMETIC = ("train.precision", "train.device")
"""Policy settings that runs of one study share, since they may change losses by more than the order of sums does."""


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a study."""

    name: str
    cell: Cell
    seed: int
    recipe: Recipe
    id: str = ""
    """The id of a run that existed before the study, which never trains it; else empty."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A finished run that was there before the study and counts as a seed of one of its cells."""

    cell: Cell
    name: str
    id: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """All that is decided before a study's first run."""

    name: str
    about: str
    asked: str
    """The recipe or text that was named, and the settings of all runs, as JSON; identifies the study when it is continued."""
    base: Recipe
    factors: tuple[Factor, ...]
    """Without levels that the base has already."""
    design: DesignName
    seeds: int
    pairs: int = 0
    """Pairs of random orders in which the factors of a subsets design are added; 0: all subsets."""
    first_given: bool = False
    """Whether the first of these orders is that of the factors, as in plans of earlier versions; else all are drawn."""
    given: tuple[Given, ...] = ()
    """Existing runs, which count as seeds: their cells are trained only from the missing number of seeds."""

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells, the baseline first."""
        return tuple(cells_of(self.factors, self.design, self.pairs, self.first_given))

    @property
    def orders(self) -> list[Order]:
        """The orders in which the factors of a subsets design are added, where they are sampled."""
        return sampled_orders(len(self.factors), self.pairs, first_given=self.first_given)

    @cached_property
    def runs(self) -> tuple[PlannedRun, ...]:
        """The given runs, then the others in the order of training: all cells from one seed, then all from the next."""
        names = self._slugs()
        recipes = {cell: recipe_of(cell, self.factors, self.base) for cell in self.cells}

        def planned(cell: Cell, seed: int, name: str, number: str = "") -> PlannedRun:
            train = dataclasses.replace(recipes[cell].train, seed=seed)
            recipe = dataclasses.replace(recipes[cell], name=name, about="", claims=(), train=train)
            return PlannedRun(name=name, cell=cell, seed=seed, recipe=recipe, id=number)

        found = [planned(one.cell, one.seed, one.name, one.id) for one in self.given]
        seeds = {cell: self._own_seeds(cell) for cell in self.cells}
        for turn in range(self.seeds):
            for cell in self.cells:
                for seed in seeds[cell][turn : turn + 1]:
                    found.append(planned(cell, seed, f"{self.name}-{names[cell]}-s{seed}"))
        return tuple(found)

    def _own_seeds(self, cell: Cell) -> list[int]:
        """Return the seeds from which a cell is trained besides those of its given runs."""
        taken = {one.seed for one in self.given if one.cell == cell}
        first = self.base.train.seed
        free = [seed for seed in range(first, first + self.seeds + len(taken)) if seed not in taken]
        return free[: max(0, self.seeds - len(taken))]

    def label(self, cell: Cell) -> str:
        """Describe a cell."""
        on = sum(cell)
        if self.design == "cumulative" and on > 1:
            return f"all {on} stacked" if on == len(self.factors) else f"first {on} stacked"
        return label_of(cell, self.factors)

    def folder(self, runs: Path) -> Path:
        """Return the folder of the study's own files."""
        return runs / f"study-{self.name}"

    def _slugs(self) -> dict[Cell, str]:
        """Return cell -> its part of a run's name: its label, or its levels' numbers where the label is too long or taken."""
        found: dict[Cell, str] = {}
        for cell in self.cells:
            slug = (
                BASELINE
                if not any(cell)
                else re.sub(r"[^\w.+]+", "-", self.label(cell).replace(" + ", "+")).strip("-+.")
            )
            if len(slug) > LONGEST_SLUG or not slug or slug in found.values():
                slug = "levels-" + ".".join(map(str, cell))
                slug = slug if len(slug) <= LONGEST_SLUG else f"cell-{self.cells.index(cell)}"
            found[cell] = slug
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the value for plan.json and study.json."""
        return {
            "format": FORMAT,
            "name": self.name,
            "about": self.about,
            "asked": self.asked,
            "design": self.design,
            "seeds": self.seeds,
            "pairs": self.pairs,
            **({"orders": DRAWN} if self.pairs and not self.first_given else {}),
            "factors": [
                {
                    "name": factor.name,
                    "levels": [{"label": level.label, "settings": dict(level.settings)} for level in factor.levels],
                }
                for factor in self.factors
            ],
            "recipe": to_toml(self.base),
            **({"given": [dataclasses.asdict(one) for one in self.given]} if self.given else {}),
        }


def plan_study(definition: Definition, base: Recipe) -> StudyPlan:
    """Return the plan of a study with base recipe `base`, which includes the settings of all runs; LabError where it isn't
    valid."""
    require_factors(definition.factors, definition.design)
    plan = StudyPlan(
        name=definition.name,
        about=definition.about,
        asked=asked_of(definition),
        base=base,
        factors=tuple(_without_own(factor, base) for factor in definition.factors),
        design=definition.design,
        seeds=definition.seeds,
    )
    if (
        len({windows_of(run.recipe) for run in plan.runs}) > 1
    ):  # `plan.runs` raises LabError for a cell that can't be trained
        raise LabError(
            "the study's cells would be scored in different windows of documents, so that their losses couldn't be compared: "
            "expected one data.windows, data.stride and model.context, or data.windows = stream in all cells"
        )
    return plan


def asked_of(definition: Definition) -> str:
    """Return what determines the base recipe of a study, as JSON."""
    size = [definition.size] if definition.size else []
    return json.dumps([definition.recipe, sorted(definition.settings.items()), *size], default=str)


def is_same_study(asked: str, definition: Definition) -> bool:
    """Return whether a plan's `asked` is of this study: the same recipe and settings, except those of how runs are carried out."""
    try:
        both = map(json.loads, (asked, asked_of(definition)))
        theirs, ours = ([recipe, dict(settings), *size] for recipe, settings, *size in both)
    except (TypeError, ValueError):  # such as of an explanation, which has no settings
        return False
    for value in (theirs, ours):
        value[1] = {name: value for name, value in value[1].items() if not may_change(name)}
    return theirs == ours


def may_change(name: str) -> bool:
    """Return whether a study may continue with another value of this setting: policy such as train.threads, without ARITHMETIC."""
    return name in policy_names() and name not in ARITHMETIC


def plan_from(value: Any, origin: str) -> StudyPlan:
    """Read the plan in a plan.json or study.json; a LabError begins with `origin`."""
    try:
        if value["format"] != FORMAT:
            raise LabError(f"{origin} has format {shown(value['format'])}: this version reads {FORMAT}; update lmlab")
        factors = tuple(
            Factor(
                name=str(factor["name"]),
                levels=tuple(
                    Level(label=str(level["label"]), settings=_settings(level["settings"]))
                    for level in factor["levels"]
                ),
            )
            for factor in value["factors"]
        )
        require_factors(factors, value["design"])
        plan = StudyPlan(
            name=study_name(str(value["name"])),
            about=str(value["about"]),
            asked=str(value["asked"]),
            base=from_toml(value["recipe"], origin),
            factors=factors,
            design=value["design"],
            seeds=int(value["seeds"]),
            pairs=int(value["pairs"]),
            first_given=bool(value["pairs"]) and value.get("orders") != DRAWN,
            given=tuple(map(_given, value.get("given", ()))),
        )
        _ = plan.runs
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LabError(f"{origin} is damaged: expected the plan of a study") from None
    return plan


def read_plan(folder: Path) -> StudyPlan | None:
    """Read the plan in a study's folder; None where there is none."""
    path = folder / PLAN
    return plan_from(read_json(path), str(path)) if path.exists() else None


def _given(value: Mapping[str, Any]) -> Given:
    cell = tuple(map(int, value["cell"]))
    return Given(cell=cell, name=str(value["name"]), id=str(value["id"]), seed=int(value["seed"]))


def _settings(value: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): tuple(part) if isinstance(part, list) else part for name, part in value.items()}


def _without_own(factor: Factor, base: Recipe) -> Factor:
    """Return the factor without levels that are the base recipe's own setting."""
    levels = tuple(level for level in factor.levels if override(base, level.settings) != base)
    if not levels:
        raise LabError(
            f"the factor {factor.name} has only the recipe's own setting: expected a level that differs from it"
        )
    return dataclasses.replace(factor, levels=levels)
