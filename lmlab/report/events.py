"""The events of a run, and its black boxes, as lines of text."""

from __future__ import annotations

from typing import Any

from lmlab import printable
from lmlab.experiment.timeline import ENDED
from lmlab.runs import Run
from lmlab.training.outlook import MISSED, missed_words

TEXTS_SHOWN = 5
TEXT_CHARACTERS = 400
SPIKES = ("spike", "skipped_update", "rewind")


def event_lines(run: Run, events: list[dict[str, Any]]) -> list[str]:
    """Return a table of events, with a hint to the black boxes where there are some."""
    if run.imported is not None:
        return [f"{run.name}: imported from {run.imported['file']}, which has only losses"]
    if run.model_from is not None:
        return [
            f"{run.name}: imported from {run.model_from['path']} ({run.model_from['form']}), nothing has happened since"
        ]
    if not events:
        return [f"{run.name}: nothing has happened yet"]
    rows = [
        (printable(line["time"])[:19].replace("T", " "), f"{line['step']:,}", described_event(line)) for line in events
    ]
    width = max(len("step"), *(len(step) for _, step, _ in rows))
    lines = [f"{'time (UTC)':<19}  {'step':>{width}}  what"]
    lines += [f"{time:<19}  {step:>{width}}  {what}" for time, step, what in rows]
    boxes = [line["black_box"] for line in events if line.get("black_box")]
    if boxes:
        first = int(boxes[0].rpartition("step-")[2].removesuffix(".json"))
        lines.append(f"black boxes: {len(boxes)}; see one with: lmlab events {run.folder} --box {first}")
    return lines


def black_box_lines(box: dict[str, Any]) -> list[str]:
    """Return a black box as lines of text."""
    lines = [
        f"step {box['step']:,}: {box['what']}",
        f"batch {box['batch'][:16]}: sequences {box['cursor']:,} to {box['cursor'] + box['sequences'] - 1:,} of the stream",
        "",
        "before it:   step        loss  gradient norm",
        *(
            f"       {recent['step']:>10,}  {_number(recent['loss']):>10}  {_number(recent['gradient_norm']):>13}"
            for recent in box["recent"]
        ),
        "",
        f"by layer, with the weights {_weights(box)}, on the batch before and on this one:",
        f"  {'':<20}  {'gradient norm':>25}  {'activation rms':>25}",
    ]
    if "failed" in box:
        lines.append(f"  not observed: {box['failed']}")
    for row in box["layers"]:
        pairs = (
            f"{_number(row.get(f'{name}_before', '')):>11} {'>' if name in row else ' '} {_number(row.get(name, '')):>11}"
            for name in ("gradient_norm", "activation_rms")
        )
        lines.append(f"  {printable(row['layer']):<20}  {'  '.join(pairs)}")
    lines += [
        "",
        f"the texts of the batch, the worst first ({min(TEXTS_SHOWN, len(box['texts']))} of {box['sequences']}):",
    ]
    for text in box["texts"][:TEXTS_SHOWN]:
        first, last = text["documents"]
        documents = f"document {first:,}" if first == last else f"documents {first:,} to {last:,}"
        shown = text["text"][:TEXT_CHARACTERS]
        lines += [f"  loss {_number(text['loss'])}, {documents}, from token {text['first_token']:,}:"]
        lines += [f"    | {part.expandtabs()}" for part in shown.split("\n")]
    return list(map(printable, lines))


def _weights(box: dict[str, Any]) -> str:
    """Return which weights were observed; boxes of earlier versions are of those before the update."""
    step = box.get("weights_step", 0)
    return "from before the update" if step < box["step"] else f"of step {step:,}, after this step's update"


def described_event(line: dict[str, Any]) -> str:
    """Return what happened in an event, as text that may hold anything that the run's files hold."""
    kind = line["kind"]
    if line.get("segment_line"):
        exact = "" if line.get("exact", True) else ", not bit for bit"
        parent = line.get("parent")
        branched = f" as a branch of {parent['name']}@{parent['step']}" if parent else ""
        what = "started" if kind == "start" else "resumed"
        return f"{what}{branched}{exact} (process {line.get('pid')} on {line.get('host')})"
    if kind == "checkpoint":
        return "checkpoint" + (", the best so far" if line.get("best") else "")
    if kind == "stopped":
        took = line.get("seconds")
        return f"stopped by {line.get('reason')}" + ("" if took is None else f", saved after {took:.1f} s")
    if kind == "finished":
        return f"finished: {line.get('reason')}"
    if kind == "failed":
        return f"failed: {line.get('reason')}"
    if kind == ENDED:
        return "the process ended without saving after this step: it was killed, or the machine went down"
    if kind == "branch":
        return f"{line['run']} branches off here"
    if kind == "scale_lowered":
        return f"loss scale lowered to {_number(line.get('scale'))}"
    if kind == MISSED:
        return missed_words(line)
    if kind in SPIKES:
        return _spike(line)
    return str(kind)


def _spike(line: dict[str, Any]) -> str:
    values = []
    for name, key in (("loss", "loss"), ("gradient norm", "gradient_norm")):
        z = line.get(f"{key}_z")
        values.append(f"{name} {_number(line.get(key))}" + ("" if z is None else f" ({z:+.1f} sd)"))
    done = {"noted": "update made", "skipped": "update skipped"}.get(line.get("action", "skipped"), "update skipped")
    if line["kind"] == "rewind":
        first, last = line["skipped"]
        done = f"rewound to here from step {line['from_step']:,}, past {last - first:,} sequences"
    name = {"skipped_update": "not finite", "spike": "spike", "rewind": "rewind"}[line["kind"]]
    return f"{name}: {', '.join(values)}; {done}"


def _number(value: Any) -> str:
    """Format a number with four digits; JSON's null was not finite, and an empty value stays empty.

    >>> _number(1.23456), _number(None), _number(65536.0), _number("")
    ('1.235', 'not finite', '6.554e+04', '')
    """
    return "not finite" if value is None else value if value == "" else f"{value:.4g}"
