"""A text and a recipe so small that a whole run takes a second."""

from pathlib import Path

import pytest

from lmlab.experiment.start import train
from lmlab.recipe import Recipe, override
from lmlab.training.display import Quiet
from tests.engine import engine_library

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


@pytest.fixture(scope="session")
def untouched(tmp_path_factory, really):
    """`untouched(recipe)`: the outcome of its run from beginning to end, which nobody may change; trained once a session.

    Before it the forecast's trial is made in this process, as on a GPU, and before the runs that are held against it none is: so
    each of these tests also checks that a trial leaves nothing in a run. `beside` says what a test has changed about runs of that
    recipe.
    """
    outcomes = {}
    folder = tmp_path_factory.mktemp("untouched")

    def outcome(recipe, beside=""):
        text = Path(recipe.data.corpus).read_text(encoding="utf-8")
        key = (repr(override(recipe, {"data.corpus": "text"})), text, beside)
        if key not in outcomes:
            with really("tried"):
                run = f"whole-{len(outcomes)}"
                outcomes[key] = train(recipe, run=run, runs=folder, display=Quiet(), say=lambda line: None)
        return outcomes[key]

    return outcome


@pytest.fixture(params=["torch", "native"])
def engine(request):
    """Each engine in turn, where it can be had."""
    if request.param == "native":
        engine_library()
    return request.param
