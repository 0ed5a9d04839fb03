"""A run without a model: a folder with a recipe and an origin."""

import pytest

from lmlab.recipe import Recipe
from lmlab.runs import create_run


@pytest.fixture
def make_run(tmp_path):
    """make_run(name=None, recipe_name="small"): a new run in tmp_path."""

    def make(name=None, recipe_name="small", **origin):
        return create_run(tmp_path, name, Recipe(name=recipe_name), {"data_id": "0123456789abcdef", **origin})

    return make
