"""Figures computed again: from an archive without weights, in a folder where no run is; of a run from its own files and weights."""

import io
import json
import shutil
import tarfile

import numpy as np
import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.experiment.scoring import score
from lmlab.experiment.start import train
from lmlab.recipe import Recipe, override
from lmlab.runs import Run
from lmlab.study.compare.comparing import compare
from lmlab.study.compare.comparison import Asked
from lmlab.study.verify import bundle
from lmlab.study.verify.verification import FileFigure, pack, runs_for, verify
from lmlab.training.display import Quiet
from tests.study.finished import finished_run
from tests.study.test_explaining import SMALL


@pytest.fixture
def compared(tmp_path):
    """(file with a comparison, folder of its runs): three seeds of two recipes."""
    runs = tmp_path / "runs"
    for seed, (one, other) in enumerate(((1.80, 1.75), (1.81, 1.74), (1.79, 1.745)), start=1):
        finished_run(runs, f"base-{seed}", one, seed=seed)
        finished_run(runs, f"dropout-{seed}", other, seed=seed, settings={"model.dropout": "0.1"})
    file = tmp_path / "shipped" / "comparison.json"
    file.parent.mkdir()
    file.write_text(json.dumps(compare(["base-1", "dropout-2"], runs, Asked()).to_json()))
    return file, runs


def test_what_is_packed_verifies_where_no_run_is(compared, tmp_path, capsys):
    file, runs = compared
    archive, size = pack(file, runs)
    assert archive == file.parent / "runs.tar.xz" and size < 60_000
    shutil.rmtree(runs)
    assert verify(file, None).holds
    assert main(["verify", str(file)]) == 0 and main(["verify", str(file.parent)]) == 0
    assert "figures hold, and" in capsys.readouterr().out
    changed = json.loads(file.read_text())
    changed["pairs"][0]["difference"] += 1e-6
    file.write_text(json.dumps(changed))
    assert main(["verify", str(file)]) == 1
    assert "pairs[0].difference" in capsys.readouterr().out


def test_runs_that_a_study_stands_beside_go_before_an_archive_of_earlier_ones(tmp_path):
    study = tmp_path / "runs" / "study-x"
    study.mkdir(parents=True)
    (study / bundle.NAME).touch()
    (study / "study.json").touch()
    assert runs_for(study / "study.json", tmp_path / "other", asked=False) is None
    (study / "plan.json").touch()
    assert runs_for(study / "study.json", tmp_path / "other", asked=False) == study.parent.resolve()
    assert runs_for(study / "study.json", tmp_path / "other", asked=True) == tmp_path / "other"


def test_an_archive_has_no_weights_no_folders_of_anybody_and_the_same_bytes_each_time(compared):
    file, runs = compared
    origin = json.loads((runs / "base-1" / "origin.json").read_text())
    origin["command"] = ["/srv/somebody/bin/lmlab", "train", "/srv/somebody/texts/mine.txt", "--train.steps", "5"]
    (runs / "base-1" / "origin.json").write_text(json.dumps(origin))
    (runs / "base-1" / "checkpoints").mkdir(exist_ok=True)
    (runs / "base-1" / "checkpoints" / "weights.safetensors").write_bytes(b"x" * 100)
    first = pack(file, runs)[0].read_bytes()
    assert pack(file, runs)[0].read_bytes() == first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        names = archive.getnames()
        kept = json.load(archive.extractfile("base-1/origin.json"))
    assert {name.split("/")[1] for name in names} <= set(bundle.FILES) and len({*names}) == len(names) > 12
    assert kept["command"] == ["lmlab", "train", "mine.txt", "--train.steps", "5"] and kept["id"] == origin["id"]


def test_what_does_not_hold_is_not_packed(compared):
    file, runs = compared
    shutil.rmtree(runs / "base-3")
    with pytest.raises(LabError, match=r"comparison.json is not packed, since not all of it holds: run"):
        pack(file, runs)


def _archive(path, *entries):
    with tarfile.open(path, "w:xz") as archive:
        for entry, data in entries:
            entry.size = len(data) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(data))


def _entry(name, kind=tarfile.REGTYPE):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        _entry("../origin.json"),
        _entry("/run/origin.json"),
        _entry("run/../origin.json"),
        _entry("run/weights.safetensors"),
        _entry("run/metrics.jsonl", tarfile.SYMTYPE),
        _entry("run/metrics.jsonl", tarfile.LNKTYPE),
        _entry("run", tarfile.DIRTYPE),
        _entry("origin.json"),
    ],
)
def test_nothing_but_plain_files_of_runs_is_taken_out_of_an_archive(entry, tmp_path):
    _archive(tmp_path / "runs.tar.xz", (entry, b"{}"))
    (tmp_path / "out").mkdir()
    with pytest.raises(LabError, match="expected only origin.json and the like"):
        bundle.unpack(tmp_path / "runs.tar.xz", tmp_path / "out")
    assert not any((tmp_path / "out").rglob("*"))


def test_an_archive_that_is_too_large_or_damaged_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "runs.tar.xz"
    _archive(path, (_entry("run/metrics.jsonl"), b"0" * 5_000_000))
    monkeypatch.setattr(bundle, "MOST_BYTES", 1 << 20)
    with pytest.raises(LabError, match="is too large: expected at most 1 MiB"):
        bundle.unpack(path, tmp_path)
    for damaged in (path.read_bytes()[:-40], b"no archive", b""):
        path.write_bytes(damaged)
        with pytest.raises(LabError, match=r"can't be read|is too large"):
            bundle.unpack(path, tmp_path)


@pytest.fixture
def trained(tiny_text_file, tmp_path):
    recipe = override(Recipe(), {**SMALL, "data.corpus": str(tiny_text_file)})
    return train(recipe, run="a", runs=tmp_path, display=Quiet(), say=lambda line: None).run


def test_a_run_s_figures_follow_from_its_own_files_and_its_loss_from_its_weights(trained, tmp_path, capsys):
    found = verify(trained.folder / "summary.json", None, rescore=True)
    assert found.holds, found.wrong()
    places = {claim.place for claim in found.claims}
    assert {"final.loss", "final.loss_interval[0]", "verdict.kind", "final.loss from the weights"} <= places
    assert any(place.startswith("score.total_seconds") for place in places)
    assert main(["verify", "a", "--runs", str(tmp_path)]) == 0 == main(["verify", str(trained.folder), "--rescore"])
    for name, change in (("final", {"loss": 1.0}), ("verdict", {"kind": "overfitting"})):
        summary = trained.summary()
        (tmp_path / "kept.json").write_text(json.dumps(summary))
        changed = {**summary, name: {**summary[name], **change}}
        (trained.folder / "summary.json").write_text(json.dumps(changed))
        assert main(["verify", "a", "--runs", str(tmp_path)]) == 1
        shutil.copy(tmp_path / "kept.json", trained.folder / "summary.json")


def test_other_weights_than_those_that_were_scored_are_found(trained, tmp_path):
    units = np.load(trained.folder / "units-valid.npy")
    units["bits"][:, -1] += 0.5 * units["tokens"] / np.log(2.0)
    np.save(trained.folder / "units-valid.npy", units)
    summary = trained.summary()
    summary["final"]["loss"] += 0.5
    (trained.folder / "summary.json").write_text(json.dumps(summary))
    wrong = verify(trained.folder / "summary.json", None, rescore=True).wrong()
    assert any(line.startswith("final.loss from the weights") for line in wrong)
    assert score(f"{trained.folder}@latest").evaluation.loss == pytest.approx(summary["final"]["loss"] - 0.5)


def test_the_evaluations_that_report_prints_can_be_verified(trained, tmp_path, capsys):
    assert main(["report", "a", "--to", "json", "--runs", str(tmp_path)]) == 0
    (tmp_path / "evaluations.json").write_text(capsys.readouterr().out)
    assert main(["verify", str(tmp_path / "evaluations.json"), "--runs", str(tmp_path)]) == 0
    lines = (trained.folder / "metrics.jsonl").read_text().replace('"valid_loss": 3', '"valid_loss": 2')
    lines = lines.replace('"valid_loss":3', '"valid_loss":2')
    (trained.folder / "metrics.jsonl").write_text(lines)
    assert main(["verify", str(tmp_path / "evaluations.json"), "--runs", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    ("place", "said", "measured"),
    [
        ("runs.a.loss", 1.5, True),
        ("effects[0].difference", -0.1, True),
        ("cells[0].mean", 1.5, True),
        ("effects[0].cells.baseline", -1.0, False),
        ("level", 0.95, False),
        ("cells[0].seeds", 3, False),
        ("effects[0].verdict", "better", False),
    ],
)
def test_only_measured_numbers_count_as_figures(place, said, measured):
    assert FileFigure(place=place, said=said, found=said).measured is measured


@pytest.mark.parametrize("words", [["nowhere/study.json"], ["no-such-run"], ["."]])
def test_what_has_no_figures_is_refused_in_one_line(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["verify", *words]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_that_is_not_finished_has_no_figures(tmp_path):
    run = finished_run(tmp_path, "one", 1.8, finished=False)
    with pytest.raises(LabError, match="is not finished"):
        verify(Run(tmp_path / "one").folder / "summary.json", None)
    assert run is None or isinstance(run, Run)
