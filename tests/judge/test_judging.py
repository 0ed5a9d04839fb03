"""A whole comparison: tiny runs answer, judges on loopback are examined and asked, and the file is verified."""

import json

import pytest

from benchmarks.judges import questions_for
from benchmarks.scripted_judges import Scripted
from lmlab import LabError
from lmlab.cli import main
from lmlab.experiment.start import train
from lmlab.files import read_json, write_json
from lmlab.generation.settings import Sampling
from lmlab.judge.asked import AskedJudging
from lmlab.judge.figures import figures_of
from lmlab.judge.judging import judge_models
from lmlab.judge.raw import raw_from_json
from lmlab.recipe import Recipe, override
from lmlab.recipe.template import TEMPLATES
from lmlab.report.judge_figure import draw_scores
from lmlab.report.judge_table import judge_parts
from lmlab.runs import Run
from lmlab.training.display import Quiet
from tests.experiment.test_scored_text import SMALL
from tests.judge.scripted import served

SAMPLING = Sampling(temperature=0.0, tokens=12)


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_text):
    """A folder with a file of ten questions, and two runs of two checkpoints."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "text.txt").write_text(tiny_text, encoding="utf-8")
    records = [
        {"instruction": one.messages[0].content, "input": "", "output": one.reference} for one in questions_for(10, 1)
    ]
    (folder / "test.json").write_text(json.dumps(records))
    for name, seed in (("one", "1"), ("two", "2")):
        own = {"data.corpus": str(folder / "text.txt"), "train.seed": seed, "model.context": "256"}
        recipe = override(Recipe(), {**SMALL, **own, "train.checkpoint_every": "2", "train.keep_finished": "all"})
        train(recipe, run=name, runs=folder, display=Quiet(), say=lambda line: None)
    return folder


@pytest.fixture(autouse=True)
def _no_judge_of_the_shell(monkeypatch):
    """Calls are kept in the session's cache; each server of a test has an address of its own."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def words(place, *more):
    return ["judge", "one", "two", "--data", str(place / "test.json"), "--runs", str(place), "--tokens", "12", *more]


def test_answers_are_generated_once_and_reference_metrics_need_no_judge(place, capsys):
    assert main(words(place)) == 0
    out, err = capsys.readouterr()
    assert "no judge: reference metrics alone" in err and "assumed SD 30 points" in err
    assert "will probably be at the floor" in err and "one@4" in out
    stored = list((place / "one" / "answers").glob("*.jsonl"))
    before = [path.read_bytes() for path in stored]
    assert len(stored) == 1 and before[0].count(b"\n") == 11
    assert main(words(place, "--json")) == 0
    value = json.loads(capsys.readouterr().out)
    assert [path.read_bytes() for path in stored] == before
    assert set(value["models"]) == {"one@4", "two@4"} and value["judges"] == []
    assert main(["verify", value["file"], "--runs", str(place)]) == 0
    assert "20 answers are those of the runs" in capsys.readouterr().out


def test_an_answer_is_what_the_run_generates_after_its_template(place):
    from lmlab.experiment.loaded import load

    asked = AskedJudging(models=("one@2",), data=place / "test.json", sampling=SAMPLING, template="plain", items=3)
    figures, _ = judge_models(asked, place)
    prompts = [TEMPLATES["plain"].prompt(question.messages) for question in figures.raw.questions]
    loaded = load("one@2", place)
    sampling = Sampling(temperature=0.0, tokens=12, stop=TEMPLATES["plain"].stop)
    expected = [done.text.strip() for done in loaded.complete(prompts, sampling)]
    assert list(figures.raw.models[0].texts) == expected and not figures.raw.models[0].tuned


def test_killed_generation_continues_with_the_missing_answers(place):
    asked = AskedJudging(models=("two@2",), data=place / "test.json", sampling=SAMPLING, template="chatml")
    whole = judge_models(asked, place)[0].raw.models[0]
    path = place / "two" / "answers" / f"{whole.answers_id}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]) + lines[6][:10])  # five answers and a torn line
    assert judge_models(asked, place)[0].raw.models[0] == whole
    path.write_bytes(lines[0] + b'{"format": 1, "question": 5}\n')
    with pytest.raises(LabError, match="damaged: expected question, text"):
        judge_models(asked, place)


@pytest.mark.parametrize("method", ["score", "listwise", "pairwise"])
def test_a_fit_judge_ranks_and_everything_is_computed_again_from_the_file(place, capsys, method):
    with served(Scripted(noise=10.0).reply) as server:
        given = ["--judge", server.address, "--judge.model", "honest", "--method", method, "--judge.price", "3"]
        assert main(words(place, *given)) == 0
        out, err = capsys.readouterr()
        asked = len(server.asked)
        assert main(words(place, *given, "--json")) == 0 and len(server.asked) == asked
    assert f"judge honest ({method}): fit" in out and "1 to 2" in out and "which cost" in err
    value = json.loads(capsys.readouterr().out)
    assert value["judges"][0]["verdict"] == "fit" and len(value["judges"][0]["pairs"]) == 1
    assert main(["verify", value["file"], "--runs", str(place)]) == 0
    stored = read_json(place / value["file"])
    stored["figures"]["judges"][0]["standings"]["one@4"]["mean"] = 99.0
    write_json(place / value["file"], stored)
    capsys.readouterr()
    assert main(["verify", value["file"], "--runs", str(place)]) == 1
    assert "standings.one@4.mean: the file says 99.0" in capsys.readouterr().out
    assert (place / value["file"]).with_name("scores.png").stat().st_size > 1000


def test_an_unfit_judge_ranks_nothing_unless_asked_to(place, capsys):
    with served(Scripted(random=True).reply) as server:
        given = ["--judge", server.address, "--judge.model", "dice"]
        assert main(words(place, *given)) == 0
        out, _ = capsys.readouterr()
        assert "judge dice (score): UNFIT" in out and "no model is ranked by a judge that is unfit" in out
        assert "rank  model" not in out
        assert main(words(place, *given, "--anyway")) == 0
        out, _ = capsys.readouterr()
        assert "these ranks are of a judge that isn't known to be fit" in out and "rank  model" in out
        assert main(words(place, *given, "--no-fit")) == 0
        assert "judge dice (score): not examined" in capsys.readouterr().out


def test_checkpoints_at_the_floor_are_no_ladder_and_labels_calibrate(place, capsys, tmp_path):
    labels = [{"question": number, "model": "one@4", "right": number % 2 == 0} for number in range(1, 7)]
    (tmp_path / "labels.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in labels))
    with served(Scripted(noise=10.0).reply) as server:
        given = ["--judge", server.address, "--judge.model", "honest", "--ladder", "one", "--anyway"]
        assert main(words(place, *given, "--labels", str(tmp_path / "labels.jsonl"), "--json")) == 0
    found = json.loads(capsys.readouterr().out)["judges"][0]
    ladder = next(check for check in found["fitness"]["checks"] if check["name"] == "ladder: checkpoints of one")
    assert ladder["fit"] is False and found["verdict"] == "UNFIT" and ladder["ladder"][0] == "one@4"
    standing = found["standings"]["one@4"]
    assert standing["at_floor"] is True and standing["right"]["informative"] is False


def test_two_judges_are_compared_and_looking_may_stop_early(place):
    from lmlab.judge.client import JudgeSettings

    with served(Scripted(noise=10.0).reply) as server:
        judges = tuple(JudgeSettings(address=server.address, model=name) for name in ("a", "b"))
        asked = AskedJudging(
            models=("one", "two"),
            data=place / "test.json",
            sampling=SAMPLING,
            judges=judges,
            until_decided=True,
            fit_items=6,
        )
        figures, path = judge_models(asked, place)
    assert [(one, two) for one, two, _ in figures.agreements] == [("a", "b")]
    assert len(figures.judges[0].raw.examined_on) == 6 and figures.judges[0].raw.until_decided
    again = figures_of(raw_from_json(json.loads(path.read_text())["raw"]))
    assert again.to_json() == figures.to_json() or str(again.to_json()) == str(figures.to_json())
    assert len(list(judge_parts(figures))) > 10 and len(draw_scores(figures).axes) == 2


def test_the_tuned_template_is_the_runs_own(place):
    run = Run(place / "one")
    run.write("template.json", TEMPLATES["chatml"].to_json())
    try:
        asked = AskedJudging(models=("one",), data=place / "test.json", sampling=SAMPLING)
        assert judge_models(asked, place)[0].raw.models[0].template == "chatml"
    finally:
        (run.folder / "template.json").unlink()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--judge.model", "m"], "--judge.model needs an address"),
        (["--judge", "http://127.0.0.1:9/v1"], "--judge needs the model there"),
        (["--judge", "127.0.0.1:9", "--judge.model", "m"], "is no address"),
        (["--items", "0"], "--items 0: expected 1 to 10"),
        (["--items", "11"], "--items 11: expected 1 to 10"),
        (["--template", "nope"], "there is no template 'nope'"),
        (["--judge.parallel", "0"], "--judge.parallel 0: expected 1 to 64"),
        (["--judge", "http://127.0.0.1:9/v1", "--judge.model", "m", "--judge.price", "1e5"], "confirm it with --yes"),
    ],
)
def test_wrong_use_is_one_line(place, capsys, more, said):
    assert main(words(place, *more)) in (1, 2)
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_the_same_model_twice_and_a_missing_file_are_refused(place, capsys):
    assert main(["judge", "one", "one@4", "--data", str(place / "test.json"), "--runs", str(place)]) == 1
    assert "one@4 is named twice" in capsys.readouterr().err
    assert main(["judge", "one", "--data", str(place / "absent.json"), "--runs", str(place)]) == 1
    assert "absent.json" in capsys.readouterr().err
