"""`lmlab data rm`: remove prepared data sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tyro

from lmlab.cli.arguments import runs_folder
from lmlab.cli.asking import require_yes
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show
from lmlab.recipe.quantities import byte_count


@dataclass(frozen=True)
class Remove:
    """Remove prepared data sets, after a confirmation that states how much disk space this frees. The text itself stays, and lmlab
    data prepare makes an equal data set from it again. A data set that runs were trained on is only removed with --force.
    """

    name: tyro.conf.Positional[tuple[str, ...]] = ()
    """Ids, folders or names of data sets, or the texts that they were prepared from."""
    force: bool = False
    """Also remove data sets that runs were trained on: these can't be resumed, branched or evaluated until it's prepared again."""
    yes: bool = False
    """Don't ask for confirmation."""
    runs: str = ""
    """Where the runs are that may use it; default: LMLAB_RUNS, or ./runs."""


def remove(flags: Remove, settings: dict[str, Any]) -> int:
    """Print what is removed and what that frees, ask, remove."""
    from lmlab.data.removal import occupied_bytes, remove_dataset, remove_leftovers, with_views
    from lmlab.experiment.data_sets import one_named, require_unused

    if not flags.name:
        raise UsageError("lmlab data rm needs a NAME: the id or name of a data set (lmlab data show lists them)")
    found = with_views([one_named(name, settings)[0] for name in flags.name])
    require_unused(found, runs_folder(flags.runs), flags.force)
    sizes = [occupied_bytes(one) for one in found]
    for one, size in zip(found, sizes, strict=True):
        show(f"{one.name} {one.id}: {byte_count(size)}")
    count = "1 data set" if len(found) == 1 else f"{len(found)} data sets"
    require_yes(f"remove {count}, {byte_count(sum(sizes))}?", flags.yes)
    for folder in sorted({one.folder.parent for one in found}):
        remove_leftovers(folder)
    for one in found:
        remove_dataset(one)
        show(f"{one.name} {one.id} is removed")
    return 0
