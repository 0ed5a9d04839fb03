"""A bench on made-up measurements: what is measured in which order, where it ends, and what is recommended."""

import dataclasses

import pytest

from lmlab.hardware.machine import detect
from lmlab.model.families import family_of
from lmlab.planning.benchmark import bench as bench_module
from lmlab.planning.benchmark import combinations
from lmlab.planning.benchmark.advice import advise, gain
from lmlab.planning.benchmark.bench import QUICK, THOROUGH, Bencher
from lmlab.planning.benchmark.combinations import Combination, doublings, variants
from lmlab.planning.benchmark.result import BenchRow
from lmlab.planning.trials.child import OUT_OF_MEMORY, Measurement
from lmlab.planning.trials.tokenizing import Throughput, sample_texts, tokenizer_throughput
from lmlab.recipe import GPT, Context
from lmlab.training.policy import choose_policy


@pytest.fixture(scope="module")
def prepared(tiny_case):
    """A tiny recipe with a batch of 4, and its data set."""
    return tiny_case


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Nothing is timed, and the machine has four cores, no compiler and 10 GB free."""
    machine = dataclasses.replace(detect(accelerators=False), compiler=None, logical_cores=4)
    monkeypatch.setattr(bench_module, "detect", lambda accelerators=True: machine)
    monkeypatch.setattr(bench_module, "peak_flops", lambda policy: 1e9)
    monkeypatch.setattr(bench_module, "apply_policy", lambda policy: None)
    monkeypatch.setattr(bench_module, "memory_limit_bytes", lambda policy: int(10e9))
    monkeypatch.setattr(
        bench_module,
        "tokenizer_throughput",
        lambda *given: [Throughput(how="one by one", processes=1, tokens_per_second=1.0, bytes_per_second=1.0)],
    )
    monkeypatch.setattr(combinations, "physical_cores", lambda: 4)


def measured(asked, seconds=lambda batch, policy: 0.01 + 0.001 * batch, memory=lambda batch: 1e8 + 1e6 * batch):
    """A child that finds these figures, and what it was asked."""

    def run(recipe, policy, folder, *, batch, whole, **options):
        asked.append((batch, policy.precision, policy.threads, whole))
        took = seconds(batch, policy)
        if took is None:
            return Measurement(micro_batch=batch, batch=batch, failed=OUT_OF_MEMORY)
        return Measurement(
            micro_batch=batch, batch=batch, step_seconds=(took, took), peak_memory_bytes=int(memory(batch))
        )

    return run


def benched(prepared, run, batches=(), effort=QUICK):
    recipe, dataset = prepared
    return Bencher(recipe, dataset, 100, dataclasses.replace(effort, rounds=2), batches, run=run).go()


def test_all_combinations_are_measured_in_turn_and_then_again(prepared):
    asked = []
    found = benched(prepared, measured(asked), batches=(1, 4))
    steps = [entry for entry in asked if not entry[3]]
    assert len(steps) == 2 * len(found.rows) and steps[: len(found.rows)] == steps[len(found.rows) :]
    assert [entry for entry in asked if entry[3]] == [(4, "fp32", found.base.policy.threads, True)]
    assert all(len(row.rounds) == 2 and len(row.steps) == 4 for row in found.rows)
    assert [row.combination.batch for row in found.rows][:2] == [1, 4]


def test_figures_follow_from_batch_and_step_time(prepared):
    found = benched(prepared, measured([]), batches=(4,))
    figures = found.figures(found.rows[0])
    assert figures["tokens_per_second"] == pytest.approx(4 * 16 / 0.014)
    assert figures["step_milliseconds"] == pytest.approx(14)
    # 100 steps of 4 sequences are 100 steps of this batch.
    assert figures["recipe_seconds"] == pytest.approx(1.4)
    assert figures["mfu"] == pytest.approx(4 * 16 / 0.014 * found.flops_per_token / 1e9)
    assert figures["peak_memory_bytes"] == 104_000_000


def test_doublings_end_where_throughput_does(prepared):
    asked = []
    found = benched(prepared, measured(asked, seconds=lambda batch, policy: 0.01 * batch))
    batches = {batch for batch, *_ in asked}
    assert batches == {1, 2, 4, 8}
    assert any("batches from 16: more sequences bring no more throughput" in reason for reason in found.left_out)


def test_doublings_end_where_a_step_takes_too_long(prepared):
    found = benched(prepared, measured([], seconds=lambda batch, policy: 1.0 + 0.1 * batch))
    assert max(row.combination.batch for row in found.rows) == 8
    assert any("takes 1.8 s already" in reason for reason in found.left_out)


def test_the_recipes_own_batch_is_measured_however_slow_it_is(prepared):
    asked = []
    found = benched(prepared, measured(asked, seconds=lambda batch, policy: 2.0 * batch))
    # One sequence takes 2 s already: 2 is passed over, 4 is what `lmlab train` would do and what the advice rests on.
    assert sorted({row.combination.batch for row in found.rows}) == [1, 4]
    assert any("batches from 8: a step of 4 takes 8.0 s already" in reason for reason in found.left_out)
    assert "train.micro_batch" in {one.setting for one in found.advice}


def test_on_a_cpu_nothing_is_tried_that_would_not_fit(prepared):
    asked = []
    found = benched(prepared, measured(asked, memory=lambda batch: 1e8 + 0.9e9 * batch))
    assert max(batch for batch, *_ in asked) == 8
    assert any("16: about 14.5 GB would be needed, 10.0 GB are free" in reason for reason in found.left_out)
    assert 8 <= found.largest <= 10


def test_running_out_of_memory_is_a_row_and_the_end_of_the_doublings(prepared):
    asked = []
    found = benched(prepared, measured(asked, seconds=lambda batch, policy: None if batch > 4 else 0.01))
    failed = [row for row in found.rows if row.failed]
    assert [(row.combination.batch, row.failed) for row in failed] == [(8, OUT_OF_MEMORY)]
    assert found.figures(failed[0])["failed"] == OUT_OF_MEMORY
    assert len([entry for entry in asked if entry[0] == 8]) == 1


def test_an_interruption_leaves_what_there_is(prepared):
    calls = []

    def run(*given, **options):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measured([])(*given, **options)

    found = benched(prepared, run, batches=(4, 8))
    assert found.interrupted and len(found.rows) == 2
    assert found.to_json()["rows"][0]["tokens_per_second"] > 0 and found.advice


def rows_of(policy, times):
    """Rows of a batch of 4 for (changed fields, seconds a step in each round)."""
    return [
        BenchRow(
            combination=Combination(batch=4, policy=dataclasses.replace(policy, **changed)),
            rounds=[(one,) for one in rounds],
        )
        for changed, rounds in times
    ]


def test_a_gain_is_the_median_over_rounds_measured_in_turn(prepared):
    policy = choose_policy(prepared[0])
    # The third round met a noisy neighbour, which slowed both.
    fast, slow = rows_of(policy, [({}, (1.0, 1.0, 9.0)), ({"threads": 1}, (2.0, 2.0, 18.0))])
    assert gain(fast, slow) == 2.0


def test_a_setting_is_changed_only_for_a_gain_that_is_worth_it(prepared):
    policy = dataclasses.replace(choose_policy(prepared[0]), threads=4)
    base = Combination(batch=4, policy=policy)
    rows = rows_of(policy, [({}, (1.0,)), ({"threads": 2}, (0.97,)), ({"precision": "bf16"}, (0.5,))])
    advice = {one.setting: one for one in advise(base, rows, 4)}
    assert (advice["train.threads"].value, advice["train.threads"].over) == ("4", "2")
    assert advice["train.threads"].gain == pytest.approx(0.97)
    assert (advice["train.precision"].value, advice["train.precision"].gain) == ("bf16", 2.0)
    assert advice["train.compile"].gain is None
    assert "no other value was measured" in advice["train.compile"].line


def test_a_gain_that_was_not_there_in_each_round_changes_nothing(prepared):
    policy = dataclasses.replace(choose_policy(prepared[0]), threads=4)
    base = Combination(batch=4, policy=policy)
    rows = rows_of(policy, [({}, (1.0, 1.0, 1.0)), ({"threads": 2}, (0.5, 0.5, 1.0))])
    advice = {one.setting: one for one in advise(base, rows, 4)}["train.threads"]
    assert (advice.value, advice.over, advice.gain) == ("4", "2", 0.5)


def test_a_row_is_held_against_the_fastest_products_of_its_precision_or_of_fp32(prepared, monkeypatch):
    peaks = {"fp32": 1e9, "bf16": 5e9, "fp16": 1e7}
    monkeypatch.setattr(bench_module, "peak_flops", lambda policy: peaks[policy.precision] * policy.threads)
    found = benched(prepared, measured([]), batches=(4,), effort=THOROUGH)
    used = {(row.combination.precision, row.peak_flops) for row in found.rows}
    most = max(row.combination.policy.threads for row in found.rows)
    assert used <= {("fp32", 1e9 * most), ("bf16", 5e9 * most), ("fp16", 1e9 * most)}
    assert ("fp32", 1e9 * most) in used


def test_settings_are_compared_where_nothing_else_differs(prepared):
    policy = dataclasses.replace(choose_policy(prepared[0]), threads=4, engine="native", engine_identity="x")
    base = Combination(batch=4, policy=policy)
    torch = {"engine": "torch", "engine_identity": ""}
    rows = rows_of(policy, [({}, (1.0,)), ({**torch, "precision": "bf16"}, (3.0,))])
    advice = {one.setting: one for one in advise(base, rows, 4)}
    # PyTorch in another precision says nothing about PyTorch.
    assert advice["train.engine"].gain is None
    assert (advice["train.precision"].gain, advice["train.precision"].note) == (3.0, "measured with engine torch")
    rows += rows_of(policy, [({**torch, "threads": 2}, (0.5,))])
    engine = {one.setting: one for one in advise(base, rows, 4)}["train.engine"]
    assert (engine.value, engine.gain, engine.note) == ("torch", 2.0, "measured with threads 2")


def test_only_batches_that_divide_the_recipes_are_recommended(prepared):
    policy = choose_policy(prepared[0])
    base = Combination(batch=4, policy=policy)
    rows = [
        BenchRow(combination=Combination(batch=batch, policy=policy), rounds=[(seconds * batch,)])
        for batch, seconds in ((2, 0.8), (3, 0.1), (4, 1.0), (8, 0.5))
    ]
    advice = advise(base, rows, 4)[0]
    assert (advice.setting, advice.value, advice.gain) == ("train.micro_batch", "2", pytest.approx(1.25))
    rows = [rows[2], rows[3]]
    assert "--train.batch 8 would be x2.00, but it changes the training" in advise(base, rows, 4)[0].line
    assert advise(base, [], 4) == []


def test_what_is_left_out_has_its_reason(prepared):
    policy = choose_policy(prepared[0])
    machine = dataclasses.replace(detect(accelerators=False), compiler=None)
    found, left_out = variants(policy, machine, thorough=False)
    assert found[0] == policy and len({tuple(one.exactness().items()) for one in found}) == len(found)
    assert {one.threads for one in found} >= {2, 4}
    reasons = "\n".join(left_out)
    assert "tf32: tf32 needs an NVIDIA GPU" in reasons
    assert "compiled: torch.compile can't run here: there is no C++ compiler" in reasons
    assert "native engine: requested" in reasons


def test_a_model_that_cannot_be_compiled_is_not_compiled_where_others_are(prepared):
    policy = choose_policy(prepared[0])
    machine = dataclasses.replace(detect(accelerators=False), compiler="/usr/bin/g++", python_headers=True)
    found, left_out = variants(policy, machine, True, family_of(Context()).uncompilable)
    assert not any(one.compile for one in found)
    assert any(line.startswith("compiled: a model of kind context") for line in left_out)
    assert family_of(GPT()).uncompilable is None


def test_thorough_combines_everything(prepared):
    policy = choose_policy(prepared[0])
    machine = dataclasses.replace(detect(accelerators=False), compiler="/usr/bin/g++", python_headers=True)
    found, _ = variants(policy, machine, thorough=True)
    kinds = {(one.precision, one.compile, one.threads) for one in found}
    assert ("fp32", True, 2) in kinds and ("bf16", True, 4) in kinds
    assert THOROUGH.rounds > QUICK.rounds


def test_doublings_hold_the_recipes_batch():
    assert doublings(20, 12) == [1, 2, 4, 8, 12, 16]
    assert doublings(8, 8) == [1, 2, 4, 8]
    assert doublings(1, 1) == [1]


def test_a_tokenizer_is_timed_in_every_way(prepared):
    dataset = prepared[1]
    texts = sample_texts(dataset)
    assert dataset.text("train", 0, 50) == texts[0][:50]
    found = tokenizer_throughput(dataset.tokenizer, texts, (1,), 0.01)
    assert [one.how for one in found] == ["one by one", "batched", "1 process"]
    # A character is a token, and some are longer than a byte.
    assert all(one.bytes_per_second > one.tokens_per_second > 0 for one in found)
