"""Finished runs made of numbers: folders as a training leaves them, without a training."""

import zlib

import numpy as np

from lmlab.recipe import load_recipe, override
from lmlab.runs import Journal, Run, create_run

UNITS, UNIT_TOKENS = 60, 1000
BATCH_TOKENS = 12 * 64  # of a step of shakespeare-cpu


def finished_run(
    root,
    name,
    loss,
    *,
    seed=1,
    settings=None,
    steps=1000,
    every=250,
    text="a",
    data_id="0123456789abcdef",
    tokenizer="characters",
    token_bytes=1,
    parent=None,
    joules=None,
    finished=True,
    sampled=0,
    apart=0.02,
):
    """A run whose validation loss falls as a power of the step to `loss` (nats a token) at its end.

    text: names of the units are made from it; equal for the same validation text. sampled: so many units only are scored during the
    training. apart: standard deviation of a unit's own loss around the run's, in nats a token.
    """
    settings = {"train.seed": str(seed), "train.steps": str(steps), "evaluate.every": str(every), **(settings or {})}
    if settings.get("schedule.kind") != "constant":
        settings["schedule.steps"] = "none"
    recipe = override(load_recipe("shakespeare-cpu"), settings)
    origin = {
        "data_id": data_id,
        "vocabulary_size": 65,
        "data": [{"id": data_id, "train_tokens": 1_000_000}],
        "hardware": {"cpu": "a processor", "physical_cores": 2, "accelerators": []},
        "parent": parent,
        **dict.fromkeys(("lmlab", "python", "torch", "numpy"), "1.0"),
        "compiler": None,
    }
    run = create_run(root, name, recipe, origin)
    run.write(
        "policy.json", {"format": 1, "device": "cpu", "threads": 1, "engine": "torch", "reasons": {"engine": name}}
    )
    run.write("tokenizer.json", {"format": 1, "name": tokenizer})
    split = np.zeros(UNITS, dtype=[("key", "V32"), ("bytes", "<i8"), ("start", "<i8")])
    keys = [f"{text}{number}".encode().ljust(32, b".") for number in range(UNITS)]
    split["key"] = np.array(keys, dtype="V32")
    split["bytes"], split["start"] = UNIT_TOKENS * token_bytes, np.arange(UNITS) * UNIT_TOKENS
    run.start_units(split, UNITS * UNIT_TOKENS)
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    hard = np.random.default_rng(0).normal(0.0, 0.3, UNITS)  # the same for all runs
    own = generator.normal(0.0, apart, UNITS)
    own, hard = own - own.mean(), hard - hard.mean()
    journal = Journal(run.folder, run.id, 0)
    places = [*range(0, steps, every), steps]
    for number, step in enumerate(places):
        value = loss * (steps / max(step, 20)) ** 0.1
        tokens = step * BATCH_TOKENS
        if step:
            journal.append("metrics", "train", step=step, tokens=tokens, loss=value, tokens_per_second=50_000.0)
        bits = (value + hard + own) * UNIT_TOKENS / np.log(2.0)
        bits[sampled if sampled else len(bits) :] = np.nan
        run.append_units(number, bits)
        scores = {"valid_loss": value, "train_loss": value - 0.01, "whole": not sampled}
        scores["valid_bits_per_byte"] = value / np.log(2.0) / token_bytes
        if joules is not None:
            scores["joules"] = joules * step / steps
        journal.append("metrics", "evaluation", step=step, tokens=tokens, **scores)
    journal.flush()
    if finished:
        run.append_units(len(places), (loss + hard + own) * UNIT_TOKENS / np.log(2.0))
        figures = {"step": steps, "loss": loss, "bits_per_byte": float(loss / np.log(2.0) / token_bytes)}
        seconds = {"train": steps * BATCH_TOKENS / 50_000, "total": steps * BATCH_TOKENS / 40_000}
        summary = {"format": 1, "finished": True, "steps": steps, "tokens": steps * BATCH_TOKENS, "seconds": seconds}
        summary |= {"final": figures, "best": figures}
        run.write("summary.json", summary)
    return Run(run.folder)
