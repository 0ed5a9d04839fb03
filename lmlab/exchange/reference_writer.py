"""A model behind an OpenAI-compatible address (llama.cpp, Ollama, vLLM, a provider), as a reference beside one's own models.

Nothing is sent unless the user gives the address. The key, if the server wants one, is that of OPENAI_API_KEY.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmlab import LabError, __version__

TIMEOUT_SECONDS = 120.0
LARGEST_ANSWER = 1 << 22
KEY = "OPENAI_API_KEY"


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
        if not address.startswith(("http://", "https://")):
            raise LabError(
                f"--reference {address[:80]!r} is no address: expected one such as http://127.0.0.1:11434/v1"
            )
        self.address = address.rstrip("/")
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
        value = self._post(body)
        try:
            choice = value["choices"][0]
            text = choice["message"]["content"] or ""
            tokens = value.get("usage", {}).get("completion_tokens")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise LabError(f"{self.address} gave no chat completion: expected choices with a message") from None
        if not isinstance(text, str):
            raise LabError(f"{self.address} gave no text: expected one in the message's content")
        seconds = time.perf_counter() - began
        reason = str(choice.get("finish_reason"))[:20]
        return {"prompt": prompt, "text": text, "tokens": tokens, "seconds": seconds, "reason": reason}

    def _post(self, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", "User-Agent": f"lmlab/{__version__}"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        address = f"{self.address}/chat/completions"
        request = urllib.request.Request(address, data=json.dumps(body).encode(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                return json.loads(response.read(LARGEST_ANSWER))
        except urllib.error.HTTPError as error:
            error.close()
            hint = f"; is {KEY} set?" if error.code in (401, 403) else ""
            raise LabError(f"{address} answered {error.code} {error.reason}{hint}") from None
        except (OSError, ValueError) as error:
            raise LabError(f"{address} can't be asked ({error}): expected an OpenAI-compatible server there") from None
