"""A recipe for a text that has none: tokenizer, size and steps, each with its reason, from what the text is.

A pure function of plain facts, so that two people with one text get one recipe.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from lmlab import LabError
from lmlab.recipe import GPT, Data, Evaluate, Linear, Muon, Recipe, Train, override
from lmlab.recipe.data import WORDS_NEED, TokenizerName
from lmlab.recipe.sizes import SIZES, Size, size_named
from lmlab.recipe.train import MOST_STEPS

CHARACTERS_UP_TO_BYTES = 3_000_000
"""Below this a BPE has too few examples of most of its tokens; characters learn from every byte."""
DISTINCT_CHARACTERS_UP_TO = 300
VOCABULARIES = ((20_000_000, 1_024), (200_000_000, 4_096), (None, 16_384))
"""(text up to so many bytes, BPE tokens)."""
BYTES_A_TOKEN = {1_024: 2.6, 4_096: 3.4, 16_384: 4.0}
"""About how much English text a token of such a BPE stands for; only used to choose steps."""
BYTES_A_GPT2_TOKEN = 4.3
MOST_EPOCHS = 20
"""More passes than this teach a model of the default size little but the text by heart (arXiv 2305.16264: R* = 15.4)."""
TOKENS_ON_A_CPU = 4_000_000
"""A few minutes at the default size on two cores."""
READ_ABOUT_ONCE, READ_A_FEW_TIMES, READ_SEVERAL_TIMES = 1.5, 2.5, 6.0
"""Passes from which weight decay pays, up to which n-gram tables teach more than they learn by heart, and from which more decay
pays: measured on characters at 1, 2, 3, 4.5 and 11 passes (docs/notes/texts-read-often.md)."""
DECAY, MORE_DECAY = 0.2, 0.3
LARGE_FOR_A_TEXT = 4.0
"""Parameters a token of the text from which dropout is kept too: at 2 it cost 0.04 nats, at 11 nanoGPT
uses it (its config/train_shakespeare_char.py)."""
TOKENS_A_PARAMETER = 20
"""Compute-optimal for a single epoch (arXiv 2203.15556)."""
DERIVED = (
    *("schedule.warmup", "train.checkpoint_every", "evaluate.every"),
    *("optim.adam_lr", "optim.weight_decay", "model.ngrams", "model.dropout"),
)
"""Settings that follow from size and steps."""
FEWEST_STEPS, SMALLEST_CONTEXT = 200, 16


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """What is known of a text before it is prepared."""

    name: str
    corpus: str
    bytes: int
    distinct_characters: int
    words: int
    """Between white space, about."""
    tokenizer: TokenizerName | None = None
    """The one that is asked for; None: the one that suits the text."""
    vocabulary: int | None = None
    """Of bpe, where it's asked for."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The recipe and why it is as it is, a line each."""

    recipe: Recipe
    reasons: tuple[str, ...]
    """The first is that of the tokenizer."""


def choose_recipe(
    text: TextFacts,
    device_type: str,
    size_name: str | None = None,
    steps: int | None = None,
    epochs: float | None = None,
) -> Choice:
    """A recipe for `text` on a device of this type (cpu, cuda, mps), of `steps` steps or `epochs` passes where they are given.

    Raises LabError where the text is too short to learn from.
    """
    reasons: list[str] = []
    data, tokens, reason = choose_data(text)
    reasons.append(reason)
    size = _size(tokens, device_type, size_name, reasons)
    context = _context(size, tokens, text, data)
    if context < size.context:
        reasons.append(f"context {context}: the validation split must hold several windows")
    chosen = ("train.steps",) if steps is None and epochs is None else ()
    hint = " (--train.steps N for more)" if chosen else ""
    passes = size.batch * context / (tokens * (1 - data.valid_share))  # a step's
    if epochs is not None:
        steps = min(MOST_STEPS, max(1, round(epochs / passes)))
    steps = steps or _steps(size, tokens, context, device_type)
    about = "" if epochs is None else "about "
    read = f"{steps * size.batch * context / 1e6:.1f}M tokens, {steps * passes:.1f} passes over the training split"
    reasons.append(f"{about}{steps:,} steps: {read}{hint}")
    recipe = Recipe(
        name=text.name,
        about=f"{text.name}, chosen by lmlab",
        data=data,
        model=GPT(layers=size.layers, heads=size.heads, width=size.width, context=context),
        optim=Muon(lr=size.lr, adam_lr=size.adam_lr),
        schedule=Linear(warmup=min(50, steps // 10)),
        train=Train(steps=steps, batch=size.batch, checkpoint_every=max(50, -(-steps // 8))),
        evaluate=Evaluate(every=max(25, -(-steps // 12))),
        derived=(*chosen, *DERIVED),
    )
    ngrams, decay, dropout = _against_rote(data, steps * passes, size.parameters / tokens, reasons)
    optim = dataclasses.replace(recipe.optim, weight_decay=decay)
    recipe = override(
        dataclasses.replace(recipe, optim=optim),
        {"model.preset": "modern", "model.ngrams": ngrams, "model.dropout": dropout},
    )
    return Choice(recipe=recipe, reasons=tuple(reasons))


def _against_rote(
    data: Data, epochs: float, largeness: float, reasons: list[str]
) -> tuple[tuple[int, ...], float, float]:
    """Lengths of the n-grams that have tables, weight decay and dropout: what is read more often must be forgotten more.

    `largeness` is the model's parameters a token of the text.
    """
    if epochs <= READ_A_FEW_TIMES:
        ngrams = (2, 3) if data.tokenizer == "bpe" else (2, 3, 4, 5)
        reasons.append(
            f"n-gram tables of {ngrams[0]} to {ngrams[-1]} tokens: they cost little and teach much while the text is new"
        )
        return ngrams, DECAY if epochs > READ_ABOUT_ONCE else 0.0, 0.0
    decay = MORE_DECAY if epochs > READ_SEVERAL_TIMES else DECAY
    dropout = 0.1 if epochs > READ_SEVERAL_TIMES and largeness > LARGE_FOR_A_TEXT else 0.0
    also = f", dropout {dropout:g}: the model is large for the text" if dropout else ""
    reasons.append(
        f"weight decay {decay:g}, no n-gram tables: the text is read {epochs:.0f} times, and tables would learn it by heart{also}"
    )
    return (), decay, dropout


def choose_data(text: TextFacts) -> tuple[Data, float, str]:
    """What is read of a text by which tokenizer, about how many tokens that is, and why."""
    few = text.bytes <= CHARACTERS_UP_TO_BYTES
    size = f"{text.bytes / 1e6:,.2g} MB of text"
    name = text.tokenizer or ("characters" if few and text.distinct_characters <= DISTINCT_CHARACTERS_UP_TO else "bpe")
    data = Data(corpus=text.corpus, tokenizer=name, vocabulary=None, order="shifted")
    if name == "bpe":
        return _with_bpe(text, data, f"{text.distinct_characters} distinct characters" if few else size)
    if name == "words":
        reason = "words that the training split has twice or more; the others are read as <unk>"
        return dataclasses.replace(data, **WORDS_NEED), float(text.words), f"tokenizer words: {reason}"
    if name == "characters":
        reason = f"{size} with {text.distinct_characters} distinct ones"
        return data, float(text.bytes), f"tokenizer characters: {reason}"
    tokens = text.bytes / (BYTES_A_GPT2_TOKEN if name == "gpt2" else 1)
    return data, tokens, f"tokenizer {name}: asked for; {size}"


def _with_bpe(text: TextFacts, data: Data, why: str) -> tuple[Data, float, str]:
    chosen = next(tokens for limit, tokens in VOCABULARIES if limit is None or text.bytes <= limit)
    vocabulary = text.vocabulary or chosen
    nearest = min(BYTES_A_TOKEN, key=lambda known: abs(math.log(known / vocabulary)))
    reason = f"tokenizer bpe with {vocabulary:,} tokens: {'asked for' if text.vocabulary else why}"
    return dataclasses.replace(data, vocabulary=vocabulary), text.bytes / BYTES_A_TOKEN[nearest], reason


def _size(tokens: float, device_type: str, name: str | None, reasons: list[str]) -> Size:
    if name is not None:
        size = size_named(name)
        reasons.append(f"size {name}: asked for; {size.layers} layers, {size.width} wide, context {size.context}")
        return size
    chosen = "1M" if device_type == "cpu" else "10M"
    if tokens < 100_000:
        chosen = "300k"
    size = SIZES[chosen]
    why = (
        "little text"
        if chosen == "300k"
        else "what a CPU trains in minutes"
        if device_type == "cpu"
        else "what a GPU trains in minutes"
    )
    reasons.append(f"size {chosen}: {why}; {size.layers} layers, {size.width} wide (--size {', '.join(SIZES)})")
    return size


def _context(size: Size, tokens: float, text: TextFacts, data: Data) -> int:
    context = size.context
    validation = tokens * data.valid_share
    while context > SMALLEST_CONTEXT and validation < 2 * context:
        context //= 2
    if validation < 2 * context:
        least = math.ceil(2 * SMALLEST_CONTEXT / data.valid_share * text.bytes / tokens)
        raise LabError(
            f"{text.corpus} is too short: {text.bytes:,} bytes, expected at least {least:,} to hold training and validation windows"
        )
    return context


def _steps(size: Size, tokens: float, context: int, device_type: str) -> int:
    wanted = float(TOKENS_A_PARAMETER * size.parameters)
    if device_type == "cpu":
        wanted = min(wanted, TOKENS_ON_A_CPU)
    wanted = min(wanted, MOST_EPOCHS * tokens)
    steps = max(FEWEST_STEPS, int(wanted / (size.batch * context)))
    # Two significant digits: a round number is easier to compare and to remember.
    scale = 10 ** max(0, len(str(steps)) - 2)
    return steps // scale * scale
