"""A dialogue with a model: its turns, the commands that change it, and what a partner is.

A partner is a model of a run in this process (`local.py`) or behind an address (`client.py`). Dialogues are immutable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lmlab import LabError
from lmlab.generation.settings import Sampling
from lmlab.recipe.template import Message

COMMANDS = {
    "/retry": "answers the last message again, with other random numbers",
    "/system TEXT": "sets the system message of a tuned model; without a text it removes it",
    "/temperature X": "sets the temperature",
    "/reset": "forgets the conversation",
    "/help": "shows this",
    "/quit": "ends",
}
ADVICE = "A line that ends in \\ continues in the next one; one that begins with a space is no command."
SHORT_HELP = "/help lists the commands, /quit ends, Ctrl-C stops an answer"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A partner's answer."""

    text: str
    tokens: int | None
    """None if the server doesn't say."""
    seconds: float
    first_seconds: float | None
    """Seconds to the first text; None if there was none."""

    def figures(self) -> str:
        """Return tokens, tokens per second and the time to the first text, in words."""
        parts = []
        if self.tokens is not None:
            parts.append(f"{self.tokens:,} token{'s' * (self.tokens != 1)}")
            if self.seconds > 0:
                parts.append(f"{self.tokens / self.seconds:,.0f} tokens/s")
        if self.first_seconds is not None:
            parts.append(f"first after {self.first_seconds:.2f} s")
        return ", ".join(parts)


class Partner(Protocol):
    """A model that answers."""

    @property
    def about(self) -> str:
        """Its name and kind, for the person who chats."""

    @property
    def takes_system(self) -> bool:
        """Whether it knows system messages."""

    def answer(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        on_text: Callable[[str], object],
        stop_requested: Callable[[], bool],
    ) -> Answered:
        """Return the answer to the last message; pieces of it are passed to `on_text` as they are generated."""


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """The turns so far, and the settings of the next answer."""

    sampling: Sampling
    turns: tuple[Message, ...] = ()
    """Of user and assistant in turns, the user first."""
    system: str = ""
    retries: int = 0
    """How many answers to the last message were discarded."""

    def said(self, text: str) -> Dialogue:
        """Return the dialogue with a message of the user."""
        return dataclasses.replace(self, turns=(*self.turns, Message(role="user", content=text)), retries=0)

    def answered(self, text: str) -> Dialogue:
        """Return the dialogue with the partner's answer."""
        return dataclasses.replace(self, turns=(*self.turns, Message(role="assistant", content=text)))

    def retried(self) -> Dialogue:
        """Return the dialogue without its last answer. LabError if there is none."""
        if not self.turns:
            raise LabError("there is no answer to repeat: say something first")
        return dataclasses.replace(self, turns=self.turns[:-1], retries=self.retries + 1)

    def messages(self) -> tuple[Message, ...]:
        """Return the system message, if there is one, and the turns."""
        system = (Message(role="system", content=self.system),) if self.system else ()
        return (*system, *self.turns)

    def next_sampling(self) -> Sampling:
        """Return the settings of the next answer: another seed for every retry."""
        return dataclasses.replace(self.sampling, seed=self.sampling.seed + self.retries)


def is_command(line: str) -> bool:
    """Return whether a line is a command, and not a message."""
    return line.startswith("/")


def command(dialogue: Dialogue, line: str, takes_system: bool) -> tuple[Dialogue, str]:
    """Return the dialogue after a command that asks for no answer, and a line about what it did. LabError if it can't be done."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name == "/reset":
        return Dialogue(sampling=dialogue.sampling, system=dialogue.system), "the conversation is forgotten"
    if name == "/system":
        if not takes_system:
            raise LabError("a base model knows no system message: begin the conversation with that text")
        return dataclasses.replace(dialogue, system=rest), "system message " + ("set" if rest else "removed")
    if name == "/temperature":
        try:
            sampling = dataclasses.replace(dialogue.sampling, temperature=float(rest))
        except ValueError:
            raise LabError(f"/temperature {rest[:20]}: expected a number, such as /temperature 0.7") from None
        return dataclasses.replace(dialogue, sampling=sampling), f"temperature {sampling.temperature:g}"
    raise LabError(f"there is no command {name[:40]}: /help lists them; begin the line with a space if it is a message")


def shortened(messages: Sequence[Message]) -> list[Message] | None:
    """Return the messages without the oldest message and its answer; None if only one is left."""
    turns = [message for message in messages if message.role != "system"]
    if len(turns) < 3:
        return None
    return [*(message for message in messages if message.role == "system"), *turns[2:]]
