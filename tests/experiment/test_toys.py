"""A new model family, optimizer, schedule, tokenizer or engine is one object: toy ones are registered, and runs use them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lmlab
from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.data.tokenizers import add_tokenizer
from lmlab.data.tokenizers import kinds as tokenizers
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.model.build import build_model
from lmlab.model.cost import flops_per_token, parameters
from lmlab.model.families import FAMILIES, add_family, family_of
from lmlab.optim import kinds as optimizers
from lmlab.optim import schedule as schedules
from lmlab.optim.kinds import add_optimizer
from lmlab.optim.schedule import add_schedule, rate_share
from lmlab.planning.inverse.shapes import shapes_like
from lmlab.planning.trials.child import measure
from lmlab.recipe import GPT, Context, check, from_toml, override, to_toml
from lmlab.recipe.data import TOKENIZERS
from lmlab.recipe.extensions import known_only_here
from lmlab.recipe.kinds import KINDS
from lmlab.recipe.train import ENGINES
from lmlab.training import engines
from lmlab.training.engines import add_engine
from lmlab.training.policy import read_policy
from tests.stopping import StopAt
from tests.toys.engine import Counting
from tests.toys.family import Toy, ToyFamily
from tests.toys.optimizer import Sign, SignKind
from tests.toys.schedule import Halves, halves
from tests.toys.tokenizer import CODE_POINTS


@pytest.fixture
def family(monkeypatch):
    """The toy family, registered for one test."""
    monkeypatch.setitem(KINDS, "model", dict(KINDS["model"]))
    monkeypatch.setitem(FAMILIES, Toy, None)  # is taken out again
    add_family(ToyFamily())


@pytest.fixture
def optimizer(monkeypatch):
    monkeypatch.setitem(KINDS, "optim", dict(KINDS["optim"]))
    monkeypatch.setitem(optimizers.KINDS, Sign, None)
    add_optimizer(SignKind())


@pytest.fixture
def schedule(monkeypatch):
    monkeypatch.setitem(KINDS, "schedule", dict(KINDS["schedule"]))
    monkeypatch.setitem(schedules.CURVES, Halves, None)
    add_schedule(Halves, halves)


@pytest.fixture
def tokenizer():
    add_tokenizer(CODE_POINTS)
    yield
    TOKENIZERS.remove("code-points")
    del tokenizers.KINDS["code-points"]


@pytest.fixture
def engine():
    """PyTorch's computation under another name, which counts its steps."""
    add_engine("toy", Counting)
    yield
    ENGINES.remove("toy")
    del engines.COMPUTATIONS["toy"]


@pytest.fixture
def toy_recipe(family, small_recipe):
    return override(small_recipe, {"model.kind": "toy", "optim.lr": "0.01"})


def assert_exact(recipe, tmp_path):
    """A run that is stopped and resumed has the bits of an uninterrupted one; returns the latter."""
    whole = train(recipe, run="whole", runs=tmp_path)
    assert train(recipe, run="part", runs=tmp_path, display=StopAt(5)).ending.kind == "stopped"
    part = resume("part", runs=tmp_path)
    left, right = (find(one.run.checkpoints, "latest")[0] for one in (whole, part))
    for kind in ("weights", "optimizer"):
        tensors, others = left.tensors(kind), right.tensors(kind)
        assert tensors.keys() == others.keys()
        assert all(torch.equal(tensors[name], others[name]) for name in tensors)
    return whole


def test_a_toy_family_trains_resumes_exactly_and_writes_text(toy_recipe, tmp_path):
    whole = assert_exact(toy_recipe, tmp_path)
    curve = [line["valid_loss"] for line in whole.run.read_lines("metrics") if line["kind"] == "evaluation"]
    assert curve[-1] < curve[0]
    assert len(lmlab.load("whole", runs=tmp_path).generate("a", tokens=40)) > 20


def test_the_recipe_of_a_toy_family_has_the_usual_forms(toy_recipe):
    assert from_toml(to_toml(toy_recipe)) == toy_recipe
    with pytest.raises(LabError, match=r"model.heads belongs to model.kind = gpt"):
        override(toy_recipe, {"model.heads": "2"})
    with pytest.raises(LabError, match=r"optim.transfer_from has no rule for model.kind toy"):
        check(override(toy_recipe, {"optim.transfer_from": "64"}))


def test_the_costs_of_a_toy_family_are_those_of_its_model(family):
    settings = Toy(layers=3, width=24)
    model = build_model(settings, 11)
    assert sum(weights.numel() for weights in model.parameters()) == parameters(settings, 11)["total"]
    assert flops_per_token(settings, 11).training == 3 * 2 * parameters(settings, 11)["matrix"]


def test_what_a_toy_family_has_no_rule_for_is_refused_in_one_line(toy_recipe):
    with pytest.raises(LabError, match="smaller and larger shapes exist"):
        shapes_like(toy_recipe)
    assert family_of(Toy()).unsupported(Toy()) == "it computes no model of kind toy"


@pytest.mark.parametrize("settings", [GPT(), Context()])
def test_every_size_setting_of_a_family_is_a_field(settings):
    assert all(hasattr(settings, name) for name in family_of(settings).size_settings)


def test_a_kind_is_registered_once(family):
    with pytest.raises(ValueError, match="needs a field kind"):
        add_family(type("Other", (ToyFamily,), {"settings": int})())


def test_a_toy_optimizer_trains_and_resumes_exactly(optimizer, small_recipe, tmp_path):
    recipe = override(small_recipe, {"optim.kind": "sign"})
    assert from_toml(to_toml(recipe)) == recipe
    whole = assert_exact(recipe, tmp_path)
    assert whole.run.read("policy.json")["engine"] == "torch"
    assert "optim.kind sign" in whole.run.read("policy.json")["reasons"]["engine"]


def test_a_toy_optimizer_moves_every_weight_by_the_learning_rate(optimizer, small_recipe, tmp_path):
    changes = {"optim.kind": "sign", "optim.lr": "0.125", "train.steps": "1", "schedule.kind": "constant"}
    one = train(override(small_recipe, {**changes, "schedule.warmup": "0"}), run="one", runs=tmp_path)
    before, after = (find(one.run.checkpoints, which)[0].tensors("weights") for which in ("0", "1"))
    moved = (after["embedding.weight"] - before["embedding.weight"]).abs()
    assert moved.max() == pytest.approx(0.125, rel=1e-4)


def test_a_toy_schedule_sets_the_rates_of_a_run(schedule, small_recipe, tmp_path):
    recipe = override(small_recipe, {"schedule.kind": "halves", "train.log_every": "1"})
    assert [rate_share(recipe.schedule, 12, step) for step in (0, 2, 5, 6, 11)] == [1 / 3, 1, 1, 0.1, 0.1]
    whole = assert_exact(recipe, tmp_path)
    rates = [line["learning_rate"] for line in whole.run.read_lines("metrics") if line["kind"] == "train"]
    assert rates[-1] == pytest.approx(0.1 * recipe.optim.lr) and rates[3] == pytest.approx(recipe.optim.lr)


def test_a_toy_tokenizer_makes_a_data_set_that_a_run_trains_on(tokenizer, small_recipe, tmp_path):
    recipe = override(small_recipe, {"data.tokenizer": "code-points"})
    run = train(recipe, run="whole", runs=tmp_path)
    assert run.run.read("tokenizer.json")["name"] == "code-points"
    assert "a" in lmlab.load("whole", runs=tmp_path).generate("a", tokens=5)


def test_a_tokenizer_that_nobody_registered_is_refused_with_the_known_ones(small_recipe):
    with pytest.raises(
        LabError, match="data.tokenizer can't be 'code-points': expected one of characters, bytes, words"
    ):
        override(small_recipe, {"data.tokenizer": "code-points"})


def test_a_toy_engine_computes_the_steps_where_it_is_named(engine, small_recipe, tmp_path):
    Counting.steps = 0
    run = train(override(small_recipe, {"train.engine": "toy"}), run="whole", runs=tmp_path)
    assert run.run.read("policy.json")["engine"] == "toy" and Counting.steps >= 12
    plain = train(override(small_recipe, {"train.engine": "torch"}), run="plain", runs=tmp_path)
    assert run.summary["final"]["loss"] == plain.summary["final"]["loss"]


TOYS = {
    "model.kind": "toy",
    "optim.kind": "sign",
    "optim.lr": "0.01",
    "schedule.kind": "halves",
    "data.tokenizer": "code-points",
    "train.engine": "toy",
}


@pytest.mark.tried
@pytest.mark.apart
@pytest.mark.chosen
def test_toys_of_a_script_are_tried_in_its_own_process(
    family, optimizer, schedule, tokenizer, engine, small_recipe, tmp_path
):
    recipe = override(small_recipe, TOYS)
    assert known_only_here(recipe) == "data.tokenizer code-points"
    run = train(recipe, run="toys", runs=tmp_path).run
    assert run.read("forecast.json")["peak_memory_bytes"] > 0
    with pytest.raises(LabError, match="is registered in this process only: expected its module in LMLAB_EXTENSIONS"):
        measure(recipe, read_policy(run.read("policy.json")), tmp_path)


def test_commands_and_the_processes_that_they_start_import_the_extensions(small_recipe, tmp_path):
    (tmp_path / "small.toml").write_text(to_toml(small_recipe))
    words = [word for name, value in TOYS.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", "lmlab", "study", "small.toml", *words, "--vary", "model.width=24"]
    known = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "LMLAB_EXTENSIONS": "tests.toys.registered"}
    known |= {"LMLAB_CACHE": str(tmp_path / "cache"), "LMLAB_RUNS": str(tmp_path / "runs")}
    command += ["--seeds", "1", "--workers", "2", "--name", "toys"]
    done = subprocess.run(command, cwd=tmp_path, env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "runs" / "study-toys" / "study.json").read_text())
    assert made["complete"] and len(made["runs"]) == 2
    unknown = subprocess.run(
        command, cwd=tmp_path, env={**known, "LMLAB_EXTENSIONS": "toys"}, capture_output=True, text=True
    )
    assert unknown.returncode == 1 and "LMLAB_EXTENSIONS names toys, which can't be imported" in unknown.stderr
