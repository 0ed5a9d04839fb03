"""Runs made from lines, with every file that a report reads."""

import dataclasses
import json

import pytest

from lmlab.recipe import load_recipe
from lmlab.report.page.gathering import page_of
from lmlab.runs import Journal, create_run, open_runs

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J\u202e\"'`|"


def final_of(step, loss):
    scores = {"perplexity": 7.4, "accuracy": 0.25, "majority_accuracy": 0.1, "bits_per_byte": 2.9, "tokens": 999}
    interval = {"loss_interval": [loss - 0.1, loss + 0.1], "split": "valid", "whole": True}
    return {"step": step, "loss": loss, **scores, **interval}


def make_run(
    root, name="one", *, steps=40, every=1, seed=1, finished=True, shift=0.0, text="ends.", about="a run", origin=None
):
    """A run of `steps` steps with a line of training each `every`, evaluated each tenth of it."""
    recipe = load_recipe("first")
    train = dataclasses.replace(recipe.train, seed=seed, steps=steps)
    recipe = dataclasses.replace(recipe, name="first-of-test", about=about, train=train, claims=())
    facts = {
        "data_id": "0123456789abcdef", "vocabulary_size": 65, "data": [{"train_tokens": 12345}], "lmlab": "0.1.0",
        "code": {"commit": "c0ffee" * 6, "version": "0.1.0"}, "command": ["bin/lmlab", "train", "first"],
        "hardware": {"cpu": "A Processor", "physical_cores": 2, "memory": 16 << 30, "accelerators": []}, **(origin or {}),
    }  # fmt: skip
    run = create_run(root, name, recipe, facts)
    journal = Journal(run.folder, run.id, 0)
    last = 0.0
    for step in range(0, steps + 1, every):
        at = {"step": step, "tokens": 64 * step}
        last = 2.0 + shift + 4.0 / (1 + step)
        journal.append(
            "metrics", "train", **at, loss=last, learning_rate=0.001, gradient_norm=1.0 + step % 7,
            tokens_per_second=1000.0 + step,
        )  # fmt: skip
        if step % (every * max(1, steps // every // 10)) == 0:
            scores = {"valid_loss": last + 0.125, "train_loss": last, "gap": 0.125, "gap_interval": [0.1, 0.2]}
            more = {"valid_accuracy": 0.5, "valid_bits_per_byte": 1.5, "whole": False, "seconds": 1.0}
            journal.append("metrics", "evaluation", **at, **scores, **more)
            journal.append("samples", "sample", **at, prompt="It begins", text=f" and at {step} it {text}")
    spike = {"loss": 3.0, "gradient_norm": 9.0, "loss_z": 1.0, "gradient_norm_z": 12.0, "action": "noted"}
    journal.append("events", "spike", step=steps // 2, tokens=32 * steps, **spike)
    journal.flush()
    forecast = {"value": 100.0, "low": 80.0, "high": 125.0, "evidence": "measured", "rests_on": "5 timed steps"}
    run.write("forecast.json", {"format": 1, "figures": {"total_seconds": forecast}, "tokens": 1, "epochs": 1})
    run.write("policy.json", {"format": 1, "device": "cpu", "threads": 2, "engine": "native", "precision": "fp32"})
    if finished:
        loss = last + 0.0625
        score = {"total_seconds": {"forecast": 100.0, "measured": 90.5, "low": 80.0, "high": 125.0, "inside": True}}
        verdict = {"kind": "none", "reason": "no overfitting seen", "best_step": steps, "still_falling": False}
        run.write(
            "summary.json",
            {
                "format": 1, "finished": True, "ending": "finished", "reason": "done", "steps": steps, "tokens": 64 * steps,
                "final": final_of(steps, loss), "best": final_of(steps, loss), "verdict": verdict, "score": score,
                "seconds": {"train": 60.25, "evaluate": 5.0, "save": 1.0, "total": 66.25, "wall": 90.5, "since": "process"},
                "claims": [], "expectations": [],
            },
        )  # fmt: skip
    return run


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


def page(root, *names):
    return page_of(open_runs(names, root), f"lmlab report {' '.join(names)} --to html")


def lines_of(run, file):
    return [json.loads(line) for line in (run.folder / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()]
