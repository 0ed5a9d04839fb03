"""What a request asks for, read from its JSON: prompts as tokens, and the settings of each text.

Fields and limits are OpenAI's, with `top_k`, `min_p` and `repetition_penalty` as in vLLM. A field that isn't supported is refused
by name, unless its value asks for nothing.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmlab.generation.choice import Text
from lmlab.generation.settings import Sampling
from lmlab.generation.writer import Writer
from lmlab.recipe.template import Template
from lmlab.serve.errors import ApiError, invalid
from lmlab.serve.fields import Fields, shown, wrong
from lmlab.serve.request_prompts import chat_prompt, completion_prompts
from lmlab.serve.served import Limits, Served

MOST_STOPS, LONGEST_STOP = 16, 1000
MOST_BIASES, STRONGEST_BIAS = 1024, 100.0
MOST_ALTERNATIVES = 20
DEFAULT_TOKENS = 16
HOTTEST = 100.0
SEEDS = 1 << 63
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
"""Fields of both interfaces that aren't supported, with the values that ask for nothing."""
NEUTRAL_COMPLETION = {**NEUTRAL, "best_of": (1,), "suffix": ("",)}
NEUTRAL_CHAT: dict[str, tuple[Any, ...]] = {
    **NEUTRAL,
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none",),
    "metadata": ({},),
    "reasoning_effort": ("none",),
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that is valid."""

    prompts: tuple[tuple[int, ...], ...]
    """Tokens of each prompt, as the client gave them."""
    texts: tuple[str, ...]
    """The text of each prompt, which `echo` repeats; empty in a chat, which has none."""
    sampling: Sampling | None
    """None: no token is generated."""
    n: int
    bias: Mapping[int, float]
    alternatives: int | None
    """Alternatives beside each token's log-probability; None: no log-probabilities."""
    echo: bool
    stream: bool
    usage: bool
    """Whether a stream ends with the number of tokens."""

    @property
    def choices(self) -> int:
        """Number of texts of the answer."""
        return len(self.prompts) * self.n

    def new_texts(self, served: Served) -> list[Text]:
        """Return the texts to generate, `n` for each prompt in order; equal prompts are numbered on, as by `lmlab sample`."""
        if self.sampling is None:
            return []
        counts: Counter[tuple[int, ...]] = Counter()
        texts: list[Text] = []
        for prompt in self.prompts:
            whole = served.whole(prompt)
            for _ in range(self.n):
                sample = counts[tuple(whole)]
                counts[tuple(whole)] += 1
                number, context = len(texts), served.model.context
                writer = Writer(number, "", whole, served.first, sample, context, self.sampling, served.spelling)
                texts.append(
                    Text(writer=writer, sampling=self.sampling, bias=self.bias, alternatives=self.alternatives)
                )
        return texts


def read_completion(value: Any, served: Served, limits: Limits) -> Asked:
    """Return what a request to /v1/completions asks for; ApiError if it is invalid."""
    fields = Fields(value)
    require_model(fields, served)
    prompts, texts = completion_prompts(fields.take("prompt"), served)
    tokens = fields.whole("max_tokens", DEFAULT_TOKENS, 0, limits.tokens)
    alternatives = fields.whole("logprobs", None, 0, MOST_ALTERNATIVES)
    echo = fields.truth("echo")
    return _asked(
        fields, served, limits, prompts, texts, tokens or 0, alternatives, echo=echo, neutral=NEUTRAL_COMPLETION
    )


def read_chat(value: Any, served: Served, limits: Limits) -> Asked:
    """Return what a request to /v1/chat/completions asks for; ApiError if it is invalid, or the model has no template."""
    fields = Fields(value)
    require_model(fields, served)
    ids = chat_prompt(fields, served)
    alternatives = None
    reported, most = fields.truth("logprobs"), fields.whole("top_logprobs", None, 0, MOST_ALTERNATIVES)
    if reported:
        alternatives = most or 0
    elif most is not None:
        raise invalid("top_logprobs", "top_logprobs needs logprobs true: set it, or leave top_logprobs out")
    longest = min(limits.tokens, max(1, served.model.context - len(ids)))
    older = fields.whole("max_tokens", None, 1, limits.tokens)
    tokens = fields.whole("max_completion_tokens", older or longest, 1, limits.tokens)
    template = served.template
    return _asked(
        fields,
        served,
        limits,
        (tuple(ids),),
        ("",),
        tokens or 1,
        alternatives,
        template=template,
        neutral=NEUTRAL_CHAT,
    )


def require_model(fields: Fields, served: Served) -> None:
    """Refuse a request for another model."""
    name = fields.text("model", served.name)
    if name != served.name:
        raise ApiError(
            404,
            f"there is no model {shown(name)}: this server has {served.name}",
            code="model_not_found",
            field="model",
        )


def _asked(
    fields: Fields,
    served: Served,
    limits: Limits,
    prompts: tuple[tuple[int, ...], ...],
    texts: tuple[str, ...],
    tokens: int,
    alternatives: int | None,
    *,
    neutral: Mapping[str, tuple[Any, ...]],
    echo: bool = False,
    template: Template | None = None,
) -> Asked:
    """Read the fields that both interfaces have, and refuse what is left."""
    n = fields.whole("n", 1, 1, limits.choices) or 1
    if len(prompts) * n > limits.choices:
        raise invalid("n", f"{len(prompts)} prompts times n {n}: expected at most {limits.choices} texts in a request")
    seed = fields.whole("seed", None, -SEEDS, SEEDS - 1)
    sampling = Sampling(
        temperature=fields.number("temperature", 1.0, 0.0, HOTTEST),
        top_k=max(0, fields.whole("top_k", 0, -1, served.tokenizer.vocabulary_size) or 0),
        top_p=_top_p(fields),
        min_p=fields.number("min_p", 0.0, 0.0, 1.0),
        repetition_penalty=fields.number("repetition_penalty", 1.0, 0.01, HOTTEST),
        seed=secrets.randbelow(1 << 32) if seed is None else seed,
        tokens=max(1, tokens),
        stop=(*_stops(fields.take("stop")), *(template.stop if template else ())),
    )
    bias = _bias(fields.take("logit_bias"), served.tokenizer.vocabulary_size)
    stream = fields.truth("stream")
    usage = _usage(fields.take("stream_options"), stream)
    fields.text("user")  # names the client's user, and asks for nothing
    fields.done(neutral)
    return Asked(
        prompts=prompts,
        texts=texts,
        sampling=sampling if tokens else None,
        n=n,
        bias=bias,
        alternatives=alternatives,
        echo=echo,
        stream=stream,
        usage=usage,
    )


def _stops(value: Any) -> tuple[str, ...]:
    values = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(values, list) or len(values) > MOST_STOPS:
        raise wrong("stop", value, f"a text, or a list of at most {MOST_STOPS} texts")
    for one in values:
        if not isinstance(one, str) or not 1 <= len(one) <= LONGEST_STOP:
            raise invalid("stop", f"stop has {shown(one)}: expected texts of 1 to {LONGEST_STOP} characters")
    return tuple(values)


def _top_p(fields: Fields) -> float:
    share = fields.number("top_p", 1.0, 0.0, 1.0)
    if share == 0:
        raise wrong("top_p", 0, "a number above 0 and at most 1 (temperature 0 takes the likeliest token)")
    return share


def _bias(value: Any, vocabulary: int) -> dict[int, float]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MOST_BIASES:
        raise wrong("logit_bias", value, f"an object of at most {MOST_BIASES} tokens with a number each")
    found = {}
    for name, bias in value.items():
        if not (name.isascii() and name.isdigit() and len(name) < 10 and int(name) < vocabulary):
            raise invalid("logit_bias", f"logit_bias has the token {shown(name)}: expected 0 to {vocabulary - 1}")
        if type(bias) not in (int, float) or not -STRONGEST_BIAS <= bias <= STRONGEST_BIAS:
            raise invalid("logit_bias", f"logit_bias of {name} is {shown(bias)}: expected a number from -100 to 100")
        found[int(name)] = float(bias)
    return found


def _usage(value: Any, stream: bool) -> bool:
    if value is None:
        return False
    if not stream:
        raise invalid("stream_options", "stream_options needs stream true: set it, or leave stream_options out")
    fields = Fields(value) if isinstance(value, dict) else None
    if fields is None:
        raise wrong("stream_options", value, "an object such as {'include_usage': true}")
    usage = fields.truth("include_usage")
    fields.done({"include_obfuscation": (False,)})
    return usage
