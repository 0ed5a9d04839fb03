"""The results of benchmark tasks for the terminal: a row a task and a column a model, then styles, controls, notes and verdicts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

from lmlab.evaluation.tasks.contamination import Contamination
from lmlab.evaluation.tasks.controls import CORRUPTED
from lmlab.evaluation.tasks.figures import Figures
from lmlab.evaluation.tasks.judging import Judged
from lmlab.evaluation.tasks.pairs import SIGNIFICANT, TaskPair
from lmlab.experiment.task_report import SelectedTask, TaskReport, TaskScore
from lmlab.stats.proportion import Proportion
from lmlab.training.table import Part, Styled, Table, table

MARKS = {"above": "", "at chance": " ~", "not above the majority class": " ~", "below chance": " v", "unknown": ""}
LEGEND = (
    "± is half of the 95% interval over items; ~ at chance, or not above the majority class: not ranked; v below chance; "
    "'shows' is the smallest accuracy above both, and the smallest difference of two models, that so many items show (80% power, "
    "5% level)"
)
STANDING = {
    "above": "above chance and any constant choice",
    "at chance": "at chance, so this shows no ability",
    "not above the majority class": "not shown to be better than a constant choice",
    "below chance": "below chance, which says nothing of an ability",
    "unknown": "",
}
COLOURS = {"better": "green", "worse": "red", "indistinguishable": "yellow"}


def tasks_parts(report: TaskReport, groups: bool = False) -> Iterator[Part]:
    """Yield tables and lines in reading order, verdicts last; `groups`: also the accuracy of each group of items."""
    yield Styled("accuracy in each task's primary style", "bold")
    yield _accuracies(report)
    yield Styled(LEGEND, "dim")
    yield ""
    yield Styled("by style", "bold")
    yield _styles(report)
    yield ""
    yield from _controls(report)
    if groups:
        yield from _groups(report)
    for selected in report.tasks:
        yield from _task_lines(report, selected)
    yield ""
    yield from _contamination(report)
    yield ""
    yield from _verdicts(report)
    if report.pairs:
        yield Styled("verdicts are about these items: another seed of a recipe can differ by as much", "dim")


def _verdicts(report: TaskReport) -> Iterator[Part]:
    """Yield a line for each pair and task that is ranked, and one for the tasks on which a pair isn't."""
    unranked: dict[tuple[str, str], list[str]] = {}
    for pair in report.pairs:
        if pair.kind == "not ranked":
            unranked.setdefault((pair.first, pair.second), []).append(pair.task)
        else:
            yield Styled(verdict_line(pair, len(report.pairs)), COLOURS[pair.kind])
    for (first, second), tasks in unranked.items():
        yield f"{first} and {second} are not ranked where neither is above chance and any constant choice: {', '.join(tasks)}"


def verdict_line(pair: TaskPair, among: int) -> str:
    """Return the verdict on a ranked pair, which is one of `among` comparisons, as text."""
    said = {
        "better": f"{pair.first} is better than {pair.second}",
        "worse": f"{pair.first} is worse than {pair.second}",
        "indistinguishable": f"{pair.first} and {pair.second} are indistinguishable",
    }[pair.kind]
    paired = pair.paired
    if not paired.items:
        return f"{pair.task}: no verdict, {pair.first} and {pair.second} have no item that both could score"
    return (
        f"{pair.task}: {said}: {pair.accuracies[0]:.3f} against {pair.accuracies[1]:.3f}, difference {paired.difference:+.3f} (95% "
        f"{paired.low:+.3f} to {paired.high:+.3f}); of {paired.items:,} items {paired.first_only:,} right in the first alone, "
        f"{paired.second_only:,} in the second alone, p {_p_value(paired.p_value)}"
        + (f", {_p_value(pair.adjusted_p_value)} for all comparisons together" if among > 1 else "")
    )


def _accuracies(report: TaskReport) -> Table:
    headings = ("task", "items", "chance", "majority", *(model.name for model in report.models), "shows")
    rows = []
    for selected in report.tasks:
        found = [score.judged.figures for score in report.scores[selected.task.name]]
        first = found[0]
        cells = [f"{_accuracy(figures.primary)}{MARKS[figures.standing]}" for figures in found]
        rows.append(
            (
                selected.task.name,
                f"{len(selected.items):,}",
                _share(first.chance),
                "-" if first.majority is None else _share(first.majority),
                *cells,
                f"{_share(first.baseline + first.smallest_above)}, {_number_in(_between(report, selected, found))}",
            )
        )
    return _by_model(headings, rows, words=("task",))


def _between(report: TaskReport, selected: SelectedTask, found: Sequence[Figures]) -> str:
    """Return the smallest difference of two models that the items show, in words: by the largest disagreement of two models, if
    known."""
    pairs = [pair.paired.disagreement for pair in report.pairs if pair.task == selected.task.name and pair.paired.items]
    apart = max(pairs, default=0.0) or None
    smallest = max(figures.smallest_between(apart) for figures in found)
    if math.isfinite(smallest):
        return f"differences of two models from {smallest:.3f} on"
    return "no difference of two models" if apart is None else f"differences of two models above {apart:.3f}"


def _by_model(headings: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str]) -> Table:
    """Return a table with a column a model; those that don't fit the terminal form further blocks of rows."""
    return dataclasses.replace(table(headings, rows, words=words), blocks=True)


def _number_in(words: str) -> str:
    return next((word for word in words.split() if word[0].isdigit()), "-")


def _styles(report: TaskReport) -> Table:
    rows = []
    for selected in report.tasks:
        found = [score.judged.figures for score in report.scores[selected.task.name]]
        for style in selected.task.styles:
            rows.append((f"{selected.task.name}, {style}", *(_accuracy(figures.styles[style]) for figures in found)))
        bits = [figures.bits_per_byte for figures in found]
        title = f"{selected.task.name}, bits per byte of the answer"
        rows.append((title, *("-" if math.isnan(one) else f"{one:.3f}" for one in bits)))
    return _by_model(("task and style", *(model.name for model in report.models)), rows, words=("task and style",))


def _controls(report: TaskReport) -> Iterator[Part]:
    rows = []
    for selected in report.tasks:
        for model, score in zip(report.models, report.scores[selected.task.name], strict=True):
            found = score.judged.controls
            values = (found.constant, found.first, found.shuffled, found.swapped, found.shortest, found.corrupted)
            own = score.judged.figures.primary.estimate
            rows.append((selected.task.name, model.name, _share(own), *map(_share, values)))
    headings = ("task", "model", "accuracy", "constant", "first", "shuffled", "swapped", "shortest", "corrupted")
    yield Styled("controls", "bold")
    yield table(headings, rows, words=("task", "model"))
    removed = [one.task.name for one in report.tasks if one.task.corruption == "removed"]
    mixed = [one.task.name for one in report.tasks if one.task.corruption == "shuffled"]
    kinds = [
        f"{CORRUPTED[kind]} in {', '.join(names)}"
        for kind, names in (("removed", removed), ("shuffled", mixed))
        if names
    ]
    yield Styled(
        "constant: all options have one value, and ties aren't right; first: what taking the first of equal values gives it; "
        "shuffled: the values in random order among an item's options; swapped: exchanged in pairs; shortest: the shortest option"
        + (f"; corrupted: {'; '.join(kinds)}" if kinds and report.asked.corrupted else ""),
        "dim",
    )
    yield ""


def _groups(report: TaskReport) -> Iterator[Part]:
    for selected in report.tasks:
        found = [score.judged.figures.groups for score in report.scores[selected.task.name]]
        for grouping in selected.task.groupings:
            names = sorted({name for groups in found for name in groups[grouping]})
            rows = [
                (
                    name,
                    *(f"{_accuracy(own[grouping][name])}" if name in own[grouping] else "-" for own in found),
                )
                for name in names
            ]
            yield Styled(f"{selected.task.name} by {grouping}", "bold")
            yield _by_model((grouping, *(model.name for model in report.models)), rows, words=(grouping,))
            yield ""


def power_line(report: TaskReport, selected: SelectedTask) -> str:
    """Return what so many items can show, in words."""
    found = [score.judged.figures for score in report.scores[selected.task.name]]
    first, every = found[0], len(selected.data.items)
    count = f"{len(selected.items):,} items"
    if len(selected.items) < every:
        count = f"{len(selected.items):,} of {every:,} items (chosen by seed {report.asked.seed})"
    shown = first.baseline + first.smallest_above
    from_ = f"an accuracy from {shown:.3f} on" if shown <= 1 else "no accuracy"
    majority = "" if first.majority is None else f", a constant choice {first.majority:.3f}"
    if not first.primary.trials:
        return f"{selected.task.name}: no item could be scored"
    between = _between(report, selected, found)
    return f"{selected.task.name}: {count} show {from_} (chance {first.chance:.3f}{majority}), and {between}"


def _task_lines(report: TaskReport, selected: SelectedTask) -> Iterator[Part]:
    """Yield what the accuracies on a task show, in words, and what was found while it was scored."""
    yield power_line(report, selected)
    scores = dict(zip((model.name for model in report.models), report.scores[selected.task.name], strict=True))
    said = {name: STANDING[score.judged.figures.standing] for name, score in scores.items()}
    yield from (f"  {line}" for line in _by_saying(said))
    found = {name: "; ".join(_encoding_lines(selected, score)) for name, score in scores.items()}
    yield from (f"  {line}" for line in _by_saying(found))
    kind = selected.task.corruption
    if kind != "none":
        gains = {name: _by_prompts(score.judged, CORRUPTED[kind]) for name, score in scores.items()}
        yield from (f"  {line}" for line in _by_saying(gains))
    published = {f"{one.model} {one.accuracy:.4f} ({one.style})": one.source for one in selected.task.published}
    if published:
        sources = "; ".join(dict.fromkeys(published.values()))
        yield Styled(f"  published, not run here: {', '.join(published)}; from {sources}", "dim")


def _by_saying(said: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each different text, with the models that it is about; none for an empty text."""
    for text in dict.fromkeys(said.values()):
        if text:
            yield f"{', '.join(name for name, own in said.items() if own == text)}: {text}"


def _by_prompts(judged: Judged, corrupted: str) -> str:
    """Return whether the accuracy is above that with corrupted prompts, in words; empty where these weren't scored."""
    if judged.gain is None or not judged.gain.items:
        return ""
    if judged.gain.p_value >= SIGNIFICANT:
        return f"not shown to differ from the accuracy {corrupted}"
    return f"{'better' if judged.gain.difference > 0 else 'worse'} than {corrupted}"


def _encoding_lines(selected: SelectedTask, score: TaskScore) -> Iterator[str]:
    encoded = score.judged.encoded
    if encoded.unscorable:
        reasons = encoded.reasons()
        shown = "; ".join(f"{count:,} for {reason}" for reason, count in list(reasons.items())[:3])
        more = f"; {len(reasons) - 3} other reasons" if len(reasons) > 3 else ""
        yield f"{len(encoded.unscorable):,} of {len(selected.items):,} items are unscorable and not counted: {shown}{more}"
    if encoded.cut:
        yield f"prompts cut at their beginning, because the item is longer than the context: {encoded.cut:,}"
    if encoded.joined:
        yield f"answers that share a token with their prompt, which is scored with them: {encoded.joined:,}"


def _contamination(report: TaskReport) -> Iterator[Part]:
    """Yield how much of the tasks' text is in the models' training data; one line where nothing is, or nothing is known."""
    said: dict[str, str] = {}
    for selected in report.tasks:
        for model, score in zip(report.models, report.scores[selected.task.name], strict=True):
            found = score.contamination
            if found is None:
                said[model.name] = f"{model.name}: the tasks' text in its training data is {score.contamination_note}"
            elif not found.found:
                said.setdefault(
                    found.data_id, f"no sequence of words of the other items is in training data {found.data_id}"
                )
            else:
                key = f"{selected.task.name} {model.name}"
                said[key] = f"{selected.task.name}, {model.name}: {contamination_line(found)}"
    found_any = any(key.partition(" ")[2] for key in said)
    lines = sorted(said.values(), key=lambda line: line.startswith("no sequence"))
    yield from (line if found_any else line.replace("the other items", "any item") for line in lines)


def contamination_line(found: Contamination) -> str:
    """Return how much of a task's text is in training, in words."""
    line = (
        f"{found.found:,} of {found.compared:,} items have a sequence of words that is in training data {found.data_id}, "
        f"{found.mostly:,} consist mostly of such"
    )
    if found.clean is not None:
        line += f"; accuracy on the others {_accuracy(found.clean)}"
    if found.in_training is not None:
        line += f", on these {_accuracy(found.in_training)}"
    return line


def _accuracy(found: Proportion) -> str:
    if not found.trials:
        return "-"
    return f"{found.estimate:.3f} ±{(found.high - found.low) / 2:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _p_value(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "below 1e-4"
