"""Recommended settings from measured combinations: the fastest value of each setting, with its gain over the next one.

Two combinations are compared round by round, in the order of measurement, and the median of these ratios is reported: whatever
slows the machine temporarily slows both.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from lmlab.planning.benchmark.combinations import Combination
from lmlab.training.policy import Policy

WORTH_CHANGING = 1.05
"""A gain below five percent, or one that isn't seen in every round, counts as noise."""


class Compared(Protocol):
    """A row of a benchmark."""

    @property
    def combination(self) -> Combination:
        """The combination that was measured."""

    def round_seconds_a_sequence(self) -> list[float]:
        """Return the seconds per sequence of each round."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A setting of the recipe, and its gain on this machine."""

    setting: str
    value: str
    gain: float | None
    """Its throughput divided by that of `over`; None where there was no other value."""
    over: str
    """The value that it is compared with."""
    note: str = ""

    @property
    def line(self) -> str:
        """The advice as a line of text."""
        gain = f"{self.gain:.2f}x as fast as {self.over}" if self.gain is not None else "no other value was measured"
        return f"--{self.setting} {self.value}  ({gain}{'; ' + self.note if self.note else ''})"

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return asdict(self)


Setting = tuple[str, Callable[[Policy], str]]
SETTINGS: tuple[Setting, ...] = (
    ("train.precision", lambda policy: policy.precision),
    ("train.compile", lambda policy: "on" if policy.compile else "off"),
    ("train.engine", lambda policy: policy.engine),
    ("train.threads", lambda policy: str(policy.threads)),
)


GOES_ALONG = {
    "train.precision": ("train.engine",),
    "train.compile": ("train.engine",),
    "train.engine": ("train.threads",),
}
"""Setting -> other settings that may differ where two of its values are compared: the native engine has only one precision, and
each engine has its own best number of threads."""


def gain(faster: Compared, slower: Compared) -> float:
    """Return the ratio of throughputs, faster to slower: the median over rounds."""
    return statistics.median(_ratios(faster, slower))


def is_worth_changing(faster: Compared, slower: Compared) -> bool:
    """Return whether one is faster by 5 % or more in every round."""
    return min(_ratios(faster, slower)) >= WORTH_CHANGING


def _ratios(faster: Compared, slower: Compared) -> list[float]:
    """Return the ratio of throughputs in each round that both have."""
    pairs = zip(slower.round_seconds_a_sequence(), faster.round_seconds_a_sequence(), strict=False)
    return [one / other for one, other in pairs]


def advise(base: Combination, rows: Sequence[Compared], batch: int) -> list[Advice]:
    """Return the best batch, precision, compilation, engine and threads of those measured; `batch` is the recipe's.

    A value other than `base`'s is only recommended for a gain of 5 % or more in every round.
    """
    at_base = next((row for row in rows if row.combination == base), None)
    if at_base is None:
        return []
    advice = [_batch_advice(base, rows, at_base, batch)]
    same_batch = [row for row in rows if row.combination.batch == base.batch]
    for name, value_of in SETTINGS:
        if base.policy.device != "cpu" and name in ("train.engine", "train.threads"):
            continue
        advice.append(_setting_advice(name, value_of, base, same_batch, at_base))
    return advice


def _setting_advice(
    name: str, value_of: Callable[[Policy], str], base: Combination, rows: Sequence[Compared], at_base: Compared
) -> Advice:
    own = value_of(base.policy)
    others = _fastest_by_value(value_of, [row for row in rows if _differs_only_by(name, row, at_base)], at_base)
    others.pop(own, None)
    if not others:
        return Advice(setting=name, value=own, gain=None, over="")
    value, best = max(others.items(), key=lambda item: gain(item[1], at_base))
    if is_worth_changing(best, at_base):
        return Advice(setting=name, value=value, gain=gain(best, at_base), over=own, note=_besides(name, best, at_base))
    return Advice(setting=name, value=own, gain=gain(at_base, best), over=value, note=_besides(name, best, at_base))


def _fastest_by_value(
    value_of: Callable[[Policy], str], rows: Sequence[Compared], at_base: Compared
) -> dict[str, Compared]:
    """Return the fastest row of each value of a setting."""
    found: dict[str, Compared] = {}
    for row in rows:
        value = value_of(row.combination.policy)
        if value not in found or gain(row, at_base) > gain(found[value], at_base):
            found[value] = row
    return found


def _differs_only_by(name: str, row: Compared, at_base: Compared) -> bool:
    """Return whether two rows agree in all settings except this one and those in GOES_ALONG."""
    one, two = row.combination.policy, at_base.combination.policy
    free = (name, *GOES_ALONG.get(name, ()))
    return all(key in free or value(one) == value(two) for key, value in SETTINGS)


def _besides(name: str, other: Compared, at_base: Compared) -> str:
    """Return what else differs between two rows: another precision, for example, may need another engine."""
    one, two = other.combination.policy, at_base.combination.policy
    differing = [
        f"{key.partition('.')[2]} {value(one)}" for key, value in SETTINGS if value(one) != value(two) and key != name
    ]
    return f"measured with {', '.join(differing)}" if differing else ""


def _batch_advice(base: Combination, rows: Sequence[Compared], at_base: Compared, batch: int) -> Advice:
    """Return the advice on the micro-batch: the fastest of those that divide the recipe's batch; its own without a clear gain."""
    alike = [row for row in rows if row.combination.policy == base.policy]
    possible = [row for row in alike if batch % row.combination.batch == 0]
    fastest = max(alike, key=lambda row: gain(row, at_base))
    note = ""
    if is_worth_changing(fastest, at_base) and fastest.combination.batch > batch:
        many = fastest.combination.batch
        note = f"--train.batch {many} would be x{gain(fastest, at_base):.2f}, but it changes the training"
    best = max(possible, key=lambda row: gain(row, at_base), default=at_base)
    name, own = "train.micro_batch", base.batch
    if is_worth_changing(best, at_base):
        value = str(best.combination.batch)
        return Advice(setting=name, value=value, gain=gain(best, at_base), over=str(own), note=note)
    others = [row for row in possible if row is not at_base]
    if not others:
        return Advice(setting=name, value=str(own), gain=None, over="", note=note)
    next_best = max(others, key=lambda row: gain(row, at_base))
    return Advice(
        setting=name, value=str(own), gain=gain(at_base, next_best), over=str(next_best.combination.batch), note=note
    )
