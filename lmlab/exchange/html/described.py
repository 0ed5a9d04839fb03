"""Settings of a model, a tokenizer and a template as a page reads them: plain values, with every default resolved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.tokenizers.byte_level import ByteLevel, write_merges
from lmlab.data.tokenizers.bytes import Bytes
from lmlab.data.tokenizers.characters import Characters
from lmlab.data.tokenizers.words import Words
from lmlab.model.gpt_shapes import hidden_width, key_value_heads
from lmlab.recipe.model import GPT, Context, Model
from lmlab.recipe.template import Message, Template

MARK = "\N{OBJECT REPLACEMENT CHARACTER}"


def model_settings(model: Model, vocabulary: int) -> Mapping[str, Any]:
    """Return the settings of a model of lmlab; LabError for another family."""
    if not isinstance(model, GPT | Context):
        raise LabError(f"a page has no model.kind {model.kind}: expected gpt or context")
    found = {**dataclasses.asdict(model), "vocabulary": vocabulary}
    if isinstance(model, GPT):
        found |= {"hidden": hidden_width(model), "key_heads": key_value_heads(model)}
    return found


def tokenizer_settings(tokenizer: Tokenizer) -> Mapping[str, Any]:
    """Return what a page restores a tokenizer from; LabError for one that it doesn't have."""
    if isinstance(tokenizer, ByteLevel):
        first = tokenizer.end_of_text == 0
        return {"name": tokenizer.name, "merges": write_merges(tokenizer.merges), "end_first": first}
    if isinstance(tokenizer, Characters | Bytes | Words):
        return tokenizer.to_json()
    raise LabError(
        f"a page has no tokenizer {tokenizer.name}: expected characters, bytes, words, gpt2 or bpe; use --to hf"
    )


def template_settings(template: Template | None) -> Mapping[str, Any] | None:
    """Return the text before and after a question, and the texts at which an answer stops; None without a template."""
    if template is None:
        return None
    before, after = template.prompt([Message(role="user", content=MARK)]).split(MARK)
    return {"name": template.name, "before": before, "after": after, "stop": list(template.stop)}
