"""`lmlab serve`: serve a run's model with OpenAI's interface."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass

import tyro

from lmlab import LabError
from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show

PACKAGES = ("starlette", "uvicorn")
TOKEN = "LMLAB_SERVE_TOKEN"
MOST_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve a run's model on this machine: /v1/completions, /v1/chat/completions and a chat page. Ctrl-C stops.

    Many requests are computed together, token by token (continuous batching).
    """

    target: tyro.conf.Positional[str]
    """RUN, RUN@best (the default), RUN@latest, RUN@STEP or RUN@init."""
    name: str = ""
    """The model's name in the interface; default: the run's."""
    template: str = ""
    """How conversations become text, for a model that wasn't tuned with a template: alpaca, chatml, phi3 or plain."""
    host: str = "127.0.0.1"
    """The address to listen at; any other than this machine's own (127.0.0.1, ::1) needs a token of every request."""
    port: int = 8000
    """The port to listen at; 0: any that is free."""
    token: str = ""
    """Ask for this token; default: LMLAB_SERVE_TOKEN, else none on loopback, and a new one, which is printed, elsewhere."""
    batch: int = 32
    """Generate at most this many texts together: more give more tokens/s, and each text is slower."""
    queue: int = 256
    """At most this many texts wait; further requests get the status 503."""
    most_tokens: int = 4096
    """At most this many tokens for a text."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""


def run(arguments: list[str]) -> int:
    """Parse, load, serve until a signal; return the exit status."""
    flags = parse(Serve, arguments, "lmlab serve")
    for name, most in (("batch", 1024), ("queue", 100_000), ("most_tokens", 1_000_000)):
        if not 1 <= getattr(flags, name) <= most:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} {getattr(flags, name)}: expected 1 to {most:,}")
    if not 0 <= flags.port <= MOST_PORT:
        raise UsageError(f"--port {flags.port}: expected 0 (any) to {MOST_PORT}")
    if any(importlib.util.find_spec(package) is None for package in PACKAGES):
        raise LabError('lmlab serve needs starlette and uvicorn: pip install "lmlab[serve]"')
    from lmlab.experiment.loaded import load
    from lmlab.serve.running import Place, run_server
    from lmlab.serve.served import Limits, served_of

    place = Place(host=flags.host, port=flags.port, token=flags.token or os.environ.get(TOKEN, ""))
    place.required_token()
    loaded = load(flags.target, runs_folder(flags.runs), flags.device)
    for warning in loaded.warnings:
        show(warning, file=sys.stderr)
    served = served_of(loaded, flags.name, flags.template)
    limits = Limits(batch=flags.batch, queue=flags.queue, tokens=flags.most_tokens)
    run_server(served, limits, place, lambda line: show(line, file=sys.stderr, flush=True))
    return 0
