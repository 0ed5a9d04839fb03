"""An imported run: what it says of itself, that tables and pictures take it, and that nothing else does."""

import hashlib
import json
import lzma

import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.exchange import import_log
from lmlab.experiment.reading import read_outcome, read_record
from lmlab.runs import Run, list_runs
from tests.shared import shared_data

LOG = (
    "s:0 tel:10.9\n"
    + "".join(f"s:{step} trl:{9 - step / 100} lr:0.001 norm:1.5\n" for step in range(100))
    + "s:100 tel:8.1\n"
)


@pytest.fixture
def imported(tmp_path):
    path = tmp_path / "main.log.xz"
    path.write_bytes(lzma.compress(LOG.encode()))
    (one,) = import_log(path, tmp_path / "runs")
    return one.run


def test_its_origin_says_which_file_and_form_and_what_is_unknown_is_null(imported, tmp_path):
    content = (tmp_path / "main.log.xz").read_bytes()
    assert imported.name == "main" and imported.status() == "imported"
    assert imported.imported == {
        "file": "main.log.xz",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "form": "llmc",
        "label": None,
        "planned_steps": None,
        "clock": None,
        "corpus": None,
        "parameters": None,
        "step_tokens": None,
        "given": [],
    }
    assert sorted(path.name for path in imported.folder.iterdir()) == ["metrics.jsonl", "origin.json"]


@pytest.mark.parametrize("read", [read_record, read_outcome])
def test_its_record_knows_its_curve_and_nothing_that_nobody_told(imported, read):
    record = read(imported)
    assert (record.loss, record.step, record.status) == (8.1, 100, "imported")
    unknown = ("recipe", "corpus", "data_id", "vocabulary", "seed", "parameters", "training_flops", "tokens", "summary")
    assert [name for name in unknown if getattr(record, name) is not None] == []
    assert record.train_seconds is None and record.total_seconds is None and record.bits_per_byte is None
    assert record.evaluations[-1].whole is None and record.evaluations[-1].tokens is None


def test_what_a_person_knows_is_taken_and_marked_as_given(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text(LOG)
    (one,) = import_log(path, tmp_path, "known", step_tokens=1000, parameters=5_000_000, corpus="fineweb")
    record = read_record(one.run)
    assert (record.tokens, record.parameters, record.corpus) == (100_000, {"total": 5_000_000}, "fineweb")
    assert record.imported["given"] == ["corpus", "parameters", "step_tokens"]
    assert read_record(one.run).family != read_record(import_log(path, tmp_path, "other")[0].run).family


def test_a_table_of_runs_makes_one_each_or_none(tmp_path):
    path = tmp_path / "all.csv"
    path.write_text("run,step,val_loss\n1,0,3\n1,9,2\n2,0,4\n")
    assert [one.run.name for one in import_log(path, tmp_path / "runs", "x")] == ["x-1", "x-2"]
    with pytest.raises(LabError, match="x-1 exists already"):
        import_log(path, tmp_path / "runs", "x")
    assert len(list_runs(tmp_path / "runs")) == 2


def test_utf16_as_powershell_writes_it_is_read(tmp_path):
    path = tmp_path / "log.txt"
    path.write_bytes(LOG.encode("utf-16"))
    assert read_record(import_log(path, tmp_path)[0].run).loss == 8.1


def test_a_picture_is_drawn_and_one_against_tokens_refused(imported, tmp_path, capsys):
    runs = str(tmp_path / "runs")
    assert main(["report", "main", "--runs", runs, "--json", "--format", "svg"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["loss"], described["step"], described["whole"]) == (8.1, 100, None)
    text = (imported.folder / "report" / "curves.svg").read_text()
    assert "imported from main.log.xz" in text and "a sample" not in text and "tokens" not in text
    assert main(["report", "main", "--runs", runs, "--against", "tokens"]) == 1
    assert "has no counts of the tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["resume", "main"],
        ["evaluate", "main"],
        ["sample", "main"],
        ["prove", "main"],
        ["train", "--from", "main"],
        ["plan", "--from", "main"],
    ],
)
def test_what_needs_a_model_is_refused_in_one_line(imported, tmp_path, capsys, words):
    assert main([*words, "--runs", str(tmp_path / "runs")]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and "main was imported from a log (main.log.xz)" in errors[0]


@pytest.mark.parametrize("change", [{"file": 3}, {"form": None}, {"parameters": "many"}, {"step_tokens": -1}])
def test_a_damaged_origin_is_told(imported, change):
    path = imported.folder / "origin.json"
    origin = json.loads(path.read_text())
    origin["imported"].update(change)
    path.write_text(json.dumps(origin))
    with pytest.raises(LabError, match="is damaged: expected (the imported log's|imported as)"):
        Run(imported.folder).origin()


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(LabError, match="there is no file"):
        import_log(tmp_path / "none.log", tmp_path)
    (tmp_path / "cut.log.xz").write_bytes(lzma.compress(LOG.encode())[:-20])
    with pytest.raises(LabError, match=r"cut\.log\.xz can't be read"):
        import_log(tmp_path / "cut.log.xz", tmp_path)
    (tmp_path / "prose.log").write_text("nothing")
    with pytest.raises(LabError, match=r"prose\.log: there is no line of training"):
        import_log(tmp_path / "prose.log", tmp_path)
    assert list_runs(tmp_path) == []


PUBLISHED = {
    "llmc_124M_2024-10-13_main.log.xz": ("llmc", 19560, 3.2722),
    "modded-nanogpt_2024-06-06_AdamW.log.xz": ("llmc", 9536, 3.275959),
    "modded-nanogpt_2024-10-29_Adam.steps.txt.xz": ("modded-nanogpt", 5100, 3.3406),
    "modded-nanogpt_2024-10-29_Muon.steps.txt.xz": ("modded-nanogpt", 5100, 3.2760),
    "eamon2009_run1.log": ("bracketed", 2999, 1.3145),
    "eamon2009_run2.log": ("bracketed", 4999, 0.7176),
    "eamon2009_run3.log": ("bracketed", 4999, 0.9430),
    "rasbt_ch05_the-verdict.log": ("llms-from-scratch", 86, 6.373),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_log_ends_where_its_authors_say(name, tmp_path):
    (one,) = import_log(shared_data("reference-logs") / name, tmp_path)
    record = read_outcome(one.run)
    assert (one.log.form, record.step, record.loss) == PUBLISHED[name]
    assert one.log.notes == ()
