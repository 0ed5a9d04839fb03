"""lm-evaluation-harness on a run's model, and lmlab's scores beside the harness's own; skipped where it isn't installed."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from lmlab import LabError, cli
from lmlab.experiment.harness import harness_model, run_harness
from lmlab.experiment.loaded import load
from tests.shared import shared_data

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def installed(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    return pytest.importorskip("lm_eval")


@pytest.fixture
def loaded(untouched, small_recipe):
    return load(untouched(small_recipe).run, device="cpu")


def asked(*args):
    return [SimpleNamespace(args=one) for one in args]


def nats_of(loaded, tokens, first):
    """One by one in float64, by PyTorch."""
    with torch.no_grad():
        logits = loaded.model(torch.tensor([tokens[:-1]]))[0].double()
    chances = torch.log_softmax(logits, dim=-1)
    return sum(float(chances[place - 1, tokens[place]]) for place in range(first, len(tokens)))


def test_continuations_are_scored_as_one_by_one(installed, loaded):
    pairs = [("The old", " lamp"), ("The old", " ship"), ("", "Nobody"), ("My sister draws seven", " blue doors")]
    found = harness_model(loaded).loglikelihood(asked(*pairs))
    for (text, continuation), (chance, greedy) in zip(pairs, found, strict=True):
        whole, begin = loaded.tokenizer.encode(text + continuation).tolist(), len(loaded.tokenizer.encode(text))
        newline = loaded.tokenizer.encode("\n").tolist()  # before a text without a prompt: this text has no end
        tokens = whole if text else [*newline, *whole]
        cut = max(0, len(tokens) - 1 - loaded.model.context)
        first = (begin or 1) - cut
        assert chance == pytest.approx(nats_of(loaded, tokens[cut:], first), abs=1e-5)
        assert isinstance(greedy, bool)


def test_a_whole_text_is_scored_in_windows_that_predict_each_token_once(installed, loaded):
    text = "The old lamp waits for the rain.\nNobody remembers."
    tokens = [*loaded.tokenizer.encode("\n").tolist(), *loaded.tokenizer.encode(text).tolist()]
    context = loaded.model.context
    expected, predicted = 0.0, 1
    while predicted < len(tokens):
        end = min(predicted + context, len(tokens))
        begin = max(0, end - context - 1)
        expected += nats_of(loaded, tokens[begin:end], predicted - begin)
        predicted = end
    (found,) = harness_model(loaded).loglikelihood_rolling(asked((text,)))
    assert found == pytest.approx(expected, abs=1e-4)


def test_generated_text_ends_before_a_stop(installed, loaded):
    model = harness_model(loaded)
    (free,) = model.generate_until(asked(("The", {"max_gen_toks": 12})))
    assert free == loaded.generate("The", tokens=12, temperature=0.0).removeprefix("The")
    (stopped,) = model.generate_until(asked(("The", {"max_gen_toks": 12, "until": [free[4]]})))
    assert stopped == free.partition(free[4])[0]


def test_a_text_that_does_not_fit_is_refused(installed, loaded):
    with pytest.raises(LabError, match="'Ω' can't be scored, because of a character that the tokenizer lacks"):
        harness_model(loaded).loglikelihood(asked(("The", "Ω")))


def test_the_harness_runs_its_own_tasks_on_a_run(installed, loaded, tmp_path, capsys):
    records = [{"query": "The old", "choices": ["lamp", "ship"], "gold": place % 2} for place in range(6)]
    (tmp_path / "toy.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    configuration = {
        "task": "toy_pairs",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "toy.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{query}}",
        "doc_to_target": "gold",
        "doc_to_choice": "choices",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (tmp_path / "toy.yaml").write_text(json.dumps(configuration))
    found = run_harness(str(loaded.run.folder), ["toy_pairs"], device="cpu", configurations=str(tmp_path))
    assert found.results["toy_pairs"]["acc,none"] == 0.5
    assert "toy_pairs" in found.table
    with pytest.raises(LabError, match="has no task 'nothing'"):
        run_harness(str(loaded.run.folder), ["nothing"], device="cpu")


@pytest.mark.parametrize("name", ["arc-easy", "winogrande", "lambada", "blimp"])
def test_log_probabilities_equal_the_harness_s_own_of_the_same_weights(installed, name, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from benchmarks.harness import compared
    from tests.engine import engine_library

    engine_library()
    monkeypatch.setenv("LMLAB_GPT2", str(shared_data("gpt2-bpe")))
    folder = "multiple-choice-evals" if name in ("arc-easy", "winogrande") else name
    (found,) = compared(str(shared_data(folder)), shared_data("gpt2-bpe"), 12, only=(name,))
    assert found["items"] == 12
    for method in ("shared", "engine"):
        assert found[method]["largest_relative_difference"] < 1e-6
        assert {value for key, value in found[method].items() if key.startswith("different_")} == {0}


def test_without_the_package_the_command_says_what_to_install(loaded, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert cli.main(["evaluate", str(loaded.run.folder), "--harness", "copa"]) == 1
    assert 'pip install "lmlab[harness]"' in capsys.readouterr().err
