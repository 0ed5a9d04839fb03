"""The decoding loop, which continues prompts.

    prompts -> tokens -> windows -> [read -> filter -> draw] -> text -> completions

The completion of a prompt depends only on the model, the settings and the prompt, not on the other prompts: it has its own random
numbers (`draw.py`), and its own window of the context. The steps in brackets are computed by the CPU engine for many tokens at a
time if the engine supports the model (`native.py`), else by PyTorch for one token at a time (`group.py`). In PyTorch, logits of a
batch can differ from those of a single row in their last bits, which in rare cases changes a sampled token; so can switching
between engine and PyTorch. In the engine they are equal.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import torch

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer
from lmlab.generation.group import Texts
from lmlab.generation.native import NativeTexts, native_texts
from lmlab.generation.prompts import encode_prompts, first_token
from lmlab.generation.settings import Sampling
from lmlab.generation.spelling import spelling_of
from lmlab.generation.writer import Completion, Writer
from lmlab.model.gpt import GPTModel
from lmlab.model.protocol import LanguageModel

ROWS_AT_ONCE = 32
"""Texts of a batch: enough to use a processor well, few enough for the memory of their caches (75 MB each for GPT-2 124M)."""

OnText = Callable[[int, str], None]


def generate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str | Sequence[int]],
    sampling: Sampling = Sampling(),  # noqa: B008 - a frozen value
    *,
    begin: int | None = None,
    on_text: OnText | None = None,
    stop_requested: Callable[[], bool] | None = None,
) -> list[Completion]:
    """Return `model`'s completion of each prompt; for several samples of a prompt, repeat it.

    An empty prompt starts from the end-of-text token if there is one, else from a newline if the vocabulary has it, else from
    token 0. Of a prompt longer than the context, the model reads the last `model.context` tokens. When the context is full, the
    window is cut to its last `model.context // 2` tokens, the newest one included. `begin` is a token that is put before every
    prompt, for models trained on documents that all begin with it. A prompt may also be tokens, which are read as they are.

    `on_text(index of the prompt, text)` is called with pieces of each text as soon as they are final: whole characters, and no part
    of a stop string; joined they are the completion's text. `stop_requested` is called before each token, with the CPU engine
    before each chunk of tokens, and ends all texts if it returns True. LabError if a prompt has symbols that the tokenizer can't
    encode, or draft tokens are requested of a recurrent model, whose state can't be rolled back after a wrong draft.
    """
    if sampling.draft and not isinstance(model, GPTModel):
        raise LabError("a draft is for models of kind gpt, whose state can be rolled back: leave --draft out")
    began = time.perf_counter()
    writers = _writers(model, tokenizer, prompts, sampling, begin)
    done: dict[int, Completion] = {}

    def report(writer: Writer, piece: str) -> None:
        if piece and on_text is not None:
            on_text(writer.number, piece)
        if writer.reason is not None:
            done[writer.number] = writer.completion(time.perf_counter() - began)

    watched = on_text is not None or stop_requested is not None or bool(sampling.stop)
    mode = model.training
    if mode:
        model.train(False)
    try:
        # Weights that are gathered for a pass can't be trained on after inference mode.
        with torch.no_grad() if getattr(model, "sharded", False) else torch.inference_mode():
            for first in range(0, len(writers), ROWS_AT_ONCE):
                some = writers[first : first + ROWS_AT_ONCE]
                texts = _texts(model, some, tokenizer.vocabulary_size, sampling, watched)
                while not (stop_requested is not None and stop_requested()) and (written := texts.write()):
                    for writer, tokens in written:
                        report(writer, writer.take(tokens))
    finally:
        if mode:
            model.train()
    for writer in writers:
        if writer.reason is None:
            report(writer, writer.end("stopped"))
    return [done[number] for number in range(len(writers))]


def _texts(
    model: LanguageModel, writers: Sequence[Writer], vocabulary: int, sampling: Sampling, watched: bool
) -> NativeTexts | Texts:
    """Return the texts of these writers, in the CPU engine if it supports the model."""
    texts = native_texts(model, writers, vocabulary, sampling, watched)
    return texts or Texts(model, writers, vocabulary, sampling)


def _writers(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str | Sequence[int]],
    sampling: Sampling,
    begin: int | None,
) -> list[Writer]:
    if isinstance(prompts, str):
        raise LabError("prompts is one text: expected a sequence of prompts, such as [prompt]")
    spelling, before = spelling_of(tokenizer), [] if begin is None else [begin]
    encoded = iter(encode_prompts(tokenizer, [prompt for prompt in prompts if isinstance(prompt, str)]))
    texts = [[*before, *next(encoded)] if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    start = 0 if all(texts) else first_token(tokenizer)
    counts: Counter[tuple[int, ...]] = Counter()
    writers = []
    for number, (prompt, ids) in enumerate(zip(prompts, texts, strict=True)):
        shown = prompt if isinstance(prompt, str) else tokenizer.decode(ids)
        writers.append(Writer(number, shown, ids, start, counts[tuple(ids)], model.context, sampling, spelling))
        counts[tuple(ids)] += 1
    return writers
