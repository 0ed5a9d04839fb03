"""An imported model is a run: it is scored, sampled, compared and trained further; what it lacks is refused in one line."""

import json

import pytest
import torch
from torch.nn import functional as F

from lmlab.checkpoint.pointers import read_pointer
from lmlab.runs import Run
from tests.cli.conftest import SMALL_WORDS
from tests.exchange.models.made import put_tokenizer
from tests.exchange.models.test_other_forms import CONTEXT, VOCABULARY, checkpoint, nanogpt, nanogpt_logits

SHAPE = ("--model.layers", "--model.heads", "--model.width", "--model.context", "--model.preset", "--model.dropout")
TEXT = "".join(map(chr, range(48, 48 + VOCABULARY)))


@pytest.fixture
def state(tmp_path):
    """Random weights of a nanoGPT whose file is tmp_path/out/ckpt.pt; its tokens are the characters of TEXT."""
    (tmp_path / "out").mkdir()
    state, arguments = nanogpt()
    checkpoint(tmp_path / "out" / "ckpt.pt", state, arguments)
    put_tokenizer(tmp_path / "out", VOCABULARY)
    return state


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text((TEXT + TEXT[::-1] + TEXT[::3]) * 8)
    return path


@pytest.fixture
def run(lmlab, state, tmp_path):
    """The name of a run with these weights."""
    status, out, err = lmlab("import", "model", tmp_path / "out" / "ckpt.pt", "--run", "theirs")
    assert (status, err) == (0, "") and "nanogpt" in out
    return "theirs"


def training(**changes):
    words = dict(zip(SMALL_WORDS[::2], SMALL_WORDS[1::2], strict=True)) | changes
    return [word for name, value in words.items() if not name.startswith("--model") for word in (name, value)]


def test_its_folder_has_what_is_known_and_nothing_else(run, tmp_path):
    made = Run(tmp_path / "runs" / run)
    assert {path.name for path in made.folder.iterdir()} == {
        "origin.json",
        "recipe.toml",
        "tokenizer.json",
        "checkpoints",
        "control",
    }
    facts = made.origin()["model_from"]
    assert (facts["form"], facts["step"], facts["corpus"]) == ("nanogpt", 250, "tiny")
    assert [file["name"] for file in facts["files"]] == ["ckpt.pt", "tokenizer.json"]
    assert all(len(file["sha256"]) == 64 and file["bytes"] for file in facts["files"])
    assert "data_id" not in made.origin() and made.status() == "imported"
    assert {read_pointer(made.checkpoints, name)["step"] for name in ("latest", "best")} == {0}


def test_its_loss_is_that_of_the_formula(lmlab, run, state, tmp_path):
    (tmp_path / "short.txt").write_text(TEXT[5 : 5 + CONTEXT])
    status, out, err = lmlab("evaluate", run, "--on", tmp_path / "short.txt", "--split", "all", "--json")
    assert status == 0, err
    tokens = torch.arange(5, 5 + CONTEXT)
    logits = nanogpt_logits(state)(tokens[None, :-1])[0]
    values = json.loads(out)
    assert values["loss"] == pytest.approx(F.cross_entropy(logits, tokens[1:]).item(), abs=1e-5)
    assert values["tokens"] == CONTEXT - 1 and "unknown" in values["trained_on_note"]


def test_it_is_sampled_and_listed_and_shown(lmlab, run):
    assert lmlab("sample", run, "--tokens", "5")[0] == 0
    status, out, _ = lmlab("runs", "--json")
    (row,) = json.loads(out)["runs"]
    assert (status, row["status"], row["loss"], row["tokens"], row["corpus"]) == (0, "imported", None, None, None)
    status, out, _ = lmlab("runs", "show", run)
    assert status == 0 and "it wasn't trained here" in out and "problems" not in out
    assert "imported from" in lmlab("events", run)[1]


def test_it_is_compared_on_a_text(lmlab, run, text, tmp_path):
    assert lmlab("import", "model", tmp_path / "out", "--run", "again")[0] == 0
    status, out, _ = lmlab("compare", run, "again", "--on", text)
    assert status == 0 and "identical losses on every unit" in out


@pytest.mark.parametrize(
    "words",
    [
        "resume R",
        "prove R",
        "report R",
        "verify R",
        "plan --from R",
        "explain R R",
        "compare R R2",
        "evaluate R",
        "train --from R",
    ],
)
def test_what_needs_data_or_a_training_is_refused_in_one_line(lmlab, run, tmp_path, words):
    if "R2" in words:
        assert lmlab("import", "model", tmp_path / "out", "--run", "R2")[0] == 0
    status, _, err = lmlab(*(run if word == "R" else word for word in words.split()))
    assert status == 1 and err.count("\n") == 1
    assert f"{run} is an imported model (nanogpt)" in err


def test_it_is_trained_further_with_its_own_tokenizer(lmlab, run, text, tmp_path):
    words = training(**{"--data.corpus": str(text), "--train.keep": "9"})
    status, _, err = lmlab("train", "--from", run, "--run", "child", *words)
    assert status == 0, err
    child = Run(tmp_path / "runs" / "child")
    assert child.origin()["parent"]["name"] == run and child.origin()["lineage"] is None
    assert child.read("tokenizer.json") == Run(tmp_path / "runs" / run).read("tokenizer.json")
    assert lmlab("resume", "child")[0] == 0
    assert lmlab("prove", "child")[0] == 0


def test_what_it_does_not_share_with_a_training_is_refused(lmlab, run, text):
    words = training(**{"--data.corpus": str(text), "--data.fresh": "true"})
    assert "is unknown, since it is an imported model" in lmlab("train", "--from", run, *words)[2]
    words = training(**{"--data.corpus": str(text), "--data.tokenizer": "bytes"})
    assert "expected data prepared with the parent's tokenizer" in lmlab("train", "--from", run, *words)[2]


def test_the_tokenizer_of_a_model_is_not_made_from_a_text(lmlab, text):
    status, _, err = lmlab("train", text, *training(**{"--data.tokenizer": "imported"}))
    assert status == 1 and "lmlab train --from" in err


def test_nothing_is_left_where_it_fails(lmlab, run, tmp_path):
    status, _, err = lmlab("import", "model", tmp_path / "out" / "ckpt.pt", "--run", run)
    assert status == 1 and "exists already" in err
    (tmp_path / "out" / "tokenizer.json").unlink()
    assert lmlab("import", "model", tmp_path / "out" / "ckpt.pt")[0] == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run]


@pytest.mark.parametrize(
    "words", [("import", "modell", "x"), ("import", "model", "x", "--heads", "0"), ("import", "model")]
)
def test_wrong_usage_is_explained(lmlab, words):
    status, _, err = lmlab(*words)
    assert status == 2 and err


def test_the_help_names_both_kinds(lmlab):
    status, out, _ = lmlab("import", "--help")
    assert status == 0 and "import log FILE" in out and "import model PATH" in out
