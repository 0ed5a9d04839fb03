"""A model with n-gram tables through everything that a run does: training, stop, resume, loading, scoring, writing."""

import pytest
import torch

import lmlab
from lmlab.checkpoint.finding import find
from lmlab.evaluation.losses import Scoring, evaluate_split
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.recipe import override
from tests.stopping import StopAt

VARIANTS = {
    "adamw": {"model.dropout": "0.1", "optim.table_lr": "0.02"},
    "muon": {"optim.kind": "muon", "model.preset": "modern", "train.micro_batch": "2"},
}


@pytest.fixture(params=VARIANTS)
def recipe(request, small_recipe):
    """Bigrams hash into their table; most trigrams meet another in theirs."""
    return override(small_recipe, {"model.ngrams": "2,3", "model.ngram_rows": "200", **VARIANTS[request.param]})


def test_a_stopped_and_resumed_run_with_ngrams_is_bit_for_bit_an_untouched_one(recipe, tmp_path, untouched):
    whole = untouched(recipe)
    stopped = train(recipe, run="stopped", runs=tmp_path, display=StopAt(5))
    assert stopped.ending.kind == "stopped"
    resumed = resume("stopped", runs=tmp_path)
    assert resumed.summary["final"]["loss"] == whole.summary["final"]["loss"]
    left, right = find(whole.run.checkpoints, "latest")[0], find(resumed.run.checkpoints, "latest")[0]
    for part in ("weights", "optimizer"):
        tensors, others = left.tensors(part), right.tensors(part)
        assert tensors.keys() == others.keys()
        assert all(torch.equal(tensors[name], others[name]) for name in tensors)
    assert left.tensors("weights")["ngram_tables.1.weight"].any()
    assert left.tensors("optimizer")["step/ngram_tables.0.weight"] == 12


def test_a_loaded_model_with_ngrams_scores_and_writes_as_its_run_did(recipe, tmp_path):
    run = train(recipe, run="whole", runs=tmp_path)
    loaded = lmlab.load("whole@latest", runs=tmp_path)
    again = evaluate_split(
        Scoring(model=loaded.model, text=loaded.dataset(), context=16, device=loaded.device), "valid"
    )
    assert again.loss == pytest.approx(run.summary["final"]["loss"], rel=1e-6)
    # Past the context of 16, where the window begins anew; float64, so that no draw is close.
    loaded.model.double()
    text = loaded.generate("The old", tokens=40, temperature=0.0)
    window, written = loaded.tokenizer.encode("The old").tolist(), []
    for _ in range(40):
        window = window if len(window) <= 16 else window[-8:]
        with torch.inference_mode():
            written.append(int(loaded.model(torch.tensor([window]))[0, -1].argmax()))
        window.append(written[-1])
    assert text == "The old" + loaded.tokenizer.decode(written)


def test_the_forecast_counts_tables_apart(recipe, tmp_path):
    forecast = train(recipe, run="whole", runs=tmp_path).run.read("forecast.json")
    assert forecast["table_parameters"] == 2 * 200 * 32
    rest = forecast["parameters"] - forecast["table_parameters"]
    assert forecast["tokens_a_parameter"] == pytest.approx(forecast["tokens"] / rest)
