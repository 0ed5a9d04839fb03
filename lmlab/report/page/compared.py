"""Several runs beside each other: what differs, and a verdict on each pair of recipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lmlab import LabError
from lmlab.report.comparison_table import shown_value, verdict_line
from lmlab.report.page.courses import Course
from lmlab.report.page.values import Compared, Table
from lmlab.study.compare.comparing import MOST, compare
from lmlab.study.compare.comparison import Asked
from lmlab.study.compare.differences import what_differs
from lmlab.study.scores import common_scale, scores_of


def compared_of(
    courses: Sequence[Course],
    groups: Sequence[Sequence[int]],
    say: Callable[[str], None] = lambda line: None,
) -> Compared | None:
    """Return the comparison; None for one run. One run of each group stands for its seeds, which `compare` finds by itself."""
    if len(courses) < 2:
        return None
    differences = what_differs([course.record for course in courses])
    rows = [
        (entry.name if entry.group == "recipe" else f"{entry.group}: {entry.name}", *map(shown_value, entry.values))
        for entry in differences.found
    ]
    names = [course.name for course in courses]
    table = Table(caption="What differs (recipe.toml, origin.json and policy.json of each run)",
                  headings=("setting", *names), rows=tuple(rows)) if rows else None  # fmt: skip
    same = ", ".join(f"{count} of {group}" for group, count in differences.same.items() if count)
    verdicts, notes = _verdicts(courses, [members[0] for members in groups], say)
    return Compared(differences=table, same=same, verdicts=verdicts, notes=notes)


def _verdicts(
    courses: Sequence[Course], first: Sequence[int], say: Callable[[str], None]
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return verdicts on the first runs of the groups, and what to know about them. No model is loaded or scored for them."""
    if len(first) < 2:
        return (), ("All runs differ only in the seed: there is nothing to judge.",)
    if len(first) > MOST:
        return (), (f"There are verdicts on up to {MOST} recipes, and these are {len(first)}: lmlab compare RUN RUN.",)
    if any(courses[place].cut for place in first):
        return (), ("There are no verdicts on parts of runs (RUN@STEP): lmlab compare RUN@STEP RUN@STEP.",)
    scores = [scores_of(courses[place].record) for place in first]
    known = [score for score in scores if score is not None]
    if len(known) < len(scores) or common_scale(known) is None:
        return (), ("There are no verdicts: the runs have no scores of the same text.",)
    folders = [str(courses[place].record.run.folder.resolve()) for place in first]
    try:
        found = compare(folders, Path(folders[0]).parent, Asked(device="cpu"), say=say)
    except LabError as error:
        return (), (f"No verdicts: {error}",)
    pairs = tuple((verdict_line(pair), "" if pair.verdict is None else pair.verdict.reason) for pair in found.pairs)
    return pairs, found.warnings
