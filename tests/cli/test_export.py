"""lmlab export from the command line: what is written, what is refused in one line, and that nothing is left then."""

import json
import shutil

import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.data.catalogue import CATALOGUE
from lmlab.exchange.models import writing
from lmlab.experiment.model_facts import trained_on
from lmlab.runs import Run
from tests.cli.conftest import SMALL_WORDS

PROVEN = {"hf": "transformers", "nanogpt": "", "gguf": "llama-cpp"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_text):
    """The folder of a finished run."""
    place = tmp_path_factory.mktemp("trained")
    (place / "text.txt").write_text(tiny_text, encoding="utf-8")
    words = [*SMALL_WORDS, "--runs", str(place), "--quiet", "--no-tables", "--model.activation", "gelu"]
    assert main(["train", str(place / "text.txt"), "--run", "mine", *words]) == 0
    return place / "mine"


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """The name of a copy of it in the test's own folder, in which the commands are called."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs" / "mine")
    return "mine"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "to, files",
    [
        (
            "hf",
            [
                "README.md",
                "config.json",
                "generation_config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json",
            ],
        ),
        ("nanogpt", ["README.md", "ckpt.pt", "meta.pkl"]),
    ],
)
def test_the_files_and_the_card(lmlab, run, tmp_path, to, files):
    status, out, err = lmlab("export", run, "--to", to)
    assert (status, err) == (0, "")
    folder = tmp_path / f"mine-{to}"
    assert names(folder) == files and "prove" in out or "read again" in out
    card = (folder / "README.md").read_text()
    figures = Run(tmp_path / "runs" / run).summary()["final"]
    assert f"{figures['loss']:.4f}" in card and f"{figures['tokens']:,} |" in card
    assert "whose licence the run doesn't know" in card and "1 layers" in card
    assert not [name for name in names(tmp_path) if name.startswith(".export-")]


def test_an_export_is_imported_and_exported_again_alike(lmlab, run, tmp_path):
    assert lmlab("export", run, "--to", "hf", "--out", "one")[0] == 0
    assert lmlab("import", "model", "one", "--run", "again")[0] == 0
    assert lmlab("export", "again", "--to", "hf", "--out", "two")[0] == 0
    for name in ("config.json", "model.safetensors", "tokenizer.json", "generation_config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert "is an import of one" in (tmp_path / "two" / "README.md").read_text()


def test_json_has_the_files_and_the_proof(lmlab, run, tmp_path):
    status, out, err = lmlab("export", run + "@init", "--to", "nanogpt", "--out", "below/there", "--json")
    value = json.loads(out)
    assert (status, err, value["step"], value["to"]) == (0, "", 0, "nanogpt")
    assert set(value["files"]) == {"README.md", "ckpt.pt", "meta.pkl"} and value["proof"]["largest_difference"] == 0
    assert "None is recorded for this model" in (tmp_path / "below" / "there" / "README.md").read_text()


@pytest.mark.parametrize(
    "words, said",
    [
        (("mine", "--to", "gguf"), "which has no model.activation gelu: use --to hf or nanogpt or html"),
        (("none", "--to", "hf"), "there is no run 'none'"),
        (("mine@7", "--to", "hf"), "has no checkpoint of step 7"),
        (("mine", "--to", "hf", "--out", "full"), "is there already"),
        (("mine", "--to", "hf", "--out", "file"), "is there already"),
        (("mine", "--to", "hf", "--out", "file/below"), "file"),
    ],
)
def test_what_is_refused_leaves_nothing(lmlab, run, tmp_path, words, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = names(tmp_path)
    status, out, err = lmlab("export", *words)
    assert status == 1 and out == "" and err.count("\n") == 1 and said in err
    assert names(tmp_path) == before and names(tmp_path / "full") == ["x"]


def test_an_export_that_fails_its_proof_is_deleted(lmlab, run, tmp_path, monkeypatch):
    def wrong(folder, what):
        weights = {name: tensor + 0.01 for name, tensor in what.weights.items()}
        writing.write_nanogpt(folder, writing.Written(**{**vars(what), "weights": weights}))

    monkeypatch.setitem(writing.WRITERS, "nanogpt", wrong)
    before = names(tmp_path)
    status, _, err = lmlab("export", run, "--to", "nanogpt")
    assert status == 1 and "nothing was exported" in err
    assert names(tmp_path) == before


def test_an_empty_folder_will_do(lmlab, run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert lmlab("export", run, "--to", "nanogpt", "--out", "empty")[0] == 0


def test_what_no_other_program_has_is_named_once(lmlab, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lmlab(*small, "--run", "modern", "--model.preset", "modern")[0] == 0
    status, _, err = lmlab("export", "modern", "--to", "hf")
    assert status == 1 and "model.qk_norm" in err and "use --to html" in err


@pytest.mark.parametrize("words", [("export",), ("export", "x"), ("export", "x", "--to", "onnx")])
def test_wrong_usage_is_explained(lmlab, words):
    assert lmlab(*words)[0] == 2


def test_the_licence_of_a_catalogue_text_is_the_catalogue_s(run, tmp_path):
    from types import SimpleNamespace

    for name, entry in CATALOGUE.items():
        data = SimpleNamespace(corpus=name)
        loaded = SimpleNamespace(run=Run(tmp_path / "runs" / "mine"), recipe=SimpleNamespace(data=data))
        assert f"Licence: {entry.licence}" in trained_on(loaded)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_page_has_its_size_its_loss_and_its_proof(lmlab, run, tmp_path, weights):
    status, out, err = lmlab("export", run, "--to", "html", "--weights", weights, "--json")
    value = json.loads(out)
    assert (status, err, value["to"], value["file"]) == (0, "", "html", "mine.html")
    assert value["bytes"] == (tmp_path / "mine.html").stat().st_size and "prove" in value["proof"]["line"]
    assert [line.startswith("loss in int8 ") for line in value["losses"]] == ([True] if weights == "int8" else [])
    page = (tmp_path / "mine.html").read_text(encoding="utf-8")
    assert f"{Run(tmp_path / 'runs' / run).summary()['final']['loss']:.4f}" in page and str(tmp_path) not in page
    assert names(tmp_path) == ["mine.html", "runs"]
    for out in ("mine.html", "new/../mine.html", "runs"):
        status, _, err = lmlab("export", run, "--to", "html", "--out", out)
        assert status == 1 and err.count("\n") == 1 and f"{out} is there already" in err
    assert (tmp_path / "mine.html").read_text(encoding="utf-8") == page


def test_a_page_of_a_run_whose_data_set_is_gone_says_that_int8_was_not_measured(lmlab, run, tmp_path, monkeypatch):
    def gone(data_id):
        raise LabError("the data set is gone")

    monkeypatch.setattr("lmlab.experiment.loaded.find_dataset", gone)
    status, out, _ = lmlab("export", run, "--to", "html", "--weights", "int8", "--out", "below/page.html")
    assert status == 0 and "the loss in int8 wasn't measured" in out and (tmp_path / "below" / "page.html").is_file()


def test_only_a_page_has_weights_in_int8(lmlab, run):
    status, _, err = lmlab("export", run, "--to", "hf", "--weights", "int8")
    assert status == 1 and "--weights int8 is for --to html" in err and err.count("\n") == 1
