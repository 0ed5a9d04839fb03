"""What every part of the benchmarks is told, and what it gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.results import Comparison, Measurement, Skipped
from benchmarks.shapes import SMOKE, Shape
from benchmarks.turns import Turns, Unavailable, Worker
from benchmarks.worker import start
from lmlab import LabError

NO_CHECKOUT = "no checkout of nanoGPT was given: --nanogpt PATH"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags that parts share."""

    nanogpt: Path | None = None
    """A checkout of nanoGPT with data/shakespeare_char prepared."""
    text: Path | None = None
    """The corpus; none: the text in that checkout."""
    threads: int = 2
    rounds: int = 7
    turn_seconds: float = 2.0
    """How long a side computes in each round."""
    quick: bool = False
    """A smoke run: tiny shapes, one short round."""
    compiled: bool = False
    """Measure with torch.compile too, which costs minutes."""

    @property
    def corpus(self) -> Path:
        """The text that is trained on."""
        if self.text is not None:
            return self.text
        if self.nanogpt is None:
            raise LabError("which text? Expected --corpus FILE (tiny Shakespeare), or --nanogpt PATH, which has it")
        return self.nanogpt / "data" / "shakespeare_char" / "input.txt"

    def shapes(self, wanted: Iterable[Shape]) -> tuple[Shape, ...]:
        """Those shapes, or the smoke run's."""
        return SMOKE if self.quick else tuple(wanted)

    def side(self, task: str, shape: Shape, threads: int | None = None, **arguments: Any) -> Callable[[], Worker]:
        """A side for `take_turns`: a worker function that is given that shape, the corpus and the threads."""
        values = {"shape": dataclasses.asdict(shape), "corpus": str(self.corpus.resolve()), **arguments}
        return lambda: start(task, threads or self.threads, **values)

    def nanogpt_side(
        self, task: str, shape: Shape, threads: int | None = None, **arguments: Any
    ) -> Callable[[], Worker]:
        """The same with nanoGPT's checkout; where none was given, a side that is unavailable."""
        if self.nanogpt is None:
            return unavailable(NO_CHECKOUT)
        values = {"shape": dataclasses.asdict(shape), "checkout": str(self.nanogpt.resolve()), **arguments}
        return lambda: start(f"benchmarks.nanogpt:{task}", threads or self.threads, **values)


@dataclass
class Found:
    """What a part found, added up case by case."""

    measurements: list[Measurement] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def skip(self, case: str, side: str, reason: str) -> None:
        """Note what is left out."""
        self.skipped.append(Skipped(case=case, side=side, reason=reason))

    def skip_unavailable(self, case: str, turns: Turns) -> None:
        """Note the sides that couldn't be measured."""
        for side, reason in turns.unavailable.items():
            self.skip(case, side, reason)


def unavailable(reason: str) -> Callable[[], Worker]:
    """A side that can't be measured."""

    def refuse() -> Worker:
        raise Unavailable(reason)

    return refuse


def rates(turns: Turns, case: str, quantity: str, unit: str = "tokens/s") -> list[Measurement]:
    """For each side that counts tokens, how many it did a second in each round."""
    return [
        Measurement(
            case=case,
            side=side,
            quantity=quantity,
            unit=unit,
            samples=turns.rates(side, facts["tokens"]),
            details={**_beside(facts), "units_a_turn": turns.units[side]},
        )
        for side, facts in turns.facts.items()
        if "tokens" in facts
    ]


def _beside(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != "tokens"}
