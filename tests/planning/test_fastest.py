"""The fastest engine is measured once, and only where the recipe leaves it open."""

import dataclasses

import numpy as np
import pytest
import torch

from lmlab.experiment.start import train
from lmlab.planning.trials import compilation, fastest
from lmlab.planning.trials import store as kept
from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.compilation import weighed_compilation
from lmlab.planning.trials.fastest import fastest_policy
from lmlab.recipe import Recipe, override
from lmlab.training.display import Quiet
from lmlab.training.policy import choose_policy

TOKENS = np.arange(1000) % 7


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """What each measurement finds, by (engine, threads), and which were made."""
    # Not the whole cache: the engine would be compiled once more.
    monkeypatch.setattr(kept, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(fastest, "physical_cores", lambda: 4)
    monkeypatch.setattr(fastest, "performance_cores", lambda: 4)
    monkeypatch.setattr(kept, "is_busy", lambda: False)
    seconds = {("native", 4): 0.02, ("native", 2): 0.03, ("torch", 4): 0.05}
    made = []

    def step_seconds(recipe, policy, tokens, vocabulary):
        made.append((policy.engine, policy.threads))
        return seconds[policy.engine, policy.threads]

    monkeypatch.setattr(fastest, "shortest_step", step_seconds)
    return seconds, made


def chosen(recipe, engine="native", threads=4, say=None):
    """The policy that is found for `recipe` where such a one was chosen without measuring."""
    policy = choose_policy(override(recipe, {"train.engine": "torch", "train.threads": "1"}))
    identity = "0123" if engine == "native" else ""
    policy = dataclasses.replace(policy, engine=engine, threads=threads, engine_identity=identity)
    return fastest_policy(recipe, policy, TOKENS, 7, say=say)


def forget_lag():
    for path in (kept.cache_folder() / "measured").glob("lag-*"):
        path.unlink()


def small(**settings):
    return override(Recipe(), {"model.width": "16", "model.context": "8", "train.device": "cpu", **settings})


def test_the_fastest_is_taken_and_measured_once(measured):
    seconds, made = measured
    first = chosen(small())
    assert (first.engine, first.threads) == ("native", 4)
    assert sorted(made) == sorted(seconds)
    assert first.reasons["engine"] == (
        "the fastest here; step times against it: native on 2 threads x1.50; PyTorch took 2.5 times as long when it was tried"
    )
    seconds["native", 4] = 1.0
    assert chosen(small()) == first and len(made) == 3
    # Another model is another question, but for PyTorch, which was far behind.
    assert chosen(small(**{"model.layers": "2"})).threads == 2 and made[3:] == [("native", 4), ("native", 2)]


def test_what_takes_seconds_is_said_before_it_and_only_where_it_is_measured(measured):
    said = []
    chosen(small(), say=lambda line: said.append((line, len(measured[1]))))
    assert said == [(fastest.NOTICE, 0)]
    chosen(small(), say=said.append)
    assert len(said) == 1


def test_torch_is_tried_again_where_it_was_not_far_behind_or_failed(measured):
    seconds, made = measured
    for lag, torch_again in ((1.4, True), (1.6, False)):
        seconds["torch", 4] = 0.02 * lag
        forget_lag()
        chosen(small(**{"optim.kind": "muon", "train.batch": str(round(lag * 10))}))
        del made[:]
        reason = chosen(small(**{"model.layers": "2", "train.batch": str(round(lag * 10))})).reasons["engine"]
        assert (("torch", 4) in made) == torch_again
        assert ("PyTorch took 1.6 times as long when it was tried" in reason) != torch_again
    seconds["torch", 4] = fastest.NEVER
    forget_lag()
    chosen(small())
    seconds["torch", 4] = 0.001
    assert chosen(small(**{"model.layers": "2"})).engine == "torch"


def test_one_candidate_is_not_measured(measured):
    chosen(small(**{"train.threads": "4"}))
    del measured[1][:]
    policy = chosen(small(**{"train.threads": "4", "model.layers": "2"}))
    assert measured[1] == [] and policy.reasons["engine"] == "PyTorch took 2.5 times as long when it was tried"


def test_torch_is_taken_where_it_is_faster(measured):
    measured[0]["torch", 4] = 0.001
    policy = chosen(small())
    assert (policy.engine, policy.engine_identity, policy.threads) == ("torch", "", 4)


def test_why_there_is_no_native_engine_is_said_beside_what_is_fastest(measured):
    measured[0]["torch", 2] = 0.06
    policy = choose_policy(override(small(), {"train.engine": "torch", "train.threads": "1"}))
    why = "the native engine can't be used: no C++ compiler"
    policy = dataclasses.replace(policy, threads=4, reasons={**policy.reasons, "engine": why})
    reason = fastest_policy(small(), policy, TOKENS, 7).reasons["engine"]
    assert reason == f"the fastest here; step times against it: torch on 2 threads x1.20; {why}"


def test_what_is_hardly_faster_is_not_taken(measured):
    measured[0]["native", 2] = 0.019
    assert chosen(small()).threads == 4
    measured[0]["native", 2] = 0.01
    assert chosen(small(**{"model.layers": "2"})).threads == 2


def test_what_is_measured_beside_other_work_serves_until_the_machine_is_quiet(measured, monkeypatch):
    seconds, made = measured
    monkeypatch.setattr(kept, "is_busy", lambda: True)
    seconds["native", 2] = 0.001
    assert chosen(small()).threads == chosen(small()).threads == 2
    assert len(made) == 3
    seconds["native", 2] = 0.03
    monkeypatch.setattr(kept, "is_busy", lambda: False)
    assert chosen(small()).threads == chosen(small()).threads == 4
    assert len(made) == 6
    monkeypatch.setattr(kept, "is_busy", lambda: True)
    chosen(small())
    assert len(made) == 6, "what was measured in quiet isn't spoilt again"


@pytest.mark.parametrize(
    "wish, candidates",
    [
        ({"train.engine": "native"}, {("native", 4), ("native", 2)}),
        ({"train.threads": "4"}, {("native", 4), ("torch", 4)}),
        ({"train.threads": "4", "train.engine": "native"}, set()),
    ],
)
def test_what_the_recipe_decides_is_left_alone(measured, wish, candidates):
    chosen(small(**wish))
    assert set(measured[1]) == candidates


def test_what_takes_much_memory_is_tried_in_a_child(measured, monkeypatch, tmp_path):
    asked = []

    def run(recipe, policy, folder, **options):
        asked.append((policy.engine, policy.threads))
        steps = () if policy.engine == "torch" else (9.0, policy.threads / 100)
        failed = None if steps else "out of memory"
        return Measurement(micro_batch=1, batch=1, step_seconds=steps, failed=failed)

    monkeypatch.setattr(fastest, "measure", run)
    large = small(**{"train.batch": "512", "model.context": "128"})
    policy = choose_policy(override(large, {"train.engine": "torch", "train.threads": "1"}))
    policy = dataclasses.replace(policy, engine="native", threads=4, engine_identity="0123")
    found = fastest_policy(large, policy, TOKENS, 7, tmp_path)
    assert sorted(asked) == [("native", 2), ("native", 4), ("torch", 4)] and measured[1] == []
    # The half of the threads was twice as fast, and PyTorch ran out of memory.
    assert (found.engine, found.threads) == ("native", 2)
    # A small model's steps are taken here; PyTorch, which would leave more memory behind than they need, has a child all the same.
    assert fastest_policy(small(), dataclasses.replace(policy, micro_batch=16), TOKENS, 7, tmp_path).threads == 4
    assert asked[3:] == [("torch", 4)] and sorted(measured[1]) == [("native", 2), ("native", 4)]


def test_a_step_whose_every_sequence_takes_long_is_not_measured(measured):
    chosen(small(**{"model.width": "4096", "model.layers": "24", "model.context": "1024"}))
    assert measured[1] == []


def test_on_arm_longer_steps_are_measured(measured, monkeypatch):
    long = small(**{"model.width": "1024", "model.layers": "12", "model.context": "1024"})
    chosen(long)
    assert measured[1] == []
    monkeypatch.setattr(fastest.platform, "machine", lambda: "arm64")
    chosen(long)
    assert set(measured[1]) == set(measured[0])


def test_a_long_step_is_measured_with_fewer_sequences(measured, monkeypatch):
    seen = []
    real = fastest.shortest_step

    def step_seconds(recipe, policy, tokens, vocabulary):
        seen.append((recipe.train.batch, policy.micro_batch))
        return real(recipe, policy, tokens, vocabulary)

    monkeypatch.setattr(fastest, "shortest_step", step_seconds)
    measured[0]["native", 2] = 0.001
    # 6 FLOPs for each of some 10.7M weights and 64 x 256 tokens.
    large = {"model.layers": "6", "model.width": "384", "model.context": "256", "train.batch": "64"}
    policy = chosen(small(**large))
    assert (policy.threads, policy.micro_batch) == (2, 64), "the run keeps its own micro-batch"
    assert set(seen) == {(4, 4)}
    assert " for steps of 4 sequences" in policy.reasons["engine"]


def test_torch_is_tried_with_a_model_of_another_size(measured):
    chosen(small())
    del measured[1][:]
    chosen(small(**{"model.width": "128", "model.layers": "4"}))
    assert ("torch", 4) in measured[1], "Apple's matrix units help large models alone"


def test_the_performance_cores_of_a_hybrid_processor_are_a_candidate(measured, monkeypatch):
    monkeypatch.setattr(fastest, "physical_cores", lambda: 10)
    monkeypatch.setattr(fastest, "performance_cores", lambda: 2)
    measured[0].update({("native", 10): 0.03, ("native", 5): 0.04, ("native", 2): 0.01, ("torch", 10): 0.2})
    assert chosen(small(), threads=10).threads == 2
    assert set(measured[1]) == {("native", 10), ("native", 5), ("native", 2), ("torch", 10)}


@pytest.mark.parametrize("seconds, device", [((0.02, 0.005), "cpu"), ((0.005, 0.02), "mps")])
def test_on_a_mac_the_gpu_and_the_cpu_are_held_against_each_other(measured, monkeypatch, seconds, device):
    on_cpu = dataclasses.replace(choose_policy(small(**{"train.engine": "torch"})), device="cpu", threads=3)
    monkeypatch.setattr(fastest, "choose_policy", lambda recipe: on_cpu)
    monkeypatch.setattr(
        fastest,
        "shortest_step",
        lambda recipe, policy, *rest: dict(zip(("mps", "cpu"), seconds, strict=True))[policy.device],
    )
    on_gpu = dataclasses.replace(on_cpu, device="mps", threads=8)
    assert fastest_policy(small(**{"train.device": "auto"}), on_gpu, TOKENS, 7).device == device
    assert fastest_policy(small(**{"train.device": "mps"}), on_gpu, TOKENS, 7) == on_gpu, "the recipe asks for it"


@pytest.mark.parametrize(
    "gpu_seconds, compiled, device",
    [(0.02, False, "cpu"), (0.008, True, "cuda:0"), (0.008, False, "cpu"), (0.004, False, "cuda:0")],
)
def test_a_small_model_s_cpu_is_held_against_an_nvidia_gpu(measured, monkeypatch, gpu_seconds, compiled, device):
    on_cpu = dataclasses.replace(choose_policy(small(**{"train.engine": "torch"})), device="cpu", threads=3)
    monkeypatch.setattr(fastest, "choose_policy", lambda recipe: on_cpu)

    def step_seconds(recipe, policy, *rest):
        assert not policy.compile
        return {"cuda:0": gpu_seconds, "cpu": 0.005}[policy.device]

    monkeypatch.setattr(fastest, "shortest_step", step_seconds)
    on_gpu = dataclasses.replace(on_cpu, device="cuda:0", threads=8, compile=compiled)
    found = fastest_policy(small(**{"train.device": "auto"}), on_gpu, TOKENS, 7)
    assert found.device == device and found.compile == (compiled and device != "cpu")
    assert fastest_policy(small(**{"train.device": "cuda"}), on_gpu, TOKENS, 7) == on_gpu, "the recipe asks for it"
    large = small(**{"train.device": "auto", "model.width": "256", "model.layers": "4", "train.batch": "64"})
    assert fastest_policy(large, on_gpu, TOKENS, 7) == on_gpu, "no CPU is that fast"


@pytest.mark.parametrize("steps, compiled", [(1_000, False), (100_000, True)])
def test_steps_that_are_over_before_a_compiler_is_are_not_compiled(measured, monkeypatch, steps, compiled):
    recipe = small(**{"train.device": "cuda"})
    policy = choose_policy(small(**{"train.engine": "torch"}))
    policy = dataclasses.replace(policy, device="cuda:0", compile=True)
    monkeypatch.setattr(compilation, "shortest_step", lambda *given: 0.01)
    found = weighed_compilation(recipe, policy, TOKENS, 7, steps)
    assert found.compile == compiled
    if not compiled:
        assert found.reasons["compile"] == "1,000 steps take about 10 s without it, and compiling takes 1 min 00 s"
    asked = override(recipe, {"train.compile": "on"})
    assert weighed_compilation(asked, policy, TOKENS, 7, steps) == policy

    def fails(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(compilation, "shortest_step", fails)
    other = override(recipe, {"model.width": "32"})
    assert weighed_compilation(other, policy, TOKENS, 7, steps) == policy


def test_a_damaged_file_is_measured_again(measured, tmp_path):
    chosen(small())
    (path,) = (tmp_path / "measured").glob("fastest-*")
    path.write_text("{}", encoding="utf-8")
    chosen(small())
    assert sorted(measured[1][3:]) == [("native", 2), ("native", 4)]


def test_steps_are_really_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    recipe = small(**{"model.layers": "1", "train.batch": "2"})
    policy = choose_policy(override(recipe, {"train.engine": "torch", "train.threads": "1"}))
    assert 0 < fastest.shortest_step(recipe, policy, TOKENS, 7) < 60


def test_a_run_takes_what_was_found(measured, monkeypatch, tiny_text_file, tmp_path):
    measured[0]["torch", 4] = 0.001
    monkeypatch.setattr(
        fastest, "_step_seconds_apart", lambda recipe, policy, folder: fastest.shortest_step(recipe, policy, TOKENS, 7)
    )
    settings = {"data.corpus": str(tiny_text_file), "data.tokenizer": "characters", "data.vocabulary": "none"}
    recipe = small(**settings, **{"data.split": "tail", "train.steps": "1", "train.batch": "2", "train.threads": "4"})
    outcome = train(recipe, runs=tmp_path, display=Quiet(), say=lambda line: None)
    kept = outcome.run.read("policy.json")
    assert kept["engine"] == ("torch" if measured[1] else kept["engine"])
    assert kept["threads"] == 4
