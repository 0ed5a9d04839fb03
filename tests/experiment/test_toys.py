"""A new model family, optimizer, schedule, tokenizer or engine is one object: toy ones are registered, and runs use them."""

import pytest
import torch

import lmlab
from lmlab import LabError
from lmlab.checkpoint import find
from lmlab.experiment import resume, train
from lmlab.model import build_model, flops_per_token, parameters
from lmlab.model.families import FAMILIES, add_family, family_of
from lmlab.planning.shapes import shapes_like
from lmlab.recipe import GPT, Context, check, from_toml, override, to_toml
from lmlab.recipe.kinds import KINDS
from tests.stopping import StopAt
from tests.toys.family import Toy, ToyFamily


@pytest.fixture
def family(monkeypatch):
    """The toy family, registered for one test."""
    monkeypatch.setitem(KINDS, "model", dict(KINDS["model"]))
    monkeypatch.setitem(FAMILIES, Toy, None)  # is taken out again
    add_family(ToyFamily())


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
