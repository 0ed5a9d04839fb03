"""Runs that train low-rank adapters of another run's weights."""

import pytest
import torch

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.experiment.loaded import load
from lmlab.experiment.model_export import export_model
from lmlab.experiment.parent import parent_of
from lmlab.experiment.proving import prove
from lmlab.experiment.reading import read_outcome
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.recipe import override
from tests.stopping import StopAt

LORA = {"train.lora_rank": "4", "train.keep_finished": "all"}


@pytest.fixture
def base(small_recipe, tmp_path):
    """A finished run of all weights."""
    return train(small_recipe, run="base", runs=tmp_path).run


def branch(recipe, tmp_path, reference, changes, **options):
    return train(override(recipe, changes), runs=tmp_path, parent=parent_of(reference, tmp_path), **options)


def latest(run, part="weights"):
    return find(run.checkpoints, "latest")[0].tensors(part)


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_only_matrices_of_blocks_change_and_step_0_is_the_parent(small_recipe, tmp_path, base):
    said = []
    outcome = branch(
        small_recipe, tmp_path, "base@init", {**LORA, "train.steps": "6", "train.seed": "2"}, say=said.append
    )
    started, ended = find(base.checkpoints, "init")[0].tensors("weights"), latest(outcome.run)
    first = find(outcome.run.checkpoints, "0")[0].tensors("weights")
    assert equal(first, started)
    changed = {name for name in ended if not torch.equal(ended[name], started[name])}
    layers = ("attention.qkv", "attention.projection", "mlp.up", "mlp.down")
    assert changed == {f"blocks.{number}.{layer}.weight" for number in (0, 1) for layer in layers}
    assert any("trained: 4,096 parameters in adapters of rank 4" in line for line in said), said
    assert any("it trains all weights, not low-rank adapters" in line for line in said), said


def test_the_models_logits_are_those_of_base_and_adapters_and_the_export_proves_itself(small_recipe, tmp_path, base):
    run = branch(small_recipe, tmp_path, "base", {**LORA, "train.steps": "16", "optim.lr": "0.01"}, run="lora").run
    loaded = load("lora@latest", tmp_path, "cpu")
    tokens = torch.arange(16).unsqueeze(0) % loaded.tokenizer.vocabulary_size
    merged, plain = loaded.model(tokens), latest(base)
    state = latest(run, "optimizer")
    for name in [name.removeprefix("base/") for name in state if name.startswith("base/")]:
        assert torch.equal(state[f"base/{name}"], plain[name])
        layer = name.removesuffix(".weight")
        plain[name] = plain[name] + 32 / 4 * state[f"lora/{layer}.lora_b"] @ state[f"lora/{layer}.lora_a"]
    loaded.model.load_state_dict(plain)
    torch.testing.assert_close(merged, loaded.model(tokens), atol=1e-6, rtol=1e-5)
    exported = export_model("lora@latest", "nanogpt", tmp_path / "out", runs=tmp_path)
    assert exported.proof.largest is None or exported.proof.largest < 1e-4


def test_a_stopped_run_resumes_bit_for_bit_and_can_be_proven(small_recipe, tmp_path, base):
    settings = {**LORA, "train.steps": "20", "model.dropout": "0.1"}
    whole = branch(small_recipe, tmp_path, "base", settings, run="whole")
    branch(small_recipe, tmp_path, "base", settings, run="cut", display=StopAt(15))
    cut = resume("cut", runs=tmp_path)
    for part in ("weights", "optimizer"):
        assert equal(latest(whole.run, part), latest(cut.run, part))
    assert cut.summary["final"]["loss"] == whole.summary["final"]["loss"]
    assert prove("cut@16", runs=tmp_path, say=lambda line: None).equal


def test_a_branch_with_the_same_adapters_ends_as_its_parent_did(small_recipe, tmp_path, base):
    run = branch(small_recipe, tmp_path, "base", {**LORA, "train.steps": "20"}, run="lora").run
    again = branch(run.recipe(), tmp_path, "lora@16", {}, run="again").run
    for part in ("weights", "optimizer"):
        assert equal(latest(run, part), latest(again, part))


@pytest.mark.parametrize("changes", [{"train.lora_rank": "0"}, {"train.lora_rank": "2"}, {"train.lora_alpha": "8"}])
def test_its_merged_weights_are_where_another_training_begins(small_recipe, tmp_path, base, changes):
    run = branch(small_recipe, tmp_path, "base", {**LORA, "train.steps": "16"}, run="lora").run
    other = branch(run.recipe(), tmp_path, "lora", {"train.steps": "20", "train.seed": "3", **changes}, run="other").run
    assert equal(find(other.checkpoints, "0")[0].tensors("weights"), latest(run))
    state = latest(other, "optimizer")
    bases = {name.removeprefix("base/"): entry for name, entry in state.items() if name.startswith("base/")}
    assert all(torch.equal(entry, latest(run)[name]) for name, entry in bases.items())
    assert bool(bases) == (other.recipe().train.lora_rank > 0)


def test_its_flops_are_fewer_than_those_of_all_weights(small_recipe, tmp_path, base):
    run = branch(small_recipe, tmp_path, "base@init", {**LORA, "train.seed": "2"}, run="lora").run
    assert 0.6 < read_outcome(run).training_flops / read_outcome(base).training_flops < 0.8


def test_adapters_without_a_parent_are_refused_before_anything_is_read(small_recipe, tmp_path):
    with pytest.raises(LabError, match="name the run with --from RUN"):
        train(override(small_recipe, {**LORA, "data.corpus": "nowhere.txt"}), runs=tmp_path)
