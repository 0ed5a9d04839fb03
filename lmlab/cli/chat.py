"""`lmlab chat`: chat with a trained model in turns, here or at an address."""

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
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_text
from lmlab.training.table import Column, Table

if TYPE_CHECKING:
    from lmlab.serve.dialogue import Dialogue, Partner


@dataclass(frozen=True, kw_only=True)
class Chat(Drawing):
    """Chat with a run's model in turns, or with one behind an address. Ctrl-C stops an answer.

    A model that was tuned on conversations answers; a base model continues the text so far.
    """

    target: tyro.conf.Positional[str]
    """RUN, RUN@best (the default), RUN@latest, RUN@STEP or RUN@init; or an address, such as http://127.0.0.1:8000."""
    system: str = ""
    """The system message of a tuned model."""
    template: str = ""
    """How the conversation becomes text, for a model that wasn't tuned with a template: alpaca, chatml, phi3 or plain."""
    model: str = ""
    """With an address: the model's name there, if the server has several."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""


def run(arguments: list[str]) -> int:
    """Parse, then answer line by line; return the exit status."""
    flags = parse(Chat, arguments, "lmlab chat")
    from lmlab.serve.dialogue import ADVICE, COMMANDS, SHORT_HELP, Dialogue, command, is_command

    dialogue = Dialogue(sampling=sampling_of(flags))
    partner = _partner(flags)
    if flags.system:
        dialogue, _ = command(dialogue, f"/system {flags.system}", partner.takes_system)
    show(f"{partner.about}; {SHORT_HELP}", file=sys.stderr)
    for line in _turns():
        if line.strip() == "/quit":
            break
        try:
            if line.strip() == "/help":
                columns = (Column("command"), Column("what it does", wraps=True))
                show(Table(columns=columns, rows=tuple(COMMANDS.items())), ADVICE, file=sys.stderr)
            elif line.strip() == "/retry":
                dialogue = _answered(partner, dialogue.retried())
            elif is_command(line):
                dialogue, done = command(dialogue, line, partner.takes_system)
                show(done, file=sys.stderr)
            else:
                dialogue = _answered(partner, dialogue.said(line.removeprefix(" ") if line[1:2] == "/" else line))
        except LabError as error:
            show(f"lmlab: {error}", file=sys.stderr)
    return 0


def _partner(flags: Chat) -> Partner:
    """Return the model to chat with: a run's, or one behind an address."""
    from lmlab.serve.client import RemotePartner, is_address

    if is_address(flags.target):
        if flags.template or flags.draft:
            name = "--template" if flags.template else "--draft"
            raise UsageError(f"{name} is for a run in this process: leave it out with an address")
        return RemotePartner(flags.target, flags.model)
    if flags.model:
        raise UsageError("--model names a model of a server: leave it out with a run")
    from lmlab.experiment.loaded import load
    from lmlab.serve.local import LocalPartner
    from lmlab.serve.served import template_of

    loaded = load(flags.target, runs_folder(flags.runs), flags.device)
    for warning in loaded.warnings:
        show(warning, file=sys.stderr)
    return LocalPartner(loaded, template_of(loaded.run, flags.template))


def _answered(partner: Partner, dialogue: Dialogue) -> Dialogue:
    """Return the dialogue with the partner's answer, which is printed while it's generated."""
    from lmlab.training.signals import StopRequests

    with StopRequests(set) as requests:
        answer = partner.answer(
            dialogue.messages(),
            dialogue.next_sampling(),
            lambda text: show_text(text, end=""),
            lambda: requests.reason is not None,
        )
    show_text("")
    if requests.reason not in (None, "SIGINT"):
        raise KeyboardInterrupt
    show(f"[{answer.figures()}]", file=sys.stderr)
    return dialogue.answered(answer.text)


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
