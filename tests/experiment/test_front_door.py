"""The three lines of the README, and a run on another device."""

import pytest
import torch

import lmlab
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.recipe import override

pytestmark = [pytest.mark.tried, pytest.mark.apart]


def test_train_load_and_generate_in_three_lines(small_recipe, tmp_path, capsys):
    outcome = lmlab.train(small_recipe, runs=tmp_path)
    text = lmlab.load(outcome).generate("The ", tokens=12, seed=3)
    assert text.startswith("The ") and len(text) == 4 + 12
    assert "forecast:" in capsys.readouterr().out, "a notebook shows what happens"
    assert lmlab.load(outcome.run.folder).step == lmlab.load(outcome.run.name, runs=tmp_path).step
    assert set(dir(lmlab)) >= {"train", "resume", "load", "Recipe", "load_recipe", "LabError"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_checkpoint_of_one_device_continues_on_the_other(small_recipe, tmp_path, first, second):
    from tests.stopping import StopAt

    recipe = override(small_recipe, {"train.device": first, "train.precision": "fp32"})
    whole = train(recipe, run="whole", runs=tmp_path)
    train(recipe, run="moved", runs=tmp_path, display=StopAt(6))
    moved = resume("moved", runs=tmp_path, changes={"train.device": second})
    assert moved.summary["final"]["loss"] == pytest.approx(whole.summary["final"]["loss"], abs=1e-3)
    assert moved.summary["data_used"] == whole.summary["data_used"]
