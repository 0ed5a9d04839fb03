"""Commands end in time, with all that they have started."""

import os
import sys
import time

import pytest

from lmlab.native.process import run_command, run_commands

PYTHON = [sys.executable, "-I", "-c"]


def test_status_and_all_output_come_back_in_the_order_of_the_commands():
    code = "import sys, time; time.sleep(float(sys.argv[2])); print(sys.argv[1], flush=True); sys.stderr.write('e')\n"
    code += "sys.exit(int(sys.argv[1]))"
    commands = [[*PYTHON, code, str(number), str(0.3 - number / 10)] for number in range(3)]
    answers = run_commands(commands, 60, at_once=2)
    assert [answer.status for answer in answers] == [0, 1, 2]
    assert [answer.output for answer in answers] == ["0\ne", "1\ne", "2\ne"]
    assert answers[1].command == tuple(commands[1])


def test_no_more_run_at_once_than_may(tmp_path):
    code = "import os, sys, time; p = sys.argv[1]; open(p + str(os.getpid()), 'w'); n = len(os.listdir(p))\n"
    code += "time.sleep(0.2); print(n); os.unlink(p + str(os.getpid()))"
    answers = run_commands([[*PYTHON, code, f"{tmp_path}/"]] * 5, 60, at_once=2)
    assert max(int(answer.output) for answer in answers) <= 2


def test_what_takes_too_long_is_ended_and_what_was_waiting_is_not_waited_for():
    began = time.monotonic()
    answers = run_commands([[*PYTHON, "import time; print('here', flush=True); time.sleep(60)"]] * 2, 1.0)
    assert time.monotonic() - began < 20
    assert [answer.status for answer in answers] == [None, None]


def test_long_output_blocks_nobody():
    assert len(run_command([*PYTHON, "print('x' * 10_000_000)"], 60).output) == 10_000_001


def test_a_program_that_is_not_there_is_an_error():
    with pytest.raises(OSError):
        run_command(["no-such-program-here"], 5)


@pytest.mark.skipif(os.name == "nt", reason="a shell")
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_nothing_running(tmp_path, monkeypatch, interrupt):
    import subprocess

    def wait(process, timeout=None, real=subprocess.Popen.wait):
        if timeout is not None and (tmp_path / "child").exists():
            raise interrupt
        return real(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    with pytest.raises(interrupt):
        run_command(
            ["sh", "-c", f"sh -c 'echo $$ > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/child; sleep 60'; true"], 60
        )
    began = time.monotonic()
    with pytest.raises(ProcessLookupError):
        while time.monotonic() - began < 20:
            os.kill(int((tmp_path / "child").read_text()), 0)
            time.sleep(0.02)
