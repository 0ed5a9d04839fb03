"""Find the prepared data set of a name, and the runs that use it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.dataset import Dataset, list_datasets, open_dataset
from lmlab.data.describe_lines import documents_in_short, split_in_short
from lmlab.data.manifest import ID
from lmlab.data.manifest import NAME as MANIFEST
from lmlab.data.preparation import prepare, prepared
from lmlab.data.progress import Progress
from lmlab.data.remembered import datasets_of, words_of
from lmlab.data.sources import resolve
from lmlab.experiment.asked import data_asked, names_text
from lmlab.recipe import Data, Recipe, is_recipe
from lmlab.runs import list_runs

NAMED_RUNS = 5
"""How many runs an error names."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """The data sets of a name."""

    datasets: tuple[Dataset, ...]
    """Several where the name is ambiguous; none where nothing was prepared from that text yet."""
    recipe: Recipe
    """The named or the default recipe, for context and stride in descriptions."""
    note: str = ""
    """Why this one was chosen among several."""


def datasets_named(
    name: str, settings: Mapping[str, Any], progress: Progress | None = None, fetch: bool = False
) -> Named:
    """Return the data sets that `name` refers to: an id, the folder of one, a recipe, a text that was prepared, or the name by
    which `lmlab data show` lists it. With `settings`, the one that was prepared with these.

    `fetch`: whether a catalogue corpus is downloaded if necessary. LabError where there is nothing of that name, and where a
    recipe, or a text with `settings`, is not prepared.
    """
    if _is_dataset(name):
        if settings:
            raise LabError(f"data set {name} has its settings already: leave out --{next(iter(settings))}")
        return Named(datasets=(open_dataset(name),), recipe=Recipe())
    if not settings and not names_text(name) and not is_recipe(name):
        return Named(datasets=_listed_as(name), recipe=Recipe())
    if settings or is_recipe(name):
        recipe = data_asked(name, settings, lambda line: None, progress)
        exact = prepared(recipe.data)
        if exact is None and not is_recipe(name):
            return Named(datasets=(), recipe=recipe)
        if exact is None:
            raise LabError(
                f"{name} is not prepared with these settings (what a run used is found by the id that its training printed): "
                f"lmlab data prepare {name}{words_of(settings)}"
            )
        return Named(datasets=(exact,), recipe=recipe)
    found = datasets_of(resolve(Data(corpus=name), progress=progress, fetch=fetch))
    trained = _as_trained(name, progress) if len(found) > 1 else None
    if trained is None:
        return Named(datasets=tuple(found), recipe=Recipe())
    others = ", ".join(one.id for one in found if one.id != trained.id)
    note = (
        f"of {len(found)} data sets prepared from {name}, the one that lmlab train {name} reads (the others: {others})"
    )
    return Named(datasets=(trained,), recipe=Recipe(), note=note)


def one_named(name: str, settings: Mapping[str, Any], progress: Progress | None = None) -> tuple[Dataset, Recipe]:
    """Return the data set that `name` refers to, and the recipe to describe it with; LabError where it's not exactly one."""
    named = datasets_named(name, settings, progress)
    if not named.datasets:
        how = " with these settings" if settings else ""
        raise LabError(f"no data set was prepared from {name}{how}: lmlab data prepare {name}{words_of(settings)}")
    if len(named.datasets) > 1:
        raise LabError(f"{several_line(name, named.datasets)}; give an id")
    return named.datasets[0], named.recipe


def found_or_prepared(
    name: str, settings: Mapping[str, Any], say: Callable[[str], object], progress: Progress
) -> tuple[Dataset, Recipe]:
    """Return the data set that `name` refers to, prepared now if necessary, and the recipe to describe it with; `say` is called
    with the reasons for the choice. LabError where several have that name.
    """
    asked = not _is_dataset(name) and (settings or is_recipe(name))
    named = None if asked else datasets_named(name, settings, progress, fetch=True)
    if named is None or not named.datasets:
        recipe = data_asked(name, settings, say, progress)
        return prepare(recipe.data, progress=progress), recipe
    if len(named.datasets) > 1:
        raise LabError(f"{several_line(name, named.datasets)}; give an id")
    if named.note:
        say(named.note)
    return named.datasets[0], named.recipe


def named_or_prepared(
    name: str, settings: Mapping[str, Any], say: Callable[[str], object], progress: Progress
) -> tuple[Dataset, Recipe]:
    """Return the data set that `lmlab train NAME` with these settings reads, prepared now if necessary, or the one that is listed
    by `name`; and the recipe to describe it with. LabError where several are listed by it, or nothing has that name.
    """
    text = _is_dataset(name) or names_text(name) or is_recipe(name)
    if not settings and not text and any(one.name == name for one in list_datasets()):
        dataset, recipe = one_named(name, settings, progress)
        say(f"{name} is prepared: data set {dataset.id}")
        return dataset, recipe
    recipe = data_asked(name, settings, say, progress)
    return prepare(recipe.data, progress=progress), recipe


def several_line(name: str, found: Sequence[Dataset]) -> str:
    """Return the data sets of one name and their distinguishing features, in a line."""
    each = ", ".join(f"{one.id} ({_told(one)})" for one in found)
    return f"{name} refers to {len(found)} data sets: {each}"


def _told(dataset: Dataset) -> str:
    told = distinguishing(dataset)
    return f"documents: {told['documents']}; tokenizer: {told['tokenizer']}; split: {told['split']}"


def distinguishing(dataset: Dataset) -> dict[str, str]:
    """Return the features that distinguish data sets of one text, by the heading of a table."""
    return {
        "documents": documents_in_short(dataset),
        "tokenizer": f"{dataset.facts['tokenizer']['name']} {dataset.vocabulary_size:,}",
        "split": split_in_short(dataset),
    }


def runs_using(datasets: Sequence[Dataset], root: Path) -> list[str]:
    """Return the names of the runs in `root` that were trained on one of these data sets."""
    ids = {one.id for one in datasets}
    found = []
    for run in list_runs(root):
        try:
            if run.origin().get("data_id") in ids:
                found.append(run.name)
        except LabError:  # a run whose origin can't be read isn't known to use any data
            continue
    return found


def require_unused(datasets: Sequence[Dataset], root: Path, force: bool) -> None:
    """Raise LabError where runs in `root` were trained on one of these data sets, unless `force` is set."""
    users = [] if force else runs_using(datasets, root)
    if users:
        more = f" and {len(users) - NAMED_RUNS:,} more" if len(users) > NAMED_RUNS else ""
        raise LabError(
            f"runs in {root} were trained on it ({', '.join(users[:NAMED_RUNS])}{more}), and without it they can't be resumed, "
            "branched or evaluated: remove them first (lmlab runs rm), or add --force"
        )


def _is_dataset(name: str) -> bool:
    return ID.fullmatch(name) is not None or os.path.exists(Path(name) / MANIFEST)


def _listed_as(name: str) -> tuple[Dataset, ...]:
    """Return the data sets that are listed by this name; LabError where there are none."""
    every = list_datasets()
    found = tuple(one for one in every if one.name == name)
    if not found:
        close = difflib.get_close_matches(name, {one.name for one in every}, n=1)
        hint = f"did you mean {close[0]}?" if close else "lmlab data show lists what there is"
        raise LabError(f"there is no data set, recipe or text named '{name[:200]}': {hint}")
    return found


def _as_trained(name: str, progress: Progress | None) -> Dataset | None:
    """Return the one that `lmlab train NAME` would read; None where it isn't prepared or the settings are ambiguous."""
    try:
        return prepared(data_asked(name, {}, lambda line: None, progress).data)
    except LabError:
        return None
