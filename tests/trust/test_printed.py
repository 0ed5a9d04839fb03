"""What lmlab prints of others' runs, recipes, data and logs: nothing of it acts on the terminal, and none of it is read as markup.

The runs here are poisoned in every text that a run's files hold, and their model writes escape sequences.
"""

import ast
import contextlib
import dataclasses
import io
import json
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmlab import printable
from lmlab.cli import main
from lmlab.data.preparation import prepare
from lmlab.experiment.start import train
from lmlab.recipe import Data, Recipe, override
from lmlab.report import read_curves, write_report
from lmlab.training.display import LivePanel, PlainLines, Quiet, TrainingProgress
from tests.trust.conftest import SMALL
from tests.trust.support import CHECKOUT

ESCAPES = "\x1b[2J\x1b]52;c;QUJD\x07\u202e\x9b"
HOSTILE = f"x{ESCAPES}[/x][bold]:smile:$\\frac{{$"
FOLDER = HOSTILE.replace("/", "")
"""As much of it as a folder's name can hold."""
SHOWN = "\\x1b[2J"
"""Some of what has to be seen of it."""
MARKUP = "[/x][bold]:smile:"
KEPT = {
    *("format", "id", "recipe_hash", "data_id", "split", "kind", "created", "time"),
    *("black_box", "unit", "compared", "autocast", "engine"),
}
"""What is checked where it's read: with other values, a file is refused."""


def poisoned(value, with_words, key=""):
    """`value` with those words behind each text whose key isn't in `KEPT`."""
    if isinstance(value, dict):
        return {name: poisoned(entry, with_words, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [poisoned(entry, with_words, key) for entry in value]
    return value + with_words if isinstance(value, str) and key not in KEPT else value


def poison(folder, *names):
    """Poison these files of a run, each run's in another way, so that they differ."""
    with_words = HOSTILE + folder.name
    for name in names:
        path = folder / name
        if path.suffix == ".jsonl":
            lines = [poisoned(json.loads(line), with_words) for line in path.read_text().splitlines()]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        else:
            path.write_text(json.dumps(poisoned(json.loads(path.read_text()), with_words)))


BOX = {
    **{"format": 1, "step": 3, "what": HOSTILE, "batch": HOSTILE, "cursor": 4, "sequences": 2},
    "recent": [{"step": 2, "loss": 1.0, "gradient_norm": 1.0}],
    "layers": [{"layer": HOSTILE, "gradient_norm": 1.0}],
    "texts": [{"loss": 1.0, "documents": [0, 0], "first_token": 3, "text": f"one\n\t{HOSTILE}"}],
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """`hostile.runs` with `one` and `two` of a recipe of a hostile name, all of their texts poisoned, and `hostile.data`."""
    folder = tmp_path_factory.mktemp("hostile")
    corpus = folder / "text.txt"
    corpus.write_text("".join(f"{number % 7} {HOSTILE}\t\n" for number in range(120)), encoding="utf-8")
    recipe = override(Recipe(), {**SMALL, "data.corpus": str(corpus), "evaluate.prompts": "\x1b[2J"})
    recipe = dataclasses.replace(recipe, name=HOSTILE, about=HOSTILE)
    runs = folder / "runs"
    for name, seed in (("one", 1), ("two", 2)):
        seeded = override(recipe, {"train.seed": str(seed)})
        train(seeded, run=name, runs=runs, display=Quiet(), say=lambda line: None)
        policy = json.loads((runs / name / "policy.json").read_text())
        reasons = poisoned(policy["reasons"], HOSTILE)
        (runs / name / "policy.json").write_text(json.dumps({**policy, "reasons": reasons}))
        poison(runs / name, "origin.json", "summary.json", "events.jsonl", "segments.jsonl")
        (runs / name / "black-boxes").mkdir()
        (runs / name / "black-boxes" / "step-00000003.json").write_text(json.dumps(BOX))
        with (runs / name / "events.jsonl").open("a") as file:
            about = {"format": 1, "segment": 0, "step": 3, "tokens": 96, "time": HOSTILE}
            for kind in ("stopped", HOSTILE):
                file.write(json.dumps({**about, "kind": kind, "reason": HOSTILE, "seconds": 1.0}) + "\n")
    data = prepare(Data(corpus=str(corpus), tokenizer="characters", vocabulary=None, split="tail"))
    return SimpleNamespace(runs=runs, data=data, recipe=recipe, folder=folder)


@pytest.fixture
def runs(hostile, tmp_path):
    """A copy of them, and of one whose folder has a hostile name where the system lets it."""
    copy = Path(shutil.copytree(hostile.runs, tmp_path / "runs"))
    with contextlib.suppress(OSError):
        shutil.copytree(copy / "one", copy / f"named{FOLDER}")
    return copy


@pytest.fixture
def lmlab(capsys):
    """`lmlab(word, ...)`: exit status, standard output and standard error of a command, neither of which may act on a terminal."""

    def call(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert_harmless(captured.out + captured.err)
        return SimpleNamespace(status=status, out=captured.out, both=captured.out + captured.err)

    return call


def assert_harmless(text):
    assert text == printable(text, lines=True)


VERBS = {
    "runs": ["runs"],
    "runs by family": ["runs", "--group"],
    "runs tag": ["runs", "tag", "one"],
    "events": ["events", "one", "--all"],
    "a black box": ["events", "one", "--box", 3],
    "evaluate": ["evaluate", "one"],
    "compare": ["compare", "one", "two"],
    "prove": ["prove", "one"],
    "sample": ["sample", "one", "--tokens", 60],
    "sample at once": ["sample", "one", "--tokens", 60, "--no-stream"],
    "several samples": ["sample", "one", "--tokens", 60, "--prompt", "\x1b[2J", "--prompt", "\x1b]5"],
    "plan after": ["plan", "--from", "one"],
}
SILENT = ("runs tag", "evaluate", "prove", "plan after")
"""Those that quote nothing but the run's name."""


@pytest.mark.parametrize("kind", VERBS)
def test_nothing_of_a_poisoned_run_acts_on_the_terminal(runs, lmlab, monkeypatch, kind):
    monkeypatch.setenv("COLUMNS", "400")
    answer = lmlab(*VERBS[kind], "--runs", runs)
    assert answer.status == 0, answer.both
    assert kind in SILENT or "\\x1b" in answer.both
    assert "Traceback" not in answer.both


def test_a_table_of_poisoned_runs_is_as_wide_in_every_line(runs, lmlab):
    heading, *rows = lmlab("runs", "--runs", runs).out.split("\n\n")[0].splitlines()
    places = [row.index("finished") for row in rows]
    assert len(rows) >= 2 and set(places) == {heading.index("status")}


def test_a_watched_table_is_harmless_too(runs, lmlab, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")  # rich then moves no cursor
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    answer = lmlab("runs", "--watch", "--runs", runs)
    assert answer.status == 0 and "stopped watching" in answer.both


@pytest.mark.parametrize(
    "words",
    [
        ["runs"],
        ["events", "one"],
        ["events", "one", "--box", 3],
        ["compare", "one", "two"],
        ["sample", "one", "--tokens", 60],
        ["evaluate", "one"],
        ["report", "one", "--format", "svg"],
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_json_is_ascii_and_has_the_text_as_it_is(runs, lmlab, words):
    answer = lmlab(*words, "--runs", runs, "--json")
    assert answer.status == 0 and answer.out.isascii()
    value = json.loads(answer.out)
    if words[0] in ("runs", "sample") or "--box" in words:
        assert "\x1b" in json.dumps(value, ensure_ascii=False).encode().decode("unicode_escape", "ignore")


def test_text_that_comes_in_pieces_is_escaped_sign_by_sign(runs, lmlab, monkeypatch):
    pieces = ["a\x1b", "]52;c;QUJD", "\x07\u202e", "\n\tb\x1b[2", "J"]

    def complete(self, prompts, sampling, on_text=None, stop_requested=None):
        for piece in pieces:
            on_text(0, piece)
        return [SimpleNamespace(prompt=prompts[0], text="".join(pieces), tokens=5, seconds=1.0, reason="length")]

    monkeypatch.setattr("lmlab.experiment.loaded.Loaded.complete", complete)
    written = "a\\x1b]52;c;QUJD\\x07\\u202e\n\tb\\x1b[2J\n"
    assert lmlab("sample", "one", "--runs", runs).out == written
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n/quit\n"))
    assert lmlab("chat", "one", "--runs", runs).out == written


def test_a_resumed_run_prints_its_display_its_warnings_and_its_sample_harmlessly(runs, lmlab):
    (runs / "one" / "summary.json").unlink()
    shutil.rmtree(runs / "one" / "checkpoints" / "step-00000006")
    answer = lmlab("resume", "one", "--runs", runs)
    assert answer.status == 0, answer.both
    assert MARKUP in answer.out and SHOWN in answer.out
    assert "resumed" in lmlab("events", "one", "--runs", runs).out
    assert "is finished" in lmlab("resume", "one", "--runs", runs).out


@pytest.mark.parametrize("terminal", [False, True])
def test_a_recipe_with_a_hostile_name_trains(hostile, tmp_path, lmlab, monkeypatch, terminal):
    from lmlab.recipe.text import to_toml

    (tmp_path / "recipe.toml").write_text(to_toml(hostile.recipe), "utf-8")
    words = ["train", str(tmp_path / "recipe.toml"), "--run", "again", "--runs", str(tmp_path)]
    if terminal:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("NO_COLOR", "1")
    answer = lmlab(*words)
    assert answer.status == 0, answer.both
    assert terminal or (MARKUP in answer.out and SHOWN in answer.out)


NOW = TrainingProgress(
    **{"step": 1, "steps": 2, "tokens": 3, "loss": 1.0, "learning_rate": 0.1, "gradient_norm": 1.0},
    **{"tokens_per_second": 1.0, "mfu": None, "elapsed_seconds": 1.0, "remaining_seconds": None},
)


def test_the_live_panel_reads_no_markup_and_lets_no_escapes_through():
    from rich.console import Console

    stream = io.StringIO()
    panel = LivePanel(Console(file=stream, force_terminal=True, width=150))
    panel.open(f"run: {HOSTILE}")
    panel.progress(NOW, True)
    panel.note(f"note: {HOSTILE}")
    panel.close()
    drawn = stream.getvalue()
    for word in ("run", "note"):
        assert f"{word}: {printable(HOSTILE)}" in drawn
    assert not any(sign in drawn for sign in ("\x1b[2J", "\x1b]", "\x07", "\u202e", "\x9b", "\U0001f604"))


def test_plain_lines_let_no_escapes_through():
    stream = io.StringIO()
    lines = PlainLines(stream)
    lines.open(HOSTILE)
    lines.note(HOSTILE)
    assert stream.getvalue() == 2 * f"{printable(HOSTILE)}\n"


def test_a_comparison_in_a_terminal_reads_no_markup(runs, monkeypatch):
    from lmlab.cli.printing import show
    from lmlab.report.comparison_table import comparison_parts
    from lmlab.study.compare.comparing import compare
    from lmlab.study.compare.comparison import Asked

    found = compare(["one", "two"], runs, Asked())
    names = tuple(f"{name}{HOSTILE}" for name in found.names)
    found = dataclasses.replace(found, names=names, warnings=(HOSTILE,), samples=(f"one\n\t{HOSTILE}", "two"))
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "400")
    show(*comparison_parts(found), file=stream)
    assert printable(HOSTILE) in stream.getvalue()
    assert not any(sign in stream.getvalue() for sign in ("\x1b[2J", "\x1b]", "\x07", "\u202e", "\x9b", "\U0001f604"))


@pytest.mark.parametrize("name", [FOLDER, "_$x^{$", "$\\frac{$"], ids=["escapes", "underscore", "formula"])
def test_a_figure_shows_any_name_as_it_is_written(tmp_path, name, recwarn):
    lines = [
        {"step": step, "tokens": step, "kind": kind, "loss": 2.0, "valid_loss": 2.0, "train_loss": 2.0, "whole": True}
        for step in (1, 2)
        for kind in ("train", "evaluation")
    ]
    curves = [read_curves(name, lines), read_curves("other", lines, source=name)]
    for drawn in (curves[:1], curves):
        svg = write_report(drawn, tmp_path)[0]
        texts = "".join(ElementTree.parse(svg).getroot().itertext())  # control characters are no XML
        assert printable(name)[-3:] in texts
    assert not recwarn.list


def test_a_figure_of_lengths_shows_any_name(hostile, tmp_path):
    import matplotlib

    from lmlab.data.describe import describe
    from lmlab.data.plot import plot_lengths

    found = describe(hostile.data, 16, None)
    splits = tuple(dataclasses.replace(split, documents=2) for split in found.splits)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plot_lengths(dataclasses.replace(found, name=HOSTILE, splits=splits), tmp_path / "lengths.svg")
    assert printable(HOSTILE) in "".join(ElementTree.parse(tmp_path / "lengths.svg").getroot().itertext())


@pytest.mark.parametrize("words", [["show"], ["show", "ID"], ["check"], ["check", "ID"]], ids=" ".join)
def test_a_hostile_data_set_is_shown_and_checked_harmlessly(hostile, tmp_path, lmlab, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("lmlab.data.dataset.Dataset.name", HOSTILE)
    answer = lmlab("data", *(hostile.data.id if word == "ID" else word for word in words))
    assert answer.status == 0 and SHOWN in answer.out
    assert words != ["show"] or MARKUP in answer.out


def test_a_kept_check_that_lies_is_read_harmlessly(hostile, tmp_path, lmlab):
    data = Path(shutil.copytree(hostile.data.folder, tmp_path / hostile.data.id))
    assert lmlab("data", "check", data).status == 0
    poison(data, "check.json")
    answer = lmlab("data", "check", data, "--out", tmp_path / "check.md")
    assert answer.status == 0 and printable(HOSTILE) in answer.out
    report = (tmp_path / "check.md").read_text(encoding="utf-8")
    assert printable(HOSTILE) in report
    assert_harmless(report)


def test_a_hostile_recipe_is_listed_and_explained_as_it_is_written(hostile, tmp_path, lmlab, monkeypatch, capsys):
    from lmlab.recipe.text import to_toml

    monkeypatch.setattr("lmlab.recipe.load_recipe", lambda name: override(hostile.recipe, {"data.vocabulary": "9"}))
    monkeypatch.setattr("lmlab.recipe.recipe_names", lambda: ["x"])
    listed = lmlab("recipes")
    assert SHOWN in listed.out and MARKUP in "".join(listed.out.split())
    (tmp_path / "recipe.toml").write_text(to_toml(hostile.recipe), "utf-8")
    monkeypatch.undo()
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path / "recipe.toml"), "--help"])
    helped = capsys.readouterr().out
    assert_harmless(helped)
    assert "\\x1b[2J" in helped


def test_studies_and_worked_examples_are_listed_harmlessly(lmlab, monkeypatch):
    for module, names, load in (
        ("lmlab.study.grid.definition", "study_names", "load_study"),
        ("lmlab.study.explain.case", "case_names", "load_case"),
    ):
        monkeypatch.setattr(f"{module}.{names}", lambda: [HOSTILE])
        monkeypatch.setattr(f"{module}.{load}", lambda name: SimpleNamespace(about=HOSTILE))
    for verb in ("study", "explain"):
        assert lmlab(verb, "--list").out.count(printable(HOSTILE)) == 2


def test_a_log_with_hostile_labels_is_imported_and_read_harmlessly(tmp_path, lmlab):
    log = tmp_path / "log.csv"
    rows = [f"{label}{HOSTILE},{step},{3 - step}.5" for label in "ab" for step in (1, 2)]
    log.write_text("\n".join(["run,step,val_loss", *rows]), "utf-8")
    assert lmlab("import", "log", log, "--runs", tmp_path / "runs", "--corpus", HOSTILE).status == 0
    for folder in (tmp_path / "runs").iterdir():
        poison(folder, "origin.json")
        for words in (["events"], ["report", "--format", "svg"]):
            assert lmlab(*words, folder.name, "--runs", tmp_path / "runs").status == 0
    assert SHOWN in lmlab("events", folder.name, "--runs", tmp_path / "runs").out
    assert lmlab("runs", "--runs", tmp_path / "runs").status == 0


def test_a_progress_bar_reads_no_markup(monkeypatch):
    from lmlab.cli.progress import progress_for

    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "300")
    progress = progress_for(quiet=False)
    progress.begin(HOSTILE, 100)
    progress.say(HOSTILE)
    progress.end()
    drawn = stream.getvalue()
    assert printable(HOSTILE) + "\n" in drawn
    assert not any(sign in drawn for sign in ("\x1b[2J", "\x1b]", "\x07", "\u202e", "\x9b", "\U0001f604"))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_name_that_the_output_can_not_encode_is_no_error(hostile, tmp_path, monkeypatch, encoding):
    shutil.copytree(hostile.runs / "one", tmp_path / "größe-\u4e00")
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["runs", "--runs", str(tmp_path)]) == 0
    shown = stream.buffer.getvalue().decode(encoding)
    assert "gr\\xf6\\xdfe-\\u4e00" in shown if encoding == "ascii" else "größe-\\u4e00" in shown


def test_a_child_writes_utf8_whatever_the_output_of_its_parent_is(monkeypatch):
    from lmlab.planning.trials.child import environment

    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    words = [sys.executable, "-S", "-c", "print('gr\\xf6\\xdfe \\ud800')"]
    assert subprocess.check_output(words, env=environment()).decode("utf-8").strip() == "größe \\ud800"


def test_the_command_line_prints_by_the_functions_that_escape():
    for path in (CHECKOUT / "lmlab" / "cli").glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        names = [(getattr(call.func, "id", getattr(call.func, "attr", "")), call.lineno) for call in calls]
        prints = [line for name, line in names if name == "print"]
        assert path.name == "printing.py" or not prints, (path.name, prints)
