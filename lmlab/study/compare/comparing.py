"""Comparing runs: reads them, scores them on one text where asked to, and judges each pair."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.experiment.at_checkpoint import record_at
from lmlab.experiment.reading import read_outcome, read_record, read_records
from lmlab.experiment.record import Record
from lmlab.experiment.verdict import gap_from, verdict_on
from lmlab.runs import open_runs
from lmlab.study.compare.comparison import Asked, Band, Comparison, Trend
from lmlab.study.compare.curves import Curve, curve_of, equal_budgets, targets, unfair_places
from lmlab.study.compare.differences import what_differs
from lmlab.study.compare.pairs import judge, sides_of
from lmlab.study.compare.ratios import ratio_table
from lmlab.study.compare.task_pairs import stored_task_pairs
from lmlab.study.grid.seeds import one_a_seed, repeats_among
from lmlab.study.scores import Scale, common_scale, curve_losses, scores_of

FEWEST, MOST = 2, 8
SAMPLE_TOKENS = 100


def compare(
    references: Sequence[str],
    runs: Path,
    asked: Asked,
    *,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Compare the named runs; LabError where one isn't there, or the options are inconsistent. `say` is called with a line for each
    run in the folders around that can't be read, and so doesn't count as a seed."""
    named, which = _named(references, runs, asked, progress)
    there = runs_around(named.values(), say)
    if asked.among is not None:
        there = [record for record in there if record.id in asked.among]
    names, records = tuple(named), tuple(named.values())
    own = [scores_of(record) for record in records]
    scores = [found for found in own if found is not None]
    scale = common_scale(scores) if len(scores) == len(records) else None
    curves, bands, scored = _curves(named, scale, there)
    equal = equal_budgets(curves) if curves else ()
    if asked.on:
        from lmlab.study.compare.on_text import OnText, sides_on

        text = OnText(given=asked.on, split=asked.split, reading=asked.reading)
        sides, of_text = sides_on(named, which, text, asked.device, progress)
    else:
        of_text = []
        sides = sides_of(named, there, asked.alone)
    task_pairs, damaged = stored_task_pairs(named)
    pairs = tuple(judge(one, other, there, relative=bool(asked.on)) for one, other in combinations(sides, 2))
    return Comparison(
        names=names,
        records=records,
        scale=scale,
        differences=what_differs(records),
        ratios=ratio_table(records, same_tokens=scale == "nats a token", same_text=scale is not None),
        curves=curves,
        bands=bands,
        scored=scored,
        equal=equal,
        targets=targets(curves, asked.reach) if curves else (),
        trends=tuple(_trend(record) for record in records),
        warnings=(
            *_warnings(names, records, curves),
            *_repeats(records, there),
            *(unfair_places(records, curves, equal) if curves else ()),
            *of_text,
            *damaged,
        ),
        pairs=pairs,
        task_pairs=tuple(task_pairs),
        samples=()
        if scale is not None
        else tuple("" if record.imported is not None else _sample(record, asked.device) for record in records),
        asked=asked,
        among=tuple(sorted(record.id for record in there if record.final is not None)),
    )


def runs_around(records: Iterable[Record], say: Callable[[str], None] = lambda line: None) -> list[Record]:
    """Read all runs in the folders of the named ones, as outcomes: finished ones without their curves."""
    found: dict[str, Record] = {}
    for folder in dict.fromkeys(record.run.folder.resolve().parent for record in records):
        read, problems = read_records(folder, read_outcome)
        for record in read:
            try:
                record.family  # noqa: B018
                found[record.id] = record
            except LabError as error:
                problems.append(f"{record.name}: {error}")
        for problem in problems:
            say(f"left out as a seed: {problem}")
    return list(found.values())


def name_of(record: Record) -> str:
    """Return the run's name, with the checkpoint at which it is read."""
    return _at(record.name, record)


def _at(name: str, record: Record) -> str:
    return name if record.checkpoint is None else f"{name}@{record.checkpoint}"


def _named(
    references: Sequence[str], runs: Path, asked: Asked, progress: Progress | None
) -> tuple[dict[str, Record], dict[str, str]]:
    """Return the runs by unique names, and the requested checkpoint of each."""
    opened = open_runs(references, runs)
    if not FEWEST <= len(opened) <= MOST:
        raise LabError(f"expected {FEWEST} to {MOST} runs to compare, got {len(opened)}")
    for run, _ in opened:
        if not asked.on:
            run.require_trained()
    # With --on, the models of the checkpoints are scored on that text, and the tables are of the whole runs.
    records = [
        read_record(run) if part is None or asked.on else record_at(run, part, asked.device, progress)
        for run, part in opened
    ]
    if len({(record.id, record.checkpoint) for record in records}) < len(records):
        raise LabError("a run is named twice: expected different ones")
    short = [name_of(record) for record in records]
    names = [
        name if short.count(name) == 1 else f"{record.run.folder.resolve().parent.name}/{name}"
        for name, record in zip(short, records, strict=True)
    ]
    if len(set(names)) < len(names):
        names = [_at(str(record.run.folder), record) for record in records]
    which = {name: part or "latest" for name, (_, part) in zip(names, opened, strict=True)}
    return dict(zip(names, records, strict=True)), which


def _curves(
    named: Mapping[str, Record], scale: Scale | None, there: Sequence[Record]
) -> tuple[tuple[Curve, ...], tuple[Band | None, ...], str]:
    """Return the runs' curves, the bands of their seeds, and what the losses are computed over; empty without a common scale."""
    records = list(named.values())
    if scale is None or not all(record.evaluations for record in records):
        return (), (), ""
    seeds = {record.family: _seeds_of(record, there) for record in records}
    every = [*records, *(one for found in seeds.values() for one in found)]
    losses, scored = curve_losses(every, [found for found in map(scores_of, every) if found is not None], scale)
    of_run = {(record.id, record.checkpoint): values for record, values in zip(every, losses, strict=True)}
    of_named = [of_run[record.id, record.checkpoint] for record in records]
    curves = tuple(curve_of(record, name, found) for (name, record), found in zip(named.items(), of_named, strict=True))
    bands = []
    for record, own in zip(records, of_named, strict=True):
        found = seeds.pop(record.family, [])
        values = [of_run[one.id, one.checkpoint] for one in found]
        many = len(found) > 1 and len(values[0]) == len(own)
        band = Band(seeds=len(found), low=tuple(map(min, *values)), high=tuple(map(max, *values))) if many else None
        bands.append(band)
    return curves, tuple(bands), scored


def _seeds_of(record: Record, there: Sequence[Record]) -> list[Record]:
    """Return the finished runs that differ from this one only in the seed, itself among them, evaluated at the same steps."""
    steps = [entry.step for entry in record.evaluations]
    finished = [read_record(one.run) for one in there if one.family == record.family and one.final is not None]
    return one_a_seed([one for one in finished if [entry.step for entry in one.evaluations] == steps])


def _repeats(records: Sequence[Record], there: Sequence[Record]) -> list[str]:
    """Return a line for each repeat of a named run, and for each named run that repeats another seed of its recipe."""
    families, named = {record.family for record in records}, {record.id for record in records}
    beside = [one for one in there if one.family in families and one.final is not None and one.id not in named]
    return [repeat.line() for repeat in repeats_among([*records, *beside])]


def _trend(record: Record) -> Trend:
    found = {} if record.checkpoint is not None else (record.summary or {}).get("verdict", {})
    if "best_step" not in found:  # a checkpoint, or a run that is unfinished, imported or of an earlier version
        found = verdict_on(record.run, final_gap=gap_from(record.final or {}), until=record.checkpoint)
    return Trend(kind=found["kind"], still_falling=found["still_falling"], reason=found["reason"])


def _warnings(names: Sequence[str], records: Sequence[Record], curves: Sequence[Curve]) -> list[str]:
    lines = []
    for name, record in zip(names, records, strict=True):
        if record.checkpoint is not None:
            lines.append(f"{name} is one checkpoint: other seeds of its recipe are not counted with it")
        if record.run.model_from is not None:
            lines.append(
                f"{name} is another project's model ({record.run.model_from['form']}), with no training or losses here"
            )
        elif record.loss is None:
            lines.append(f"{name} has no loss yet")
        elif record.imported is not None:
            clock = record.imported.get("clock")
            lines.append(
                f"{name} is someone else's log ({record.imported.get('form')}), without a model: its figures are those of the log"
                + (f"; times: {clock}" if clock else "")
            )
        elif record.summary is None:
            lines.append(
                f"{name} is not finished ({record.status}, step {record.step:,}): its figures are those of its last evaluation"
            )
        parent = record.origin.get("parent")
        if isinstance(parent, Mapping):
            counted = (
                "at equal steps, tokens and FLOPs its lineage's count too, at equal seconds and joules only its own"
                if record.began is not None and record.began[1]
                else "in a stream of its own, so what its lineage spent is in no equal budget"
            )
            lines.append(f"{name} continues {parent.get('name')}@{parent.get('step')}: {counted}")
    if curves and any("joules" not in curve.spent for curve in curves):
        without = [curve.name for curve in curves if "joules" not in curve.spent]
        lines.append(
            f"not compared at equal joules: {', '.join(without)} recorded none (no energy counter on that machine)"
        )
    devices = {record.device for record in records if record.status != "imported"}
    if len(devices) > 1:
        lines.append(f"seconds are those of different devices: {'; '.join(sorted(devices))}")
    return lines


def _sample(record: Record, device: str) -> str:
    """Return the last sample of the run, else a new one of its best model, or the reason why there is none."""
    with contextlib.suppress(LabError, OSError, KeyError):
        lines = record.run.read_lines("samples")
        if lines:
            last = [line for line in lines if line["step"] == lines[-1]["step"]][0]
            return f"{last['prompt']}{last['text']}"
    from lmlab.experiment.loaded import load

    try:
        return load(record.run, device=device).generate("", tokens=SAMPLE_TOKENS, temperature=0.7)
    except LabError as error:
        return f"(no sample: {error})"
