"""Tuning on conversations: what is read, scored and kept, against plain PyTorch and slow loops; resumes; both engines."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.cli import main
from lmlab.data.dataset import find_dataset
from lmlab.data.fresh import training_batch, training_split
from lmlab.data.windows import IGNORED_TARGET
from lmlab.experiment.instruct import RATE_SHARE, tuning_of
from lmlab.experiment.loaded import load
from lmlab.experiment.planned import plan
from lmlab.experiment.proving import prove
from lmlab.experiment.resuming import resume
from lmlab.experiment.scoring import evaluate
from lmlab.experiment.start import train
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.recipe import override
from lmlab.recipe.template import TEMPLATES
from lmlab.runs import Run
from lmlab.training.display import Quiet
from lmlab.training.policy import choose_policy
from lmlab.training.setup import set_up
from lmlab.training.state import State
from tests.experiment.test_exactness import assert_equal_runs
from tests.experiment.test_planned import tried as tried  # the fixture
from tests.stopping import KillAt, Killed, StopAt

CONVERSATIONS = 40
BASE = {
    "data.tokenizer": "bytes",
    "data.separator": "\\n",
    "data.split": "hash",
    "model.context": "80",
    "train.steps": "4",
}
SETTINGS = {
    "data.template": "plain",
    "train.epochs": "2",
    "train.batch": "4",
    "train.threads": "1",
    "train.device": "cpu",
    "train.log_every": "3",
    "train.keep": "9",
    "train.keep_finished": "all",
    "evaluate.sample_tokens": "4",
}


@pytest.fixture
def base(small_recipe, tmp_path, untouched):
    """A run to tune, of 4 steps."""
    shutil.copytree(untouched(override(small_recipe, BASE)).run.folder, tmp_path / "base")
    return Run(tmp_path / "base")


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "tasks.json"
    said = [
        {"instruction": f"Say {n} twice.", "input": "x" * (n % 9), "output": f"{n} {n}" * (1 + n % 12)}
        for n in range(CONVERSATIONS)
    ]
    path.write_text(json.dumps([*said, {"instruction": "Nothing", "output": ""}]))
    return path


@pytest.fixture
def tuned(base, corpus, tmp_path):
    """tuned(run, **options): the outcome of a tuning of `base` with these settings."""

    def tune(run, settings=(), **options):
        tuning = tuning_of("base", str(corpus), {**SETTINGS, **dict(settings)}, runs=tmp_path)
        options = {"display": Quiet(), "say": lambda line: None, **options}
        return train(tuning.recipe, run=run, runs=tmp_path, parent=tuning.parent, **options)

    return tune


def test_a_tuned_run_is_an_ordinary_run_with_a_parent_a_template_and_the_best_epoch(tuned, base, tmp_path):
    done = tuned("tuned", {"data.valid_share": "0.2"})
    run, recipe = done.run, done.run.recipe()
    assert run.template() is TEMPLATES["plain"]
    assert run.origin()["parent"]["id"] == base.id and run.origin()["parent"]["step"] == 4
    assert recipe.model == base.recipe().model
    assert recipe.optim.lr == pytest.approx(RATE_SHARE * base.recipe().optim.lr)
    dataset = find_dataset(run.origin()["data_id"])
    conversations = len(dataset.document_starts("train")) - 1
    assert dataset.facts["conversations"]["unanswered"] == 1
    epoch = -(-conversations // 4)
    scored = [line for line in run.read_lines("metrics") if line["kind"] == "evaluation"]
    assert [line["step"] for line in scored] == [0, epoch, 2 * epoch]
    counts = {line["valid_tokens"] for line in scored}
    assert counts == {done.summary["final"]["tokens"]}, "each is over the whole validation split"
    best = min(scored, key=lambda line: line["valid_loss"])
    kept, _ = find(run.checkpoints, "best")
    assert kept.step == best["step"] == done.summary["best"]["step"]
    assert done.summary["data_used"]["cursor"] == [0, 2 * epoch * 4]
    assert "Say" in recipe.evaluate.prompts[0] and recipe.evaluate.prompts[0].endswith("Assistant: ")
    assert run.read_lines("samples")[0]["prompt"] == recipe.evaluate.prompts[0]


@pytest.mark.parametrize("targets", ["all", "response"])
def test_scores_are_those_of_each_conversation_alone_in_plain_pytorch(tuned, tmp_path, targets, engine):
    done = tuned("tuned", {"data.targets": targets, "train.engine": engine, "train.epochs": "1"})
    loaded = load("tuned", tmp_path)
    dataset = find_dataset(done.run.origin()["data_id"])
    starts, tokens, marks = dataset.document_starts("valid"), dataset.tokens("valid"), dataset.responses("valid")
    loaded.model.engine = "torch"
    nats, count = 0.0, 0
    for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        end = min(end, first + loaded.recipe.model.context + 1)
        ids = torch.from_numpy(tokens[first:end].astype(np.int64))
        with torch.no_grad():
            each = functional.cross_entropy(loaded.model(ids[None, :-1])[0], ids[1:], reduction="none")
        kept = (
            torch.from_numpy(marks[first + 1 : end].copy())
            if targets == "response"
            else torch.ones(len(each), dtype=bool)
        )
        nats, count = nats + float(each[kept].sum()), count + int(kept.sum())
    assert done.summary["best"]["tokens"] == count
    assert done.summary["best"]["loss"] == pytest.approx(nats / count, rel=1e-4)
    assert evaluate("tuned", runs=tmp_path)["loss"] == pytest.approx(nats / count, rel=1e-4)
    units = done.run.units()
    assert units["tokens"].sum() == count and len(units) == len(starts) - 1


@pytest.mark.parametrize("windows", ["bucketed", "packed"])
def test_a_steps_loss_and_gradient_are_those_of_cross_entropy_over_the_targets_that_count(
    base, corpus, tmp_path, windows, engine
):
    settings = {**SETTINGS, "data.targets": "response", "data.windows": windows, "train.engine": engine}
    recipe = tuning_of("base", str(corpus), settings, runs=tmp_path).recipe
    from lmlab.data.preparation import prepare

    dataset = prepare(recipe.data)
    split = training_split(recipe, dataset)
    training = set_up(recipe, choose_policy(recipe), split, dataset.vocabulary_size, 9)
    inputs, targets = training_batch(split, "shuffle", recipe.train.seed, recipe.model.context, 0, 4)
    assert 0 < (targets != IGNORED_TARGET).sum() < 0.6 * targets.size
    model = build_model(recipe.model, dataset.vocabulary_size)
    initialise(model, recipe.train.seed, recipe.optim.transfer_from)
    model.engine = "torch"
    logits = model(torch.from_numpy(inputs))
    loss = functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
    loss.backward()
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(one.grad) for one in model.parameters()]))
    found = training.step.gradients(State())
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)
    assert found.norm == pytest.approx(norm.item(), rel=1e-4)


VARIANTS = {
    "bucketed": {"data.targets": "response", "model.dropout": "0.1"},
    "packed, warm": {"data.windows": "packed", "train.inherit": "all", "train.micro_batch": "2"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stopped_and_resumed_tuning_equals_an_untouched_one(tuned, tmp_path, variant, engine):
    settings = VARIANTS[variant] | {"train.engine": engine}
    whole = tuned("whole", settings)
    stopped = tuned("stopped", settings, display=StopAt(7))
    assert stopped.ending.kind == "stopped"
    assert resume("stopped", runs=tmp_path).ending.kind == "finished"
    assert_equal_runs(whole.run, stopped.run)
    assert prove("stopped", runs=tmp_path).equal


def test_a_killed_tuning_repeats_the_lost_steps_exactly(tuned, tmp_path):
    whole = tuned("whole", {"model.dropout": "0.1"})
    with pytest.raises(Killed):
        tuned("killed", {"model.dropout": "0.1"}, display=KillAt(13))
    resume("killed", runs=tmp_path)
    assert_equal_runs(whole.run, Run(tmp_path / "killed"))


def test_a_resume_prepares_a_lost_data_set_again_with_the_parents_tokenizer(small_recipe, corpus, tmp_path):
    changes = {**BASE, "data.tokenizer": "bpe", "data.vocabulary": "300"}
    train(override(small_recipe, changes), run="base", runs=tmp_path, display=Quiet(), say=lambda line: None)
    tuning = tuning_of("base", str(corpus), SETTINGS, runs=tmp_path)
    stopped = train(tuning.recipe, run="stopped", runs=tmp_path, parent=tuning.parent, display=StopAt(3))
    dataset = find_dataset(stopped.run.origin()["data_id"])
    assert dataset.tokenizer.to_json() == json.loads((tmp_path / "base" / "tokenizer.json").read_text())
    shutil.rmtree(dataset.folder)
    assert resume("stopped", runs=tmp_path).ending.kind == "finished"


def test_the_optimizer_begins_anew_or_with_its_parents_moments(tuned, base):
    theirs, _ = find(base.checkpoints, "latest")
    for inherit in ("weights", "all"):
        run = tuned(inherit, {"train.inherit": inherit, "train.epochs": "none", "train.steps": "1"}).run
        began, _ = find(run.checkpoints, "0")
        ours, parents = began.tensors("optimizer"), theirs.tensors("optimizer")
        same = all(torch.equal(ours[name], parents[name]) for name in parents if name in ours)
        assert same == (inherit == "all")


def test_packed_conversations_get_a_boundary(tuned):
    recipe = tuned("packed", {"data.windows": "packed", "train.epochs": "1"}).run.recipe()
    assert recipe.model.boundary == 256


def test_a_plan_of_a_tuning_needs_no_run(base, corpus, tmp_path, tried):
    tuning = tuning_of("base", str(corpus), SETTINGS, runs=tmp_path)
    found = plan(tuning.recipe, runs=tmp_path, parent=tuning.parent, say=lambda line: None)
    assert found.steps == 2 * -(-tuning.contents.splits["train"].conversations // 4)
    assert any("no law of loss covers" in line for line in map(str, found.lines()))
    assert sorted(path.name for path in tmp_path.iterdir() if (path / "origin.json").exists()) == ["base"]


def test_the_verb_says_what_is_read_and_which_epoch_was_kept(base, corpus, tmp_path, capsys):
    words = ["instruct", "base", "--data", str(corpus), "--runs", str(tmp_path), "--run", "told"]
    for name, value in SETTINGS.items():
        words += [f"--{name}", value]
    assert main(words) == 0
    said = capsys.readouterr().out
    for part in (
        "template plain; the loss is over everything but the padding",
        "left out: 1 records without an answer",
        "longer than the context of 80 tokens and cropped: ",
        "! power first: a model of ",
        "epoch  step  train loss  valid loss",
        "kept: epoch ",
        "lmlab chat ",
    ):
        assert part in said, part
    assert main([*words[:-2], "--train.epochs", "3", "--or-resume"]) == 1, "another recipe isn't continued"


@pytest.mark.parametrize(
    ("data", "settings", "words"),
    [
        ("", {}, "needs --data FILE"),
        ("tasks.json", {"data.template": "none"}, "would cut|is plain text"),
        ("tasks.json", {"data.windows": "stream"}, "would cut conversations in two"),
        ("tasks.json", {"model.layers": "3"}, "needs the same model"),
        ("missing.json", {}, "there is no corpus"),
    ],
)
def test_what_cant_be_tuned_on_is_one_line(tuned, corpus, tmp_path, data, settings, words):
    with pytest.raises(LabError, match=words) as caught:
        path = str(tmp_path / data) if data else ""
        tuning = tuning_of("base", path, {**SETTINGS, **settings}, runs=tmp_path)
        train(tuning.recipe, run="never", runs=tmp_path, parent=tuning.parent, say=lambda line: None)
    assert "\n" not in str(caught.value)


def test_a_model_that_never_saw_an_end_of_text_is_refused(small_recipe, corpus, tmp_path):
    train(override(small_recipe, {"train.steps": "2"}), run="base", runs=tmp_path, say=lambda line: None)
    with pytest.raises(LabError, match="has no end-of-text token"):
        tuning_of("base", str(corpus), SETTINGS, runs=tmp_path)
