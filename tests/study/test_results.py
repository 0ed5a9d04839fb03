"""One table of results over runs and models, whose figures can be verified from the runs' files."""

import json
import shutil

import numpy as np
import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.experiment.scoring import evaluate
from lmlab.experiment.start import train
from lmlab.recipe import Recipe, override
from lmlab.runs import Run
from lmlab.runs.text_scores import read_text_score
from lmlab.study.results import results
from lmlab.study.verify.verification import pack, verify
from lmlab.training.display import Quiet
from tests.experiment.test_scored_text import SMALL


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_text):
    """A folder with two runs, a text, and a task."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "text.txt").write_text(tiny_text, encoding="utf-8")
    (folder / "other.txt").write_text(tiny_text[::-1] * 3, encoding="utf-8")
    pairs = [
        {
            "sentence_good": f"The lamp {n}.",
            "sentence_bad": f"Lamp the {n}.",
            "UID": "order",
            "field": "syntax",
            "linguistics_term": "order",
        }
        for n in range(6)
    ]
    (folder / "blimp.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    for name, seed in (("one", "1"), ("two", "2")):
        recipe = override(Recipe(), {**SMALL, "data.corpus": str(folder / "text.txt"), "train.seed": seed})
        train(recipe, run=name, runs=folder, display=Quiet(), say=lambda line: None)
    assert main(["evaluate", "one", "--tasks", "blimp", "--task-data", str(folder), "--runs", str(folder)]) == 0
    return folder


def test_a_row_has_what_the_verbs_say_by_themselves(place):
    found = results(["one", "two@init"], place, on=str(place / "other.txt"))
    one, two = found.rows
    alone = evaluate("one", on=str(place / "other.txt"), runs=place)
    assert one.text.loss == pytest.approx(alone["loss"], rel=1e-12) and one.text.bytes == alone["bytes"]
    assert one.text.bits_per_byte == pytest.approx(alone["bits_per_byte"], rel=1e-12)
    low, high = one.text.interval
    assert low < one.text.bits_per_byte < high
    own = evaluate("one", runs=place)
    assert one.own["loss"] == pytest.approx(own["loss"], rel=1e-6) and one.tokens == one.step * 2 * 16
    assert (two.name, two.tokens) == ("two@0", 0) and found.split == "all"
    assert one.tasks["blimp"].items == 6 and not two.tasks
    assert any("blimp: not scored for two@0" in note for note in found.notes)


def test_a_stored_score_has_the_bits_of_each_unit(place):
    found = results(["one"], place, on=str(place / "other.txt")).rows[0]
    run = Run(place / "one")
    stored = read_text_score(run.folder, found.text_id, "all", found.step)
    assert stored.value["loss"] == found.text.loss and stored.value["id"] == run.id
    assert np.log(2) * stored.units["bits"].sum() / stored.units["tokens"].sum() == pytest.approx(found.text.loss)
    with pytest.raises(LabError, match="has no score of text"):
        read_text_score(run.folder, found.text_id, "valid", found.step)
    path = run.folder / "texts" / f"{found.text_id}-all-step-{found.step:08d}.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(LabError, match="is damaged"):
        read_text_score(run.folder, found.text_id, "all", found.step)
    path.write_bytes(content)


def test_the_table_is_printed_written_and_verified_from_its_archive(place, tmp_path, capsys):
    words = ["compare", "--table", "one", "two", "--on", str(place / "other.txt"), "--runs", str(place)]
    assert main([*words, "--markdown", str(tmp_path / "table.md")]) == 0
    assert "bits per byte" in capsys.readouterr().out
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0].startswith("| model |") and lines[2].startswith("| one@4 |") and "±" in lines[2]
    assert main([*words, "--json"]) == 0
    file = tmp_path / "results.json"
    file.write_text(capsys.readouterr().out)
    assert verify(file, place).holds
    pack(file, place)
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in ("results.json", "runs.tar.xz"):
        shutil.copy(tmp_path / name, copy)
    assert main(["verify", str(copy / "results.json")]) == 0
    value = json.loads(file.read_text())
    value["rows"][0]["tasks"]["blimp"]["accuracy"] += 0.01
    (copy / "results.json").write_text(json.dumps(value))
    assert main(["verify", str(copy / "results.json")]) == 1
    assert "rows[0].tasks.blimp.accuracy" in capsys.readouterr().out


def test_what_does_not_belong_together_is_refused(place, capsys):
    for words, said in (
        (["one", "--table", "--plot", "x.png"], "--table and --plot exclude each other"),
        (["one", "two", "--markdown", "x.md"], "--markdown needs --table"),
        (["--table", "one", "--split", "valid"], "needs --on TEXT"),
        (["--table", f"hf:{place}"], "add --on TEXT"),
        (["--table"], "needs a run"),
    ):
        assert main(["compare", *words, "--runs", str(place)]) != 0
        assert said in capsys.readouterr().err
