"""The run's folder: names, references, origin, segments, control, status."""

import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError, __version__
from lmlab.planning.trials.child import environment
from lmlab.recipe import Recipe, recipe_hash
from lmlab.runs import (
    Journal,
    RunLock,
    change_tags,
    create_run,
    list_runs,
    open_run,
    open_runs,
    remove_leftovers,
    require_free_name,
)
from lmlab.runs.code import git_commit, source_sha256
from lmlab.runs.names import in_order, is_run_name, split_reference, stem_of


def test_runs_are_named_after_their_recipe_and_counted(make_run, tmp_path):
    assert [make_run(recipe_name="my recipe").name for _ in range(3)] == ["my-recipe-1", "my-recipe-2", "my-recipe-3"]
    assert [run.name for run in list_runs(tmp_path)] == ["my-recipe-1", "my-recipe-2", "my-recipe-3"]


def test_a_number_is_not_given_again_below_one_that_is_taken(make_run, tmp_path):
    for name in ("small-7", "small-x", "other-9"):
        make_run(name)
    (tmp_path / "small-8").write_text("a file")
    assert make_run().name == "small-9"


def create_several(root, count):
    for _ in range(count):
        create_run(Path(root), None, Recipe(name="small"), {})


def test_processes_that_begin_at_once_never_share_a_name(tmp_path):
    workers = [multiprocessing.get_context("fork").Process(target=create_several, args=(tmp_path, 6)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    runs = list_runs(tmp_path)
    assert len(runs) == len({run.id for run in runs}) == 24
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(run.name for run in runs), "and leave no drafts"


def test_two_processes_that_want_one_name_get_one_run(tmp_path):
    make = "import sys; from pathlib import Path; from lmlab.runs import create_run; from lmlab.recipe import Recipe\n"
    make += "create_run(Path(sys.argv[1]), 'one', Recipe(), {})"
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-c", make, str(tmp_path)], stderr=subprocess.PIPE, text=True, cwd=root)
        for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1]
    assert "exists already" in "".join(errors)


def test_a_run_that_could_not_be_made_leaves_nothing(tmp_path, monkeypatch):
    def full(path, value, storage=None):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lmlab.runs.create.write_json", full)
    with pytest.raises(LabError, match="no run can be made .* No space left on device"):
        create_run(tmp_path, None, Recipe(), {})
    assert list(tmp_path.iterdir()) == []


def test_a_run_keeps_its_identity_and_recipe_when_its_folder_is_renamed(make_run, tmp_path):
    run = make_run("one")
    identity = run.id
    run.folder.rename(tmp_path / "two")
    again, _ = open_run("two", tmp_path)
    assert again.id == identity and re.fullmatch("[0-9a-f]{32}", again.id)
    assert (again.name, again.recipe(), again.checkpoints) == (
        "two",
        Recipe(name="small"),
        tmp_path / "two" / "checkpoints",
    )


def test_the_origin_says_what_it_was_told_and_which_code_and_recipe_it_was(make_run):
    parent = {"id": "a" * 32, "step": 250, "weights_sha256": "b" * 64}
    origin = make_run(command=["lmlab", "train"], hardware={"cpu": "x"}, parent=parent).origin()
    assert (origin["format"], origin["data_id"], origin["parent"]) == (1, "0123456789abcdef", parent)
    assert (origin["recipe"], origin["recipe_hash"]) == ("small", recipe_hash(Recipe(name="small")))
    assert origin["code"]["version"] == __version__ and len(origin["code"]["source_sha256"]) == 64
    assert origin["created"].endswith("Z")


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", ".hidden", "", "x" * 200, "a b", "a@b", "CON", "nul.txt", "x.", "-x", "a:b", "a\n"]
)
def test_a_name_that_no_folder_or_command_line_could_have_is_refused(tmp_path, name):
    for make in (lambda: create_run(tmp_path, name, Recipe(), {}), lambda: require_free_name(tmp_path, name)):
        with pytest.raises(LabError, match="can't be named") as caught:
            make()
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["one", "GPT-2_124M", "0.5e-3", "naïve", "a+b"])
def test_other_names_are_taken(make_run, tmp_path, name):
    require_free_name(tmp_path, name)
    assert make_run(name).name == name
    with pytest.raises(LabError, match="exists already"):
        require_free_name(tmp_path, name)
    with pytest.raises(LabError, match="exists already"):
        make_run(name)


@given(st.text(max_size=130))
def test_any_recipe_s_name_gives_a_run_s_name(name):
    assert is_run_name(f"{stem_of(name)}-12")


def test_a_reference_is_a_name_or_a_folder_with_a_checkpoint_behind_an_at(make_run, tmp_path, monkeypatch):
    run = make_run("one")
    monkeypatch.chdir(tmp_path)
    folder = str(run.folder)
    for reference in ("one", folder, "./one", "one/", f"{folder}/"):
        for part in (None, "best", "latest", "init", "250"):
            found, which = open_run(reference if part is None else f"{reference}@{part}", tmp_path)
            assert found.folder.samefile(run.folder) and found.name == "one" and which == part
    assert open_run("one", tmp_path / "elsewhere")[0].id == run.id


def test_a_tag_names_every_run_that_has_it_with_the_checkpoint_behind_the_at(make_run, tmp_path):
    one, two, three = (make_run(name) for name in ("one", "two", "three-1"))
    for run in (one, three):
        change_tags(run.folder, ["night", "paper/figure-2"])
    change_tags(two.folder, ["day"])

    def names(*references):
        return [(run.name, which) for run, which in open_runs(references, tmp_path)]

    assert names("tag:night") == [("one", None), ("three-1", None)]
    assert names("tag:paper/figure-2@best") == [("one", "best"), ("three-1", "best")]
    assert names("two", "tag:night@40", "one@latest") == [
        ("two", None), ("one", "40"), ("three-1", "40"), ("one", "latest"),
    ]  # fmt: skip
    assert names("tag:night", "tag:paper/figure-2", "tag:day") == names("tag:night", "two"), "no run is repeated"
    assert names("one", "one") == [("one", None), ("one", None)], "what a person repeats is theirs to repeat"
    assert open_run("tag:day@init", tmp_path)[0].id == two.id
    with pytest.raises(LabError, match="names 2 runs: expected one of one, three-1"):
        open_run("tag:night", tmp_path)


def test_a_tag_that_no_run_has_is_answered_with_what_is_nearest(make_run, tmp_path):
    with pytest.raises(LabError, match="has the tag 'x': give it with lmlab runs tag RUN TAG"):
        open_runs(["tag:x"], tmp_path)
    change_tags(make_run("one").folder, ["night"])
    with pytest.raises(LabError, match="did you mean night"):
        open_runs(["tag:nigth"], tmp_path)
    with pytest.raises(LabError, match="expected one of night"):
        open_runs(["tag:"], tmp_path)
    with pytest.raises(LabError, match="no checkpoint '@lates'"):
        open_runs(["tag:night@lates"], tmp_path)


def test_a_folder_with_an_at_in_its_path_is_found(make_run, tmp_path):
    run = make_run("one")
    (tmp_path / "me@host").mkdir()
    run.folder.rename(tmp_path / "me@host" / "one@7")
    assert open_run(str(tmp_path / "me@host" / "one@7"), tmp_path)[1] is None
    assert open_run(str(tmp_path / "me@host" / "one@7") + "@best", tmp_path)[1] == "best"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("onee", "there is no run 'onee' in .*: did you mean one?"),
        ("xyz", "expected one of one, two-1"),
        ("one@xyz", "no checkpoint '@xyz': expected best, latest, init or a step, as in one@best"),
        ("one@lates", "did you mean latest?"),
        ("one@", "no checkpoint '@'"),
        ("@best", "no checkpoint '@best'"),
        ("folder/", "is a folder, but not a run"),
        ("./onee", "did you mean one?"),
        ("", "no run ''"),
        ("x" * 5000, "no run"),
        ("two\nlines", "no run"),
        ("a\0b", "no run"),
        ("../../etc", "no run"),
    ],
)
def test_a_reference_to_nothing_is_answered_with_what_is_nearest(make_run, tmp_path, monkeypatch, reference, words):
    make_run("one")
    make_run("two-1")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError, match=words) as caught:
        open_run(reference, tmp_path)
    assert "\n" not in str(caught.value)


def test_without_any_run_the_folder_that_was_looked_in_is_named(tmp_path):
    with pytest.raises(LabError, match="nowhere has no runs"):
        open_run("x", tmp_path / "nowhere")
    assert list_runs(tmp_path / "nowhere") == []


@given(st.text(alphabet="ab@/\\.12", max_size=12))
def test_splitting_a_reference_loses_nothing(reference):
    try:
        place, which = split_reference(reference)
    except LabError:
        return
    assert reference == (place if which is None else f"{place}@{which}")


def test_lists_count_as_people_do():
    assert in_order(["a-10", "a-9", "b", "a", "a-9b", "10"]) == ["10", "a", "a-9", "a-9b", "a-10", "b"]


def test_a_folder_that_is_no_run_and_a_draft_are_not_listed(make_run, tmp_path):
    make_run("one")
    (tmp_path / "folder").mkdir()
    (tmp_path / ".new-x").mkdir()
    (tmp_path / ".new-x" / "origin.json").write_text("{}")
    assert [run.name for run in list_runs(tmp_path)] == ["one"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"id": 3, "format": 1}', '{"id": "x", "format": 2}'])
def test_a_damaged_origin_is_named_in_one_line(make_run, text):
    run = make_run()
    (run.folder / "origin.json").write_text(text)
    for again in list_runs(run.folder.parent):
        with pytest.raises(LabError, match="origin.json") as caught:
            _ = again.id
        assert "\n" not in str(caught.value)


def test_the_other_files_are_json_by_name(make_run):
    run = make_run()
    assert run.summary() is None
    run.write("policy.json", {"threads": 2, "peak": float("nan")})
    assert run.read("policy.json") == {"threads": 2, "peak": None}
    with pytest.raises(LabError, match="forecast.json is missing"):
        run.read("forecast.json")
    for name in ("../origin.json", "policy", "a/b.json"):
        with pytest.raises(ValueError, match="file of a run"):
            run.write(name, {})


def test_segments_are_counted_and_stay_when_the_journal_is_rewound(make_run):
    run = make_run()
    first = run.begin_segment("start", 0, True)
    journal = Journal(run.folder, run.id, first)
    lengths = journal.lengths()
    journal.append("metrics", "train", step=1, tokens=1)
    with open(run.folder / "segments.jsonl", "ab") as file:
        file.write(b'{"torn')
    second = run.begin_segment(kind="resume", step=5, exact=False, threads=3)
    journal.rewind(lengths)
    assert (first, second) == (0, 1)
    lines = run.read_lines("segments")
    assert [(line["segment"], line["kind"], line["step"], line["exact"]) for line in lines] == [
        (0, "start", 0, True),
        (1, "resume", 5, False),
    ]
    assert lines[1]["threads"] == 3 and lines[1]["pid"] == os.getpid() and lines[1]["id"] == run.id
    assert [line["step"] for line in run.read_lines("discarded")] == [1]


def test_requests_in_the_control_folder_are_heard_once_but_a_pause_lasts(make_run):
    run = make_run()
    for name in ("save", "pause", "stop", "unknown"):
        (run.folder / "control" / name).touch()
    assert run.read_control() == {"save", "pause", "stop"}
    assert run.read_control() == {"pause"}
    (run.folder / "control" / "pause").unlink()
    assert run.read_control() == set()
    assert (run.folder / "control" / "unknown").exists()


def test_a_request_that_cannot_be_taken_away_and_a_missing_folder_are_not_heard(make_run):
    run = make_run()
    (run.folder / "control" / "save").mkdir()
    assert run.read_control() == set()
    (run.folder / "control" / "save").rmdir()
    (run.folder / "control").rmdir()
    assert run.read_control() == set()


def test_a_new_segment_forgets_what_was_asked_before(make_run):
    run = make_run()
    for name in ("pause", "stop"):
        (run.folder / "control" / name).touch()
    run.begin_segment("resume", 0, True)
    assert run.read_control() == set()


def test_a_new_segment_removes_what_a_killed_writer_left(make_run):
    run = make_run()
    for name in (".summary.json.4711.tmp", ".notes.tmp", "x.4711.tmp"):
        (run.folder / name).write_text("{")
    run.begin_segment("resume", 0, True)
    assert {entry.name for entry in run.folder.iterdir() if entry.name.endswith(".tmp")} == {".notes.tmp", "x.4711.tmp"}


def test_a_new_segment_removes_what_a_killed_writer_left_of_a_black_box(make_run):
    run = make_run()
    place = run.folder / "black-boxes"
    place.mkdir()
    (place / ".step-00000003.json.0123456789abcdef.tmp").write_text("half")
    (place / "step-00000002.json").write_text("{}")
    run.begin_segment("resume", 0, True)
    assert [path.name for path in place.iterdir()] == ["step-00000002.json"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_new_segment_removes_nothing_through_a_link(make_run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".mine.0123456789abcdef.tmp").write_text("mine")
    run = make_run()
    (run.folder / "black-boxes").symlink_to(elsewhere, target_is_directory=True)
    run.begin_segment("resume", 0, True)
    assert [path.name for path in elsewhere.iterdir()] == [".mine.0123456789abcdef.tmp"]


CREATING = """
import sys, time
from pathlib import Path
from lmlab.recipe import Recipe
from lmlab.runs import create, create_run
def waiting(*arguments):
    print("drafted", flush=True)
    sys.stdin.read()
create.write_json = waiting
create_run(Path(sys.argv[1]), "theirs", Recipe(name="small"), {"data_id": "0123456789abcdef"})
"""


@pytest.mark.parametrize("clean", ["create", "rm"])
def test_the_draft_of_a_killed_process_goes_with_the_next_run_or_rm_and_that_of_a_living_one_stays(
    make_run, tmp_path, clean
):
    def drafts():
        return [path for path in tmp_path.iterdir() if path.name.startswith(".new-")]

    def age():
        for path in (*drafts()[0].rglob("*"), drafts()[0]):
            os.utime(path, (1e9, 1e9))

    def cleaned():
        make_run() if clean == "create" else remove_leftovers(tmp_path)
        return not drafts()

    command = [sys.executable, "-P", "-c", CREATING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as process:
        process.stdout.readline()
        age()
        assert not cleaned()
        process.kill()
    assert cleaned()


def test_a_run_s_status_follows_its_life(make_run):
    run = make_run()
    assert run.status() == "new"
    with RunLock(run.folder):
        run.begin_segment("start", 0, True)
        assert run.status() == "running"
    assert run.status() == "stopped"
    run.write("summary.json", {"finished": True})
    assert run.status() == "finished"


def test_the_source_hash_changes_with_any_file_of_the_package(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    first = source_sha256(tmp_path)
    assert source_sha256(tmp_path) == first
    (tmp_path / "a.py").write_text("x = 2\n")
    second = source_sha256(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, source_sha256(tmp_path)}) == 3


def git(folder, *words):
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, check=True, env={**os.environ, **who, **plain}
    )
    return done.stdout.strip()


def test_the_commit_is_the_one_that_git_names(tmp_path):
    try:
        git(tmp_path, "init", "-q", "repository")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    repository = tmp_path / "repository"
    assert git_commit(repository) is None
    git(repository, "commit", "-q", "--allow-empty", "-m", "one")
    commit = git(repository, "rev-parse", "HEAD")
    assert git_commit(repository) == commit
    git(repository, "pack-refs", "--all")
    assert git_commit(repository) == commit
    git(repository, "worktree", "add", "-q", str(tmp_path / "tree"))
    assert git_commit(tmp_path / "tree") == commit
    git(repository, "checkout", "-q", "--detach")
    assert git_commit(repository) == commit
    assert git_commit(tmp_path) is None


@pytest.mark.parametrize("head", ["", "ref: HEAD", "ref: ../../../etc/passwd", "x" * 40])
def test_a_strange_checkout_has_no_commit(tmp_path, head):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head)
    assert git_commit(tmp_path) is None


def test_reading_runs_does_not_import_torch():
    code = "import sys, lmlab.runs; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root).stdout == "False\n"
