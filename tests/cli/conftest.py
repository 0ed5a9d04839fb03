"""The command line in this process: words in, (exit status, standard output, standard error) out."""

import pytest

from lmlab.cli import main
from lmlab.native.library import load

SMALL_WORDS = """
--data.tokenizer characters --data.vocabulary none --data.split tail --model.preset gpt2 --model.layers 1
--model.heads 2 --model.width 16 --model.context 16 --model.dropout 0 --optim.kind adamw --schedule.kind constant
--train.steps 6 --train.batch 2 --train.checkpoint_every 3 --train.log_every 2 --train.threads 1 --train.device cpu
--evaluate.every 3
""".split()


@pytest.fixture(scope="session", autouse=True)
def _engine_is_built():
    """Before the first test, so that the line which says so stands in no command's output."""
    load(lambda line: None)


@pytest.fixture
def lmlab(capsys, tmp_path, monkeypatch):
    """`lmlab("train", "x.txt")` -> (status, output, errors), with runs in a folder of the test."""
    monkeypatch.setenv("LMLAB_RUNS", str(tmp_path / "runs"))

    def call(*words):
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def small(tiny_text_file):
    """The words that train a tiny model on a tiny text in a second."""
    return ["train", str(tiny_text_file), *SMALL_WORDS]
