"""A child process tries a recipe: whatever happens to it, the parent gets figures or the reason why there are none."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lmlab import StorageError
from lmlab.hardware.memory import is_out_of_memory
from lmlab.planning.trials import child
from lmlab.planning.trials.child import OUT_OF_MEMORY, Measurement, measure, search_largest
from lmlab.recipe import override
from lmlab.training.policy import choose_policy


@pytest.fixture(scope="module")
def tried(tiny_case):
    """A tiny recipe, its policy (PyTorch, one thread) and its data set's folder."""
    recipe, dataset = tiny_case
    recipe = override(recipe, {"train.threads": "1", "evaluate.sample_tokens": "4"})
    return recipe, choose_policy(recipe), dataset.folder


def behaving(monkeypatch, program):
    """Let the child be this Python program."""
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", program))


def test_the_largest_micro_batch_is_searched_in_one_child(tried):
    recipe, policy, folder = tried
    assert search_largest(recipe, policy, folder, most=3, guess=2, limit_bytes=10**12) == (3, "")
    assert search_largest(recipe, policy, folder, most=3, guess=2, limit_bytes=1) == (0, "")


def test_a_whole_trial_measures_steps_scores_saves_and_memory(tried):
    recipe, policy, folder = tried
    recipe = override(recipe, {"evaluate.prompts": ("The",)})
    found = measure(recipe, policy, folder, batch=6, micro_batch=3, steps=3, seconds=60)
    assert found.failed is None
    assert (found.batch, found.micro_batch, len(found.step_seconds)) == (6, 3, 3)
    assert all(seconds > 0 for seconds in (*found.step_seconds, found.first_step_seconds, found.start_seconds))
    assert found.forward_tokens_per_second > 0 and found.sample_seconds > 0
    assert found.save_seconds >= found.save_wait_seconds > 0
    assert found.load_seconds > 0
    # Weights and AdamW's two means, each as large as the weights, and its counts of steps.
    from lmlab.model.cost import parameters

    weights = 4 * parameters(recipe.model, 40)["total"]
    assert 2.5 * weights < found.checkpoint_bytes < 3.5 * weights
    # A process with PyTorch, and the peak can't be below what there was before.
    assert 50e6 < found.idle_memory_bytes <= found.peak_memory_bytes <= found.peak_with_earlier_best_bytes
    assert json.loads(json.dumps(found.to_json()))["step_seconds"] == list(found.step_seconds)


def test_a_batch_alone_is_one_pass(tried, monkeypatch):
    asked = []
    monkeypatch.setattr(child, "_ask", lambda request, deadline: asked.append(request) or {"failed": "not tried"})
    recipe, policy, folder = tried
    assert (measure(recipe, policy, folder, batch=7).micro_batch, asked[0]["policy"]["micro_batch"]) == (7, 7)
    assert measure(recipe, policy, folder).micro_batch == policy.micro_batch
    assert "batch = 7" in asked[0]["recipe"]


def test_what_a_user_can_mend_is_said_in_the_childs_words(tried, tmp_path):
    recipe, policy, _ = tried
    found = measure(recipe, policy, tmp_path / "nothing")
    assert "is not a prepared data set" in found.failed and found.step_seconds == ()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_child_is_out_of_memory_only_where_the_system_says_so(tried, monkeypatch):
    behaving(monkeypatch, "import os; os.kill(os.getpid(), 9)")
    assert measure(*tried).failed == "killed (signal 9)"
    counts = iter((3, 4))
    monkeypatch.setattr(child, "out_of_memory_kills", lambda: next(counts))
    assert measure(*tried).failed == OUT_OF_MEMORY


def test_a_child_that_hangs_is_ended(tried, monkeypatch):
    behaving(monkeypatch, "import time; time.sleep(60)")
    began = time.monotonic()
    assert measure(*tried, deadline_seconds=0.5).failed == "took longer than 0.5 s"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("program", "failed"),
    [
        ("import sys; sys.exit('no such thing')", "no such thing"),
        ("import sys; sys.exit(7)", "the child ended with status 7"),
        ("print('[1, 2')", "the child's answer is none: [1, 2"),
        ("print('[1, 2]')", "the child's answer is none: [1, 2]"),
        ("pass", "the child ended with status 0"),
    ],
)
def test_a_child_that_answers_nothing_sensible_is_a_failure(tried, monkeypatch, program, failed):
    behaving(monkeypatch, program)
    assert measure(*tried).failed == failed


def test_exceptions_that_mean_memory_ran_out():
    class OutOfMemoryError(RuntimeError):
        """As torch.OutOfMemoryError is called."""

    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(OutOfMemoryError("CUDA"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"))
    assert not is_out_of_memory(RuntimeError("shapes don't match"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_child_gives_up_before_others_lack_memory(tried, monkeypatch):
    monkeypatch.setattr(child, "MARGIN_SHARE", 2.0)
    assert measure(*tried, steps=10**9, seconds=50).failed == OUT_OF_MEMORY


@pytest.mark.skipif(sys.platform == "win32", reason="a parent that is killed without notice")
def test_a_child_ends_when_its_parent_is_gone(tried):
    recipe, policy, folder = tried
    from lmlab.recipe import to_toml

    request = {
        "recipe": to_toml(dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, micro_batch=None))),
        "policy": policy.to_json(),
        "data": str(folder),
        "steps": 10**9,
        "seconds": 1e9,
        "whole": False,
        "least_free_bytes": 0,
        "folder": str(folder),
        "started": 0.0,
    }
    parent = f"""
import json, subprocess, sys, time
child = subprocess.Popen({[*child.COMMAND]!r}, stdin=subprocess.PIPE, text=True)
child.stdin.write({json.dumps(request)!r} + "\\n")
child.stdin.flush()
print(child.pid, flush=True)
time.sleep(60)
"""
    started = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env=child.environment()
    )
    pid = int(started.stdout.readline())
    time.sleep(0.3)
    started.kill()
    started.wait()
    started.stdout.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and _alive(pid):
        time.sleep(0.05)
    gone = not _alive(pid)
    if not gone:
        os.kill(pid, signal.SIGKILL)
    assert gone


def _alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="ascii") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return sys.platform == "darwin"


def test_a_full_disk_says_nothing_of_the_recipe(tried, monkeypatch):
    program = (
        "import errno, os, runpy\nfrom lmlab.files import Storage\n"
        "def write(self, file, content): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "Storage.write = write\nrunpy.run_module('lmlab.planning.trials.child', run_name='__main__')"
    )
    behaving(monkeypatch, program)
    with pytest.raises(StorageError, match="No space left on device"):
        measure(*tried, steps=1)


def test_nothing_of_a_trial_stays(tried, monkeypatch, tmp_path):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    stale = tmp_path / "trials" / f"trial-{'0' * 32}"
    stale.mkdir(parents=True)
    os.utime(stale, (1, 1))
    program = "import json, pathlib, sys; place = pathlib.Path(json.loads(sys.stdin.readline())['folder'])"
    behaving(monkeypatch, f"{program}; (place / 'checkpoint').write_text('half'); sys.exit('died')")
    assert measure(*tried).failed == "died"
    assert list((tmp_path / "trials").iterdir()) == []


def test_a_measurement_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Measurement(micro_batch=1, batch=1).batch = 2
