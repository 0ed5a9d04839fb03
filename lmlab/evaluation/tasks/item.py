"""One question of a benchmark task: answers to choose from, of which one is right."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """One possible answer: the probability of `answer` after `prompt` is its score."""

    prompt: str
    """The text before the answer; empty where a whole sentence is scored. Its trailing white space is scored with the answer."""
    answer: str
    """The text whose probability is scored, with the space that separates it from the prompt."""

    @property
    def text(self) -> str:
        """The prompt and the answer."""
        return self.prompt + self.answer

    @property
    def answer_bytes(self) -> int:
        """Bytes of the answer in UTF-8, without white space around it: what `normalised per byte` divides by."""
        return len(self.answer.strip().encode("utf-8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question."""

    options: tuple[Option, ...]
    """At least one; a task with one option asks whether the model predicts it (LAMBADA)."""
    gold: int
    """Index of the right option."""
    cluster: str = ""
    """Items with the same cluster aren't independent, such as questions on one passage; empty: independent of all others."""
    groups: tuple[str, ...] = ()
    """Its value for each of the task's groupings."""

    @property
    def right(self) -> Option:
        """The right option."""
        return self.options[self.gold]


def same_prompt(prompt: str, answers: list[str], gold: int, cluster: str = "") -> Item:
    """Return an item whose answers follow one prompt, each after a space."""
    return Item(options=tuple(Option(prompt, f" {answer}") for answer in answers), gold=gold, cluster=cluster)


def same_answer(prompts: list[str], answer: str, gold: int, cluster: str = "") -> Item:
    """Return an item whose prompts differ and are followed by one answer, after a space: a schema."""
    return Item(options=tuple(Option(prompt, f" {answer}") for prompt in prompts), gold=gold, cluster=cluster)
