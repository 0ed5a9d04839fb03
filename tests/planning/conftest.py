"""A recipe so tiny that a child process trains it in no time."""

import pytest

from lmlab.data.preparation import prepare
from lmlab.recipe import Recipe, override


@pytest.fixture(scope="session")
def tiny_case(tmp_path_factory, tiny_text):
    """A recipe with one layer, a batch of 4 and PyTorch on the CPU, and its data set."""
    path = tmp_path_factory.mktemp("text") / "tiny.txt"
    path.write_text(tiny_text, encoding="utf-8")
    settings = {
        "data.corpus": str(path),
        "data.tokenizer": "characters",
        "model.layers": "1",
        "model.width": "16",
        "model.context": "16",
        "train.batch": "4",
        "train.device": "cpu",
        "train.engine": "torch",
    }
    recipe = override(Recipe(), settings)
    return recipe, prepare(recipe.data)
