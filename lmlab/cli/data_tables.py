"""The tables of `lmlab data show`: the catalogue, the prepared data sets, and the data sets of one name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmlab import LabError
from lmlab.cli.printing import show, show_json

if TYPE_CHECKING:
    from lmlab.data.dataset import Dataset
    from lmlab.training.table import Table


def print_list(json_output: bool) -> int:
    """Print the catalogue and every data set in the cache."""
    from lmlab.data.catalogue import CATALOGUE
    from lmlab.data.dataset import list_datasets
    from lmlab.files import cache_folder

    found = list_datasets()
    if json_output:
        catalogue = [entry.to_json() for entry in CATALOGUE.values()]
        show_json({"catalogue": catalogue, "prepared": [_row(one) for one in found]})
        return 0
    from lmlab.training.table import table

    corpora = [
        (entry.name, entry.about, entry.licence, f"{entry.bytes / 1e6:,.1f}" if entry.bytes else "")
        for entry in CATALOGUE.values()
    ]
    headings = ("corpus", "description", "licence", "MB")
    show("catalogue", table(headings, corpora, words=("corpus",), wraps=("description", "licence")), "")
    show("prepared", _table_of(found) if found else "none yet: lmlab data prepare NAME", cache_folder() / "datasets")
    return 0


def print_several(name: str, found: Sequence[Dataset], json_output: bool, plot: str) -> int:
    """Print the data sets of one name, with their distinguishing features."""
    if plot:
        raise LabError(
            f"{name} refers to {len(found)} data sets: give the id of one with --plot (lmlab data show {name} lists them)"
        )
    if json_output:
        show_json({"datasets": [_row(one) for one in found]})
        return 0
    show(f"{name} refers to {len(found)} data sets; to describe one: lmlab data show ID", "", _table_of(found))
    return 0


def _row(dataset: Dataset) -> dict[str, Any]:
    from lmlab.experiment.data_sets import distinguishing

    row = {"id": dataset.id, "name": dataset.name, "folder": str(dataset.folder), "splits": _sizes(dataset)}
    return {**row, **distinguishing(dataset)}


def _table_of(found: Sequence[Dataset]) -> Table:
    from lmlab.experiment.data_sets import distinguishing
    from lmlab.training.table import table

    rows = [
        (
            one.name,
            one.id,
            *distinguishing(one).values(),
            ", ".join(f"{split} {count:,}" for split, count in _sizes(one).items()),
        )
        for one in found
    ]
    headings = ("data set", "id", *distinguishing(found[0]), "tokens")
    return table(headings, rows, words=("data set", "id", "tokenizer", "split"), wraps=("documents", "tokens"))


def _sizes(dataset: Dataset) -> dict[str, int]:
    return {split: len(dataset.tokens(split)) for split in dataset.splits}
