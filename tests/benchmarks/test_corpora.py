"""The benchmarks of tokenising and of large token stores: equal tokens, nothing measured twice, stores that are data sets."""

import argparse

import pytest

from benchmarks import large_store, tokenising
from lmlab import LabError
from lmlab.data.dataset import open_dataset
from tests.data.shard_files import web_documents, write_texts
from tests.shared import shared_data


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_GPT2", str(shared_data("gpt2-bpe")))
    write_texts(tmp_path / "shards" / "0.parquet", [*web_documents(300), "", " \n"], rows=100)
    write_texts(tmp_path / "shards" / "1.parquet", web_documents(100, 1), rows=100)
    return tmp_path / "shards"


def test_every_side_makes_the_same_tokens(corpus):
    found = {name: tokenising.run_side(name, corpus) for name in tokenising.SIDES if name != "datasets.map"}
    assert len({one["sha256"] for one in found.values()}) == 1
    assert len({one["tokens"] for one in found.values()}) == 1


def test_a_side_without_its_package_is_left_out_with_a_word(corpus, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    found = tokenising.run_side("datasets.map", corpus)
    assert found == {"missing": "datasets"}
    figures = {"seconds": 2.0, "tokens": 100, "sha256": "0"}
    value = {"rounds": [{name: found if name == "datasets.map" else figures for name in tokenising.SIDES}]}
    assert any("left out: datasets is not installed" in line for line in tokenising.summary(value))


def test_what_was_measured_is_not_measured_again(corpus, tmp_path, monkeypatch):
    calls = []

    def measure(name, corpus, python):
        calls.append(name)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return {"seconds": 1.0, "tokens": 10, "sha256": "0"}

    monkeypatch.setattr(tokenising, "in_a_process", measure)
    options = argparse.Namespace(corpus=corpus, rounds=2, python="python", out=tmp_path / "out.json")
    around = {"machine": {}, "source": {"source_sha256": "1"}}
    with pytest.raises(KeyboardInterrupt):
        tokenising.measured(options, around)
    value = tokenising.measured(options, around)
    assert len(calls) == 1 + 2 * len(tokenising.SIDES)
    assert [len(one) for one in value["rounds"]] == [len(tokenising.SIDES)] * 2
    with pytest.raises(LabError, match="is of another corpus or source"):
        tokenising.measured(options, {"machine": {}, "source": {"source_sha256": "2"}})


def test_different_tokens_are_an_error():
    rounds = [{name: {"seconds": 1.0, "tokens": 1, "sha256": name} for name in tokenising.SIDES}]
    with pytest.raises(LabError, match="made different tokens"):
        tokenising.summary({"rounds": rounds})


def test_a_store_of_random_tokens_is_a_data_set(tmp_path):
    folder = large_store.make_store(tmp_path, 3_000_000)
    dataset = open_dataset(folder)
    dataset.verify()
    assert (folder / "tokens-train.bin").stat().st_size == 3_000_000 // 2048 * 2048
    assert len(set(dataset.tokens("train")[:10_000].tolist())) == 256
    assert large_store.make_store(tmp_path, 3_000_000) == folder
