"""The set-up script: what it decides, without installing anything."""

import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SCRIPT = CHECKOUT / "tools" / "set_up.py"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script as a module whose project is an empty folder, with pip and short commands replaced by a record."""
    spec = importlib.util.spec_from_file_location("set_up", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("# pins\nnumpy==2.4.6\ntorch==2.13.0\n")
    places = {"ROOT": tmp_path, "VENV": tmp_path / ".venv", "CONSTRAINTS": tmp_path / "constraints.txt"}
    places |= {"PYTHON": tmp_path / ".venv" / "python", "STAMP": tmp_path / ".venv" / ".lmlab-set-up"}
    for name, place in places.items():
        monkeypatch.setattr(module, name, place)
    module.pips = []
    monkeypatch.setattr(module, "pip", lambda purpose, *words: module.pips.append(words))
    monkeypatch.setattr(module, "installed_version", lambda package: "2.13.0+cpu")
    monkeypatch.setattr(module, "check_import", lambda: None)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    return module


@pytest.fixture
def uv(script, monkeypatch):
    """uv is at hand; `uv.fails` names the words that it refuses."""
    record = types.SimpleNamespace(calls=[], fails=())
    monkeypatch.setattr(script.shutil, "which", lambda name: name if name == "uv" else None)

    def run_installer(command, environment=None):
        record.calls.append(command)
        return any(word in record.fails for word in command), ["", "error: nowhere to be found"]

    monkeypatch.setattr(script, "run_installer", run_installer)
    return record


def made(script, torch=None):
    """A virtual environment that already has that torch."""
    script.VENV.mkdir(exist_ok=True)
    (script.VENV / "pyvenv.cfg").write_text("version = 3.12.1\n")
    script.PYTHON.write_text("")
    result = subprocess.CompletedProcess([], 0 if torch else 1, stdout=f"{torch or ''}\n", stderr="")
    script.torch_version.__globals__["quiet"] = lambda *words: (
        result if "import torch" in str(words[-1]) else subprocess.CompletedProcess([], 0, "", "")
    )


def test_a_second_set_up_does_nothing(script, capsys):
    made(script, "2.13.0")
    script.set_up()
    assert len(script.pips) == 1
    capsys.readouterr()
    script.set_up()
    assert len(script.pips) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt", ".venv/pyvenv.cfg"])
def test_a_change_of_what_should_be_there_sets_up_again(script, changed):
    made(script, "2.13.0")
    script.set_up()
    path = script.ROOT / changed
    path.write_text(path.read_text() + "# changed\n")
    script.set_up()
    assert len(script.pips) == 2


def test_the_demo_gets_no_package_that_only_tests_need_and_the_tests_add_theirs_to_it(script, monkeypatch):
    made(script, "2.13.0")
    monkeypatch.setattr(script, "show_and_run", lambda command: 0)
    assert script.main(["demo"]) == 0
    assert script.pips[-1][-2:] == ("-e", ".")
    assert script.main(["lint"]) == 0
    assert script.pips[-1][-2:] == ("-e", ".[dev]")
    assert len(script.pips) == 2


def test_a_demo_after_the_tests_installs_nothing(script, monkeypatch):
    made(script, "2.13.0")
    monkeypatch.setattr(script, "show_and_run", lambda command: 0)
    for command in ("test", "demo", "test"):
        assert script.main([command]) == 0
    assert len(script.pips) == 1


def test_after_a_change_a_demo_installs_again_and_so_do_the_tests_after_it(script, monkeypatch):
    made(script, "2.13.0")
    monkeypatch.setattr(script, "show_and_run", lambda command: 0)
    assert script.main(["test"]) == 0
    (script.ROOT / "pyproject.toml").write_text("[project]\n# changed\n")
    for command in ("demo", "demo", "test", "demo"):
        assert script.main([command]) == 0
    assert [words[-1] for words in script.pips] == [".[dev]", ".", ".[dev]"]


def test_uv_installs_what_it_can_with_the_same_constraints_and_pip_is_not_asked(script, uv):
    made(script, "2.13.0")
    script.set_up()
    (command,) = uv.calls
    assert command[:5] == ["uv", "pip", "install", "--python", str(script.PYTHON)]
    assert command[5:] == ["-c", str(script.CONSTRAINTS), "-e", ".[dev]"]
    assert script.pips == []


def test_what_uv_cannot_find_pip_installs_and_the_rest_is_still_uv_s(script, uv, monkeypatch, capsys):
    made(script)
    monkeypatch.setattr(script.sys, "platform", "linux")
    monkeypatch.setattr(script, "has_nvidia_gpu", lambda: False)
    uv.fails = ("torch==2.13.0",)
    script.set_up()
    (words,) = script.pips
    assert words[-1] == "torch==2.13.0"
    assert uv.calls[-1][-1] == ".[dev]"
    assert "uv failed (error: nowhere to be found): taking pip" in capsys.readouterr().out


def test_the_tests_run_in_a_process_a_core_and_chosen_ones_in_one(script, monkeypatch):
    commands = []
    monkeypatch.setattr(script, "show_and_run", lambda command: commands.append([str(word) for word in command]) or 0)
    monkeypatch.setattr(script, "quiet", lambda *words: subprocess.CompletedProcess(words, 0, "", ""))
    monkeypatch.setattr(script.os, "sched_getaffinity", lambda process: set(range(3)), raising=False)
    script.test([])
    script.test(["-k", "turn"])
    monkeypatch.setattr(script.os, "sched_getaffinity", lambda process: {5}, raising=False)
    script.test([])
    assert [command[1:] for command in commands] == [
        ["-m", "pytest", "-n", "3", "--dist", "worksteal"],
        ["-m", "pytest", "-k", "turn"],
        ["-m", "pytest"],
    ]


@pytest.mark.parametrize("first, second, together", [(0, 0, 0), (1, 0, 1), (0, 2, 2)])
def test_the_bitwise_tests_come_again_for_the_next_lower_instruction_set(script, monkeypatch, first, second, together):
    commands, statuses = [], iter((first, second))

    def show_and_run(command, settings=None):
        commands.append(([str(word) for word in command], settings))
        return next(statuses)

    monkeypatch.setattr(script, "show_and_run", show_and_run)
    lower = subprocess.CompletedProcess([], 0, "g++ -march=x86-64-v3\n", "")
    monkeypatch.setattr(script, "quiet", lambda *words: lower)
    assert script.test([]) == together
    (_, own), (words, settings) = commands
    assert own is None and settings == {"CXX": "g++ -march=x86-64-v3"}
    assert words[words.index("-m", 3) + 1] == "bitwise" and all((CHECKOUT / path).is_dir() for path in script.BITWISE)
    tests = (CHECKOUT / "tests").rglob("test_*.py")
    marked = {path for path in tests if "\n@pytest.mark.bitwise" in path.read_text("utf-8")}
    assert marked and all(any(path.is_relative_to(CHECKOUT / one) for one in script.BITWISE) for path in marked)


def test_a_set_up_that_failed_is_not_taken_for_done(script, monkeypatch):
    made(script, "2.13.0")
    monkeypatch.setattr(script, "check_import", lambda: (_ for _ in ()).throw(script.SetUpError("broken")))
    assert script.main([]) == 1
    assert not script.STAMP.exists()


def test_a_linux_machine_without_a_gpu_gets_the_cpu_build(script, monkeypatch):
    made(script)
    monkeypatch.setattr(script.sys, "platform", "linux")
    monkeypatch.setattr(script, "has_nvidia_gpu", lambda: False)
    script.set_up()
    assert script.CPU_BUILDS in script.pips[0]
    assert script.pips[0][-1] == "torch==2.13.0"


@pytest.mark.parametrize(("platform", "gpu"), [("linux", True), ("darwin", False), ("win32", False)])
def test_other_machines_get_torch_from_the_configured_index(script, monkeypatch, platform, gpu):
    made(script)
    monkeypatch.setattr(script.sys, "platform", platform)
    monkeypatch.setattr(script, "has_nvidia_gpu", lambda: gpu)
    script.set_up()
    assert "--index-url" not in script.pips[0]


def test_where_the_cpu_builds_cannot_be_reached_the_configured_index_is_taken_and_said_to_be(
    script, monkeypatch, capsys
):
    made(script)
    monkeypatch.setattr(script.sys, "platform", "linux")
    monkeypatch.setattr(script, "has_nvidia_gpu", lambda: False)

    def pip(purpose, *words):
        if script.CPU_BUILDS in words:
            raise script.SetUpError("ERROR: no connection")
        script.pips.append(words)

    monkeypatch.setattr(script, "pip", pip)
    script.set_up()
    assert script.pips[0][-1] == "torch==2.13.0"
    said = capsys.readouterr().out
    assert "ERROR: no connection" in said
    assert "several gigabytes" in said


def test_a_torch_that_is_new_enough_is_kept_and_no_pin_forces_another(script):
    made(script, "2.11.0+cu130")
    script.set_up()
    (words,) = script.pips
    pins = Path(words[words.index("-c") + 1]).read_text()
    assert "numpy==2.4.6" in pins
    assert "torch" not in pins


def test_a_torch_that_is_too_old_is_replaced(script):
    made(script, "2.9.1")
    script.set_up()
    assert script.pips[0][-1] == "torch==2.13.0"


def test_the_demo_takes_a_name_that_is_free(script, monkeypatch):
    monkeypatch.delenv("LMLAB_RUNS", raising=False)
    (script.ROOT / "runs" / "demo-1").mkdir(parents=True)
    commands = []
    monkeypatch.setattr(script, "show_and_run", lambda command: commands.append([str(word) for word in command]) or 0)
    assert script.demo([]) == 0
    assert [command[1:] for command in commands] == [["train", "first", "--run", "demo-2"], ["report", "demo-2"]]


def test_a_demo_that_was_stopped_draws_nothing_and_keeps_its_exit_status(script, monkeypatch):
    commands = []
    monkeypatch.setattr(script, "show_and_run", lambda command: commands.append(command) or 3)
    assert script.demo([]) == 3
    assert len(commands) == 1


def test_clean_keeps_the_environment_and_the_runs(script):
    for folder in (".venv", "runs", ".pytest_cache", "lmlab/data/__pycache__", "lmlab.egg-info"):
        (script.ROOT / folder).mkdir(parents=True)
    (script.ROOT / ".coverage").write_text("")
    assert script.main(["clean"]) == 0
    left = sorted(str(path.relative_to(script.ROOT)) for path in script.ROOT.rglob("*") if path.is_dir())
    assert left == [".venv", "lmlab", os.path.join("lmlab", "data"), "runs"]
    assert not (script.ROOT / ".coverage").exists()


def test_a_failing_pip_shows_its_last_lines_and_one_reason(tmp_path, capfd):
    spec = importlib.util.spec_from_file_location("set_up_whole", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PYTHON = sys.executable
    module.ROOT = tmp_path
    with pytest.raises(module.SetUpError, match=r"installing it failed: .* the same command goes on"):
        module.pip("installing it", "--no-index", "--find-links", str(tmp_path), "no-such-package-as-this")
    assert "No matching distribution found" in capfd.readouterr().err


def test_an_unknown_command_shows_what_there_is():
    found = subprocess.run([sys.executable, str(SCRIPT), "tests"], capture_output=True, text=True)
    assert found.returncode == 2
    assert "tools/set_up.py test" in found.stdout


def test_the_script_can_be_read_by_a_python_that_is_too_old_to_run_it():
    import ast

    assert ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 7)).body
