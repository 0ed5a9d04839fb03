"""A data set of each tokenizer and a finished run, made once; tests damage copies."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmlab.data.preparation import prepare
from lmlab.experiment.start import train
from lmlab.recipe import Data, Recipe, override
from lmlab.training.display import Quiet

SMALL = {
    **{"name": "small", "data.tokenizer": "characters", "data.vocabulary": "none", "data.split": "tail"},
    **{"model.layers": "1", "model.heads": "2", "model.width": "16", "model.context": "16"},
    **{"train.steps": "6", "train.batch": "2", "train.checkpoint_every": "3", "train.log_every": "2"},
    **{"train.keep": "9", "train.threads": "1", "train.device": "cpu", "train.engine": "torch"},
    **{"evaluate.every": "3", "evaluate.prompts": "The", "evaluate.sample_tokens": "5"},
}


@pytest.fixture(scope="session")
def made(tmp_path_factory, tiny_text):
    """`made.run`, `made.dataset` (documents, bpe), `made.folder`."""
    folder = tmp_path_factory.mktemp("trust")
    (folder / "tiny.txt").write_text(tiny_text, encoding="utf-8")
    (folder / "stories.txt").write_text(tiny_text.replace("\n", "\n<|endoftext|>\n"), encoding="utf-8")
    recipe = override(Recipe(), {**SMALL, "data.corpus": str(folder / "tiny.txt")})
    outcome = train(recipe, run="whole", runs=folder / "runs", display=Quiet(), say=lambda line: None)
    dataset = prepare(Data(corpus=str(folder / "stories.txt"), tokenizer="bpe", vocabulary=300))
    return SimpleNamespace(run=outcome.run, recipe=recipe, dataset=dataset, folder=folder)


@pytest.fixture
def run_copy(made, tmp_path):
    """The finished run in a folder of the test."""
    return Path(shutil.copytree(made.run.folder, tmp_path / "runs" / "copy"))


@pytest.fixture
def data_copy(made, tmp_path):
    """The data set in a folder of the test."""
    return Path(shutil.copytree(made.dataset.folder, tmp_path / made.dataset.folder.name))
