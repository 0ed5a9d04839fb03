"""`lmlab serve`: its flags, and a server as a user starts and stops it."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest


@pytest.mark.parametrize(
    "words, part",
    [
        (["--port", "70000"], "--port 70000"),
        (["--batch", "0"], "--batch 0"),
        (["--queue", "0"], "--queue 0"),
        (["--most-tokens", "0"], "--most-tokens 0"),
        (["--nothing"], "no --nothing"),
    ],
)
def test_a_flag_that_is_wrong_is_wrong_usage(lmlab, words, part):
    status, output, errors = lmlab("serve", "mine", *words)
    assert (status, output) == (2, "") and part in errors and errors.count("\n") == 1


def test_without_its_packages_it_says_what_to_install(lmlab, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status, _, errors = lmlab("serve", "mine")
    assert status == 1 and 'pip install "lmlab[serve]"' in errors


@pytest.mark.parametrize("token", ["short", "a token with spaces in it", "ünïcödé-tökén-of-the-test"])
def test_a_token_that_no_header_can_have_or_is_short_is_refused_before_anything_is_loaded(lmlab, monkeypatch, token):
    pytest.importorskip("uvicorn")
    monkeypatch.setenv("LMLAB_SERVE_TOKEN", token)
    status, _, errors = lmlab("serve", "mine", "--host", "0.0.0.0")
    assert status == 1 and errors.startswith("lmlab: the token has")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs signals of POSIX")
def test_a_server_answers_until_sigterm_and_says_what_it_did(lmlab, small, tmp_path):
    pytest.importorskip("uvicorn")
    assert lmlab(*small)[0] == 0
    words = [sys.executable, "-m", "lmlab", "serve", "tiny-1", "--port", "0", "--host", "0.0.0.0"]
    environment = {**os.environ, "LMLAB_RUNS": str(tmp_path / "runs"), "LMLAB_SERVE_TOKEN": "a-token-of-the-test"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as server:
        lines = [server.stderr.readline()]
        while "Bearer" not in lines[-1]:
            lines.append(server.stderr.readline())
        port = re.search(r":(\d+)/v1,", "".join(lines))[1]
        body = json.dumps({"prompt": "The", "max_tokens": 5}).encode()
        headers = {"Content-Type": "application/json", "Authorization": "Bearer a-token-of-the-test"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.loads(response.read())["usage"]["completion_tokens"] == 5
        server.send_signal(signal.SIGTERM)
        rest = server.stderr.read()
    assert server.returncode == 0
    assert "1 requests, 1 texts, 5 tokens; first token after" in rest and "Traceback" not in rest
