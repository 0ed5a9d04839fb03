"""Text after prompts: the decoding loop.

    prompts -> tokens -> windows -> [read -> filter -> draw -> text] for each token -> completions

What a prompt's text is depends on the model, the settings and the prompt only, not on the other prompts: its random
numbers are its own (`draw.py`), and a token that no longer fits the context moves that text's window alone. Logits of a
batch can differ from those of a single row in their last bits, which can tip a draw that was that close.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer
from lmlab.generation.draw import draw, likeliest, uniform
from lmlab.generation.filters import filtered, penalise_repeats
from lmlab.generation.group import Group
from lmlab.generation.prompts import encode_prompts, first_token
from lmlab.generation.settings import Sampling
from lmlab.generation.writer import Completion, Writer
from lmlab.model import LanguageModel

ROWS_AT_ONCE = 32
"""Texts written side by side: enough to fill a processor, few enough for their caches (75 MB each for GPT-2 124M)."""

OnText = Callable[[int, str], None]


def generate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    sampling: Sampling = Sampling(),  # noqa: B008 - a frozen value
    *,
    on_text: OnText | None = None,
    stop_requested: Callable[[], bool] | None = None,
) -> list[Completion]:
    """What `model` writes after each prompt; for several samples of a prompt, repeat it.

    An empty prompt starts from the end of text where there is one, else from a newline where the vocabulary has it,
    else from token 0. Of a prompt longer than the context, the model reads the last `model.context` tokens. When the
    context is full, the text goes on from its most recent half (`model.context // 2` tokens, the newest among them).

    `on_text(number of the prompt, text)` gets each text in pieces as soon as they are certain: whole characters,
    nothing of a stop string; joined they are the completion's text. `stop_requested` is asked before each token and
    ends all texts where they are. LabError where a prompt holds symbols that the tokenizer refuses.
    """
    began = time.perf_counter()
    writers = _writers(model, tokenizer, prompts, sampling)
    done: dict[int, Completion] = {}

    def tell(writer: Writer, piece: str) -> None:
        if piece and on_text is not None:
            on_text(writer.number, piece)
        if writer.reason is not None:
            done[writer.number] = writer.completion(time.perf_counter() - began)

    mode = model.training
    model.train(False)
    try:
        with torch.inference_mode():
            for first in range(0, len(writers), ROWS_AT_ONCE):
                groups = [Group(model, writers[first : first + ROWS_AT_ONCE])]
                while groups and not (stop_requested is not None and stop_requested()):
                    groups = [rest for group in groups for rest in _step(model, group, tokenizer, sampling, tell)]
    finally:
        model.train(mode)
    for writer in writers:
        if writer.reason is None:
            tell(writer, writer.end("stopped"))
    return [done[number] for number in range(len(writers))]


def _step(
    model: LanguageModel,
    group: Group,
    tokenizer: Tokenizer,
    sampling: Sampling,
    tell: Callable[[Writer, str], None],
) -> list[Group]:
    """One token more for each text of the group; what remains of it, and a new group of those whose window moved."""
    # A model may have more rows in its head than the tokenizer has tokens.
    tokens = _draw(group.logits()[:, : tokenizer.vocabulary_size].float(), group.writers, sampling)
    staying, moved = [], []
    for row, (writer, token) in enumerate(zip(group.writers, tokens, strict=True)):
        piece, window_moved = writer.take(token, tokenizer)
        tell(writer, piece)
        if writer.reason is None and window_moved:
            moved.append(writer)
        elif writer.reason is None:
            staying.append(row)
    rest = []
    if staying:
        group.keep(staying)
        rest.append(group)
    return [*rest, Group(model, moved)] if moved else rest


def _draw(logits: Tensor, writers: Sequence[Writer], sampling: Sampling) -> list[int]:
    """The next token of each row."""
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    if sampling.repetition_penalty != 1.0:
        for row, writer in enumerate(writers):
            seen[row, list(writer.seen)] = True
    seen = seen.to(logits.device)
    if sampling.temperature == 0.0:
        return likeliest(penalise_repeats(logits, seen, sampling.repetition_penalty)).tolist()
    uniforms = [uniform(writer.key, writer.drawn) for writer in writers]
    return draw(filtered(logits, seen, sampling), uniforms).tolist()


def _writers(model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str], sampling: Sampling) -> list[Writer]:
    if isinstance(prompts, str):
        raise LabError("prompts is one text: expected a sequence of prompts, such as [prompt]")
    start = first_token(tokenizer)
    counts: Counter[tuple[int, ...]] = Counter()
    writers = []
    for number, (prompt, ids) in enumerate(zip(prompts, encode_prompts(tokenizer, prompts), strict=True)):
        writers.append(Writer(number, prompt, ids, start, counts[tuple(ids)], model.context, sampling))
        counts[tuple(ids)] += 1
    return writers
