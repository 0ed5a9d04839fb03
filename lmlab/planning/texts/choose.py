"""Choose a recipe for a text: tokenizer, size and steps, each with its reason, from facts about the text.

A pure function of plain values, so that the same text always gets the same recipe.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from lmlab import LabError
from lmlab.model.cost import has_tables
from lmlab.model.families import family_of
from lmlab.planning.texts.sized import FEWEST_ROWS, model_settings, modern, shape_words, size_words, sized_model
from lmlab.recipe import GPT, Data, Evaluate, Linear, Muon, Recipe, Train, override
from lmlab.recipe.data import WORDS_NEED
from lmlab.recipe.derived import rounded_rate
from lmlab.recipe.quantities import count, parameters_in
from lmlab.recipe.sizes import SIZES, Size, adam_rate, nearest_size
from lmlab.recipe.train import MOST_STEPS

CHARACTERS_UP_TO_BYTES = 3_000_000
"""Below this a BPE has too few examples of most of its tokens, while characters learn from every byte."""
DISTINCT_CHARACTERS_UP_TO = 300
VOCABULARIES = ((20_000_000, 1_024), (200_000_000, 4_096), (None, 16_384))
"""(text up to so many bytes, BPE tokens)."""
BYTES_A_TOKEN = {1_024: 2.6, 4_096: 3.4, 16_384: 4.0}
"""Approximate bytes of English text per token of such a BPE; only used to choose steps."""
BYTES_A_GPT2_TOKEN = 4.3
MOST_EPOCHS = 20
"""With more passes a model of the default size mostly memorises the text (arXiv 2305.16264: R* = 15.4)."""
TOKENS_ON_A_CPU = 4_000_000
"""A few minutes at the default size on two cores."""
READ_ABOUT_ONCE, READ_A_FEW_TIMES, READ_SEVERAL_TIMES = 1.5, 2.5, 6.0
"""Passes from which weight decay pays, up to which n-gram tables generalise more than they memorise, and from which more decay
pays: measured on characters at 1, 2, 3, 4.5 and 11 passes (docs/notes/texts-read-often.md)."""
DECAY, MORE_DECAY = 0.2, 0.3
LARGE_FOR_A_TEXT = 4.0
"""Parameters per token of the text from which dropout is kept too: at 2 it cost 0.04 nats, at 11 nanoGPT
uses it (its config/train_shakespeare_char.py)."""
TOKENS_A_PARAMETER = 20
"""Compute-optimal for a single epoch (arXiv 2203.15556)."""
DERIVED = (
    *("schedule.warmup", "train.checkpoint_every", "evaluate.every"),
    *("optim.adam_lr", "optim.weight_decay", "model.ngrams", "model.dropout"),
)
"""Settings that follow from size and steps."""
FEWEST_STEPS, SMALLEST_CONTEXT = 200, 16
WORDS_OF_A_TEXT = 20
"""A text of n words has about this factor times sqrt(n) different words (Heaps' law); WikiText-2 has 33,278 of 2.1M, a factor of
23."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """What is known about a text before it is prepared."""

    name: str
    corpus: str
    bytes: int
    distinct_characters: int
    words: int
    """Approximate number, separated by white space."""
    tokenizer: str | None = None
    """The requested one; None: chosen for the text."""
    vocabulary: int | None = None
    """The requested size of a bpe vocabulary; None: chosen for the text."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A recipe and the reasons for it, a line each."""

    recipe: Recipe
    reasons: tuple[str, ...]
    """The first is the tokenizer's."""


def choose_recipe(
    text: TextFacts,
    device_type: str,
    size: str | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    settings: Mapping[str, Any] = NOTHING,
) -> Choice:
    """Choose a recipe for `text` on a device of this type (cpu, cuda, mps).

    `size` is the requested number of all parameters, such as 2M; None: chosen for text and device. `steps` or `epochs` is the
    length. The settings of the model in `settings` take part in the choice of the others. LabError where the text is too short for
    training, or no model has that size.
    """
    data, tokens, tokenizer = choose_data(text)
    total = None if size is None else parameters_in(size)
    near, why = (nearest_size(total), "requested") if total is not None else _suited(tokens, device_type)
    context = _context(near, tokens, text, data)
    passes = near.batch * context / (tokens * (1 - data.valid_share))  # per step
    given = steps is not None or epochs is not None
    if steps is None:
        wanted = _steps(total or near.parameters, near.batch * context, tokens, device_type)
        steps = wanted if epochs is None else min(MOST_STEPS, max(1, round(epochs / passes)))
    ngrams, decay, dropout, memorisation = _against_memorisation(
        data, steps * passes, (total or near.parameters) / tokens, settings
    )
    vocabulary = _vocabulary(text, data)
    if total is None:
        model = modern(near.layers, near.heads, near.width, context, ngrams)
    else:
        model = sized_model(total, vocabulary, ngrams, context, settings)
    recipe = Recipe(
        name=text.name,
        about=f"chosen by lmlab for {text.name}",
        data=data,
        model=dataclasses.replace(model, dropout=dropout),
        optim=Muon(lr=near.lr, adam_lr=rounded_rate(adam_rate(model.width)), weight_decay=decay),
        schedule=Linear(warmup=min(50, steps // 10)),
        train=Train(steps=steps, batch=near.batch, checkpoint_every=max(50, -(-steps // 8))),
        evaluate=Evaluate(every=max(25, -(-steps // 12))),
        derived=DERIVED if given else ("train.steps", *DERIVED),
    )
    reasons = [tokenizer, _size_reason(recipe, settings, vocabulary, size, why)]
    if context < near.context:
        reasons.append(f"context {context}: the validation split must hold several windows")
    reasons.append(_length_reason(recipe, settings, epochs, tokens * (1 - data.valid_share)))
    if ngrams and not model.ngrams:
        memorisation = f"no n-gram tables: in {size} parameters a table would have fewer than {FEWEST_ROWS:,} rows"
    if settings.get("model.kind", "gpt") != "gpt":
        memorisation = ""  # another family has no tables, and keeps its own dropout
    return Choice(recipe=recipe, reasons=tuple(reason for reason in (*reasons, memorisation) if reason))


def _length_reason(recipe: Recipe, settings: Mapping[str, Any], epochs: float | None, tokens: float) -> str:
    """Describe how much of a training split of about so many tokens is read, with the requested batch and context."""
    if epochs is not None:
        return f"as many steps as {epochs:g} passes over the training split take"
    steps = recipe.train.steps
    if "train.steps" in recipe.derived:  # it is derived again, and printed, where the batch changes
        asked, hint = recipe, " (--train.steps N for more)"
    else:
        lengths = {name: settings[name] for name in ("train.batch", "model.context") if name in settings}
        asked, hint = override(recipe, lengths), ""
    read = steps * asked.train.batch * asked.model.context
    return f"{steps:,} steps: {count(read)} tokens, {read / tokens:.2g} passes over the training split{hint}"


def _size_reason(recipe: Recipe, settings: Mapping[str, Any], vocabulary: int, size: str | None, why: str) -> str:
    """Describe the model's size under the settings, tables separately, and how to request another."""
    model = override(recipe, model_settings(settings)).model
    words, shape = size_words(model, vocabulary), shape_words(model)
    if size is not None:
        return f"size {size}: {words}; {shape} ({why})"
    family = family_of(model)
    if not family.resizes:
        *names, last = (f"model.{name}" for name in family.size_settings)
        return f"size: {words}; {shape} (set {', '.join(names)} and {last} for another)"
    tables = ", --no-tables" if has_tables(model) else ""
    return f"size: {words}, {why}; {shape} (--size 2M or any other, tables included{tables})"


def _against_memorisation(
    data: Data, epochs: float, largeness: float, settings: Mapping[str, Any]
) -> tuple[tuple[int, ...], float, float, str]:
    """Return the lengths of n-gram tables, weight decay, dropout, and the reason: more passes need more regularisation.

    `largeness` is the model's parameters per token of the text. Explicitly set lengths stay.
    """
    asked = "model.ngrams" in settings
    ngrams: tuple[int, ...] = ()
    if epochs <= READ_A_FEW_TIMES:
        ngrams = (2, 3) if data.tokenizer == "bpe" else (2, 3, 4, 5)
        why = "they lower the loss most while the text is read for the first time"
        reason = f"n-gram tables of {ngrams[0]} to {ngrams[-1]} tokens: {why}"
        decay, dropout = DECAY if epochs > READ_ABOUT_ONCE else 0.0, 0.0
    else:
        decay = MORE_DECAY if epochs > READ_SEVERAL_TIMES else DECAY
        dropout = 0.1 if epochs > READ_SEVERAL_TIMES and largeness > LARGE_FOR_A_TEXT else 0.0
        also = f", dropout {dropout:g}: the model is large for the text" if dropout else ""
        tables = "" if asked else ", no n-gram tables"
        reason = f"weight decay {decay:g}{tables}: the text is read {epochs:.0f} times, so it could be memorised{also}"
    if not asked:
        return ngrams, decay, dropout, reason
    model = override(Recipe(model=GPT()), {"model.ngrams": settings["model.ngrams"]}).model
    assert isinstance(model, GPT)
    return model.ngrams, decay, dropout, "" if ngrams else reason


def _vocabulary(text: TextFacts, data: Data) -> int:
    """Return the approximate vocabulary size of the text's tokenizer."""
    if data.vocabulary is not None:
        return data.vocabulary
    known = {"gpt2": 50_257, "bytes": 257, "characters": text.distinct_characters}
    return known.get(data.tokenizer) or max(2, round(WORDS_OF_A_TEXT * math.sqrt(text.words)))


def choose_data(text: TextFacts) -> tuple[Data, float, str]:
    """Return the data settings with a tokenizer, the approximate number of tokens, and the reason."""
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


def _suited(tokens: float, device_type: str) -> tuple[Size, str]:
    """Return the size for a text of so many tokens on such a device, and the reason."""
    if tokens < 100_000:
        return SIZES["300k"], "for little text"
    if device_type == "cpu":
        return SIZES["1M"], "what a CPU trains in minutes"
    return SIZES["10M"], "what a GPU trains in minutes"


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


def _steps(parameters: int, step_tokens: int, tokens: float, device_type: str) -> int:
    wanted = float(TOKENS_A_PARAMETER * parameters)
    if device_type == "cpu":
        wanted = min(wanted, TOKENS_ON_A_CPU)
    wanted = min(wanted, MOST_EPOCHS * tokens)
    steps = max(FEWEST_STEPS, int(wanted / step_tokens))
    # Two significant digits: a round number is easier to compare and to remember.
    scale = 10 ** max(0, len(str(steps)) - 2)
    found: int = steps // scale * scale
    return found
