"""A run's model in this process as the partner of a dialogue: with its template, or as a base model that continues the text."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from lmlab.experiment.loaded import Loaded
from lmlab.generation.chat import Conversation
from lmlab.generation.settings import Sampling
from lmlab.recipe.template import Message, Template
from lmlab.serve.dialogue import Answered, shortened
from lmlab.serve.prompting import prompt_ids


class LocalPartner:
    """See `Partner`."""

    def __init__(self, loaded: Loaded, template: Template | None) -> None:
        """`template` None: a base model."""
        self._loaded, self._template = loaded, template

    @property
    def about(self) -> str:
        """See `Partner`."""
        kind = f"template {self._template.name}" if self._template else "base model, continues the text"
        return f"{self._loaded.run.name}@{self._loaded.step} ({kind})"

    @property
    def takes_system(self) -> bool:
        """See `Partner`."""
        return self._template is not None

    def answer(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        on_text: Callable[[str], object],
        stop_requested: Callable[[], bool],
    ) -> Answered:
        """See `Partner`. LabError if the tokenizer can't encode the prompt."""
        began, first = time.perf_counter(), []

        def shown(_: int, text: str) -> None:
            first.append(time.perf_counter() - began)
            on_text(text)

        if self._template is not None:
            sampling = dataclasses.replace(sampling, stop=(*sampling.stop, *self._template.stop))
        (found,) = self._loaded.complete(
            [self._prompt(messages, sampling.tokens)], sampling, on_text=shown, stop_requested=stop_requested
        )
        seconds = time.perf_counter() - began
        return Answered(
            text=found.text, tokens=found.tokens, seconds=seconds, first_seconds=first[0] if first else None
        )

    def _prompt(self, messages: Sequence[Message], tokens: int) -> str | list[int]:
        """Return the text or the tokens before the answer, without the oldest turns if prompt and answer wouldn't fit the context.

        The text may always take half of the context, and the last message is kept.
        """
        tokenizer, context = self._loaded.tokenizer, self._loaded.model.context
        if self._template is None:
            conversation = Conversation()
            for message in messages:
                said = message.role == "user"
                conversation = (
                    conversation.said(message.content, tokenizer) if said else conversation.answered(message.content)
                )
            return conversation.within(tokenizer, context, tokens).text
        available = max(context - tokens, context // 2)
        fewer: Sequence[Message] | None = messages
        while fewer is not None:
            prompt = prompt_ids(tokenizer, self._template, fewer)
            if len(prompt) <= available:
                break
            fewer = shortened(fewer)
        return prompt
