"""`lmlab chat`: chat with a trained model in turns."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from lmlab import LabError
from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.drawing import Drawing, sampling_of
from lmlab.cli.printing import show, show_text

if TYPE_CHECKING:
    from lmlab.experiment.loaded import Loaded
    from lmlab.generation.chat import Conversation
    from lmlab.generation.settings import Sampling

HELP = "/reset forgets the conversation, /quit ends, /help shows this; a line that ends in \\ continues in the next one"


@dataclass(frozen=True, kw_only=True)
class Chat(Drawing):
    """Chat with a run's model in turns: it continues the conversation so far. Ctrl-C stops an answer."""

    target: tyro.conf.Positional[str]
    """RUN, RUN@best (the default), RUN@latest, RUN@STEP or RUN@init."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""


def run(arguments: list[str]) -> int:
    """Parse, then answer line by line; return the exit status."""
    flags = parse(Chat, arguments, "lmlab chat")
    from lmlab.experiment.loaded import load
    from lmlab.generation.chat import Conversation

    sampling = sampling_of(flags)
    loaded = load(flags.target, runs_folder(flags.runs), flags.device)
    for warning in loaded.warnings:
        show(warning, file=sys.stderr)
    show(f"{loaded.run.name}@{loaded.step}; {HELP}", file=sys.stderr)
    conversation = Conversation()
    for line in _turns():
        if line == "/quit":
            break
        if line == "/reset":
            conversation = conversation.reset()
        elif line == "/help":
            show(HELP, file=sys.stderr)
        else:
            try:
                conversation = _answer(loaded, conversation, line, sampling)
            except LabError as error:
                show(f"lmlab: {error}", file=sys.stderr)
    return 0


def _answer(loaded: Loaded, conversation: Conversation, line: str, sampling: Sampling) -> Conversation:
    """Return the conversation with this line and the model's answer, which is printed while it's generated."""
    from lmlab.training.signals import StopRequests

    said = conversation.said(line, loaded.tokenizer)
    said = said.within(loaded.tokenizer, loaded.model.context, sampling.tokens)
    with StopRequests(set) as requests:
        answer = loaded.complete(
            [said.text],
            sampling,
            on_text=lambda _, text: show_text(text, end=""),
            stop_requested=lambda: requests.reason is not None,
        )[0]
    show_text("")
    if requests.reason not in (None, "SIGINT"):
        raise KeyboardInterrupt
    return said.answered(answer.text)


def _turns() -> Iterator[str]:
    """Yield lines of standard input, joining those that end in a backslash with the next; until it ends, or Ctrl-C."""
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - input() then edits lines
    parts: list[str] = []
    while True:
        try:
            line = _line("... " if parts else "> ")
        except KeyboardInterrupt:
            show("")
            return
        if line is None:
            break
        parts.append(line.removesuffix("\\"))
        if line.endswith("\\"):
            continue
        if any(part.strip() for part in parts):
            yield "\n".join(parts)
        parts = []
    if any(part.strip() for part in parts):
        yield "\n".join(parts)


def _line(prompt: str) -> str | None:
    """Return the next line without its end; None at the end of the input."""
    if sys.stdin.isatty():
        try:
            return input(prompt)
        except EOFError:
            show("")
            return None
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError as error:
        raise LabError(f"standard input is not text: {error}; expected {error.encoding}") from None
    return line.rstrip("\r\n") if line else None
