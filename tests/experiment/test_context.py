"""A context-propagation model through everything that a run does: training, stop, resume, loading, scoring, writing, plans."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import lmlab
from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.evaluation.losses import Scoring, evaluate_split
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.recipe import override
from lmlab.training.policy import choose_policy
from tests.engine import engine_library
from tests.stopping import StopAt

SHAPE = {"model.kind": "context", "model.width": "16", "model.hidden": "24", "model.vector": "8"}
NATIVE = {"model.hidden": "32", "model.vector": "16", "train.engine": "native"}
VARIANTS = {
    "adamw": {"model.dropout": "0.1", "train.micro_batch": "2"},
    "muon": {"optim.kind": "muon", "model.dropout": "0.2"},
    "bf16": {"train.precision": "bf16", "model.init": "torch"},
    "fp16": {"train.precision": "fp16", "optim.lr": "0.01"},
    "native": {**NATIVE, "model.dropout": "0.1", "train.micro_batch": "2"},
}


@pytest.fixture
def recipe(small_recipe):
    return override(small_recipe, SHAPE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stopped_and_resumed_run_is_bit_for_bit_an_untouched_one(recipe, tmp_path, untouched, variant):
    if variant == "native":
        engine_library()
    recipe = override(recipe, VARIANTS[variant])
    whole = untouched(recipe)
    assert whole.run.read("policy.json")["engine"] == ("native" if variant == "native" else "torch")
    stopped = train(recipe, run="stopped", runs=tmp_path, display=StopAt(5))
    assert stopped.ending.kind == "stopped"
    resumed = resume("stopped", runs=tmp_path)
    assert resumed.summary["final"]["loss"] == whole.summary["final"]["loss"]
    left, right = find(whole.run.checkpoints, "latest")[0], find(resumed.run.checkpoints, "latest")[0]
    for part in ("weights", "optimizer"):
        tensors, others = left.tensors(part), right.tensors(part)
        assert tensors.keys() == others.keys()
        assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_micro_batches_give_the_gradients_of_the_whole_batch(recipe, tmp_path):
    recipe = override(recipe, {"model.dropout": "0"})
    whole = train(recipe, run="whole", runs=tmp_path)
    split = train(override(recipe, {"train.micro_batch": "1"}), run="split", runs=tmp_path)
    assert whole.summary["final"]["loss"] == pytest.approx(split.summary["final"]["loss"], abs=1e-4)


def test_it_learns_and_a_loaded_model_scores_and_writes_as_its_run_did(recipe, tmp_path):
    run = train(override(recipe, {"optim.lr": "0.01"}), run="whole", runs=tmp_path)
    curve = [line["valid_loss"] for line in run.run.read_lines("metrics") if line["kind"] == "evaluation"]
    assert curve[-1] < curve[0] - 0.1
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
    with pytest.raises(LabError, match="a draft is for models of kind gpt"):
        loaded.generate("The old", tokens=4, draft=2)


@pytest.mark.parametrize("residual", ["false", "true"])
def test_the_documented_loop_gives_the_logits_from_a_copy_of_three_files(recipe, tmp_path, residual):
    shape = {"model.layers": "3", "model.residual": residual}
    done = train(override(recipe, {**shape, "optim.lr": "0.03"}), run="one", runs=tmp_path)
    loaded, copy = lmlab.load("one@latest", runs=tmp_path), tmp_path / "copy"
    for name in ("recipe.toml", "tokenizer.json", "checkpoints/step-00000012/weights.safetensors"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(done.run.folder / name, copy / name)
    shutil.rmtree(done.run.folder)
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    section = text.split("### A context-propagation model from its files")[1].split("\n### ")[0]
    names: dict = {}
    exec(section.split("```python")[1].split("```")[0], names)
    alphabet = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))["alphabet"]
    tokens = [alphabet.index(character) for character in "The old man ran."]
    assert tokens == loaded.tokenizer.encode("The old man ran.").tolist() and len(tokens) == 16
    settings, tensors = names["read"](copy, 12)
    found = names["logits"](settings, tensors, tokens)
    assert found.std(dim=0).max() > 0.01, "or the vector would say nothing"
    with torch.inference_mode():
        torch.testing.assert_close(found, loaded.model(torch.tensor([tokens]))[0], atol=1e-5, rtol=1e-4)
    shapes = {name: list(tensor.shape) for name, tensor in loaded.model.named_parameters()}
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == shapes


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"train.engine": "native"},
            "native engine can't be used: it computes .* multiples of 16, and model.hidden is 24; or use --train.engine torch",
        ),
        ({**NATIVE, "model.vector": "8"}, "model.vector is 8"),
        ({"train.compile": "on"}, "train.compile can't be on"),
    ],
)
def test_what_it_can_not_have_is_refused_in_one_line(recipe, tmp_path, changes, words):
    with pytest.raises(LabError, match=words) as caught:
        train(override(recipe, changes), run="refused", runs=tmp_path)
    assert "\n" not in str(caught.value)


def test_both_engines_learn_the_same_and_each_keeps_to_its_own(recipe, tmp_path):
    engine_library()
    recipe = override(recipe, {**NATIVE, "model.dropout": "0"})
    runs = {}
    for engine in ("native", "torch"):
        runs[engine] = train(override(recipe, {"train.engine": engine}), run=engine, runs=tmp_path)
        policy = runs[engine].run.read("policy.json")
        assert (policy["engine"], bool(policy["engine_identity"])) == (engine, engine == "native")
        assert lmlab.load(f"{engine}@latest", runs=tmp_path).model.engine == "auto"
    ours, theirs = (runs[engine].summary["final"]["loss"] for engine in runs)
    assert ours == pytest.approx(theirs, rel=1e-4)
    weights = [find(runs[engine].run.checkpoints, "latest")[0].tensors("weights") for engine in runs]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_auto_takes_the_kernel_where_it_fits_and_says_why_where_it_does_not(recipe):
    engine_library()
    assert choose_policy(override(recipe, {**NATIVE, "train.engine": "auto"})).engine == "native"
    policy = choose_policy(recipe)
    assert policy.engine == "torch" and "model.hidden is 24" in policy.reasons["engine"]


def test_without_the_library_pytorch_computes(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_NATIVE", "off")
    whole = train(override(recipe, {**NATIVE, "train.engine": "auto"}), run="whole", runs=tmp_path)
    policy = whole.run.read("policy.json")
    assert policy["engine"] == "torch" and "LMLAB_NATIVE is off" in policy["reasons"]["engine"]


def test_a_look_at_a_batch_names_every_layer_and_the_vector(recipe, tmp_path):
    from lmlab.training.observing import observe

    train(recipe, run="whole", runs=tmp_path)
    model = lmlab.load("whole@latest", runs=tmp_path).model
    inputs = torch.arange(8 * 16).view(8, 16).numpy() % model.vocabulary
    seen = observe(model, choose_policy(override(recipe, {"train.batch": "8"})), inputs, inputs)
    layers = {"block 1", "block 2"}
    assert set(seen.gradient_norms) == layers | {"gates", "embeddings and head"}
    assert set(seen.activation_rms) == layers | {"embedding", "context vector"}
    # LayerNorm's vectors have a root mean square of 1 before it has learned a scale.
    assert seen.activation_rms["context vector"] == pytest.approx(1.0, abs=0.1)
