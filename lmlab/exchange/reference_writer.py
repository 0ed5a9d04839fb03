"""A model behind an OpenAI-compatible address (llama.cpp, Ollama, vLLM, a provider), as a reference beside one's own models.

Nothing is sent unless the user gives the address. The key, if the server wants one, is that of OPENAI_API_KEY.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmlab.exchange.chat_completions import chat, require_address

TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The settings of an answer."""

    tokens: int
    temperature: float
    top_p: float
    seed: int
    stop: tuple[str, ...]


class ReferenceWriter:
    """Answers prompts by chat completions, one request a prompt."""

    warnings: tuple[str, ...] = ()

    def __init__(self, address: str, model: str) -> None:
        """`address` is the base of the interface, such as http://127.0.0.1:11434/v1; LabError if it isn't one."""
        self.address = require_address(address, "--reference")
        self.name = model or self.address

    def answers(self, prompts: Sequence[str], asked: Asked) -> list[dict[str, Any]]:
        """Return the answer to each prompt: text, tokens, seconds and reason. LabError where the server fails."""
        return [self._answer(prompt, asked) for prompt in prompts]

    def _answer(self, prompt: str, asked: Asked) -> dict[str, Any]:
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": asked.tokens,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "seed": asked.seed,
            **({"stop": list(asked.stop)} if asked.stop else {}),
        }
        began = time.perf_counter()
        answer = chat(self.address, body, TIMEOUT_SECONDS)
        seconds = time.perf_counter() - began
        return {
            "prompt": prompt,
            "text": answer.text,
            "tokens": answer.completion_tokens,
            "seconds": seconds,
            "reason": answer.reason,
        }
