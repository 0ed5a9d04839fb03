"""A text and a recipe so small that a whole run takes a second."""

import pytest

from lmlab.native import Library, load
from lmlab.recipe import Recipe, override

SMALL = {
    "name": "small",
    "data.tokenizer": "characters",
    "data.vocabulary": "none",
    "data.split": "tail",
    "model.layers": "2",
    "model.heads": "2",
    "model.width": "32",
    "model.context": "16",
    "train.steps": "12",
    "train.batch": "4",
    "train.checkpoint_every": "4",
    "train.log_every": "3",
    "train.keep": "9",
    "train.threads": "1",
    "train.device": "cpu",
    "evaluate.every": "5",
    "schedule.warmup": "2",
}


@pytest.fixture
def small_recipe(tiny_text_file):
    """12 steps of a 2-layer model on a few thousand characters."""
    return override(Recipe(), {**SMALL, "data.corpus": str(tiny_text_file)})


@pytest.fixture(autouse=True)
def _nothing_is_measured(monkeypatch):
    """Which engine is faster can change from run to run on a busy machine; here it's the one that the policy names first."""
    monkeypatch.setattr("lmlab.experiment.beginning.fastest_policy", lambda recipe, policy, *rest: policy)


@pytest.fixture(params=["torch", "native"])
def engine(request):
    """Each engine in turn, where it can be had."""
    if request.param == "native" and not isinstance(load(lambda line: None), Library):
        pytest.skip("the native engine can't be built here")
    return request.param
