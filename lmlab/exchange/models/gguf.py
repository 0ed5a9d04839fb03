"""GGUF, the format of llama.cpp and Ollama: its names of weights and settings, and the forms of tokenizers that are exact in it.

Architecture gpt2 or llama (llama.cpp, src/models). Its rotary pairs are adjacent dimensions, as here.

A byte-level BPE is llama.cpp's tokenizer `gpt2` with the pre-tokenizer `gpt-2`. Characters are exact where each is one byte
(ASCII): as a BPE without merges where texts have an end. llama.cpp takes id 11 for the end of a BPE without one, so without
an end they are its tokenizer `rwkv`, which looks up the longest known token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.tokenizers.byte_level import END_OF_TEXT, SYMBOLS, ByteLevel, write_merges
from lmlab.data.tokenizers.bytes import BYTES, Bytes
from lmlab.data.tokenizers.characters import Characters
from lmlab.exchange.models import hf_gpt2, hf_llama
from lmlab.exchange.models.tables import Piece, Table, part
from lmlab.model.gpt_shapes import head_width, hidden_width, key_value_heads
from lmlab.recipe.model import GPT

TOKENIZERS = ("characters", "bytes", "gpt2", "bpe")
NORMAL, CONTROL = 1, 3
"""Types of tokens."""
NEVER = f"{END_OF_TEXT} {END_OF_TEXT}"
"""A merge that applies to no text, whose symbols are single characters: llama.cpp requires a list of merges."""
BLOCK = "blk.{layer}"
INNER = {
    "attention_norm": "attn_norm",
    "attention.projection": "attn_output",
    "mlp_norm": "ffn_norm",
    "mlp.down": "ffn_down",
}


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A tokenizer in GGUF's form."""

    kind: str
    """tokenizer.ggml.model: gpt2 or rwkv."""
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    """Empty for rwkv."""
    end: int | None
    """The id that ends a text."""


def architecture(model: GPT) -> str:
    """Return the architecture in GGUF of a model that `reasons_against` has nothing against."""
    return "llama" if model.positions == "rotary" else "gpt2"


def reasons_against(model: GPT) -> Iterator[str]:
    """Yield the settings that it can't express."""
    if model.positions == "rotary":
        yield from hf_llama.reasons_against(model)
        return
    yield from (one for one in hf_gpt2.reasons_against(model) if not one.startswith("model.activation"))
    if model.activation != "gelu_tanh":
        yield f"model.activation {model.activation}"


def with_its_biases(model: GPT) -> GPT:
    """Return the model with all biases that it has there: those that ours lacks are zero."""
    return model if model.positions == "rotary" else dataclasses.replace(model, bias=True, qkv_bias=True)


def settings_of(model: GPT, vocabulary: int) -> dict[str, Any]:
    """Return the values of its keys, without the architecture's name before them."""
    found: dict[str, Any] = {
        "context_length": model.context,
        "embedding_length": model.width,
        "feed_forward_length": hidden_width(model),
        "block_count": model.layers,
        "attention.head_count": model.heads,
    }
    if model.positions == "learned":
        return {**found, "attention.layer_norm_epsilon": model.norm_epsilon}
    return {
        **found,
        "vocab_size": vocabulary,
        "attention.head_count_kv": key_value_heads(model),
        "attention.layer_norm_rms_epsilon": model.norm_epsilon,
        "rope.dimension_count": head_width(model),
        "rope.freq_base": model.rotary_base,
    }


def table(model: GPT) -> Table:
    """Return its names of weights."""
    found = {"embedding.weight": part("token_embd.weight"), "positions.weight": part("position_embd.weight")}
    for kind in ("weight", "bias"):
        found |= {f"norm.{kind}": part(f"output_norm.{kind}"), f"head.{kind}": part(f"output.{kind}")}
        found |= {f"{ours}.{kind}": part(f"{BLOCK}.{name}.{kind}") for ours, name in INNER.items()}
        if model.positions == "learned":
            found[f"attention.qkv.{kind}"] = part(f"{BLOCK}.attn_qkv.{kind}")
            found[f"mlp.up.{kind}"] = part(f"{BLOCK}.ffn_up.{kind}")
        else:
            found[f"attention.qkv.{kind}"] = (
                Piece(name=f"{BLOCK}.attn_q.{kind}", rows="queries"),
                Piece(name=f"{BLOCK}.attn_k.{kind}", rows="keys"),
                Piece(name=f"{BLOCK}.attn_v.{kind}", rows="values"),
            )
            gate, value = (Piece(name=f"{BLOCK}.ffn_{one}.{kind}", rows="hidden") for one in ("gate", "up"))
            found[f"mlp.up.{kind}"] = (gate, value)
    return found


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """Return the tokenizer in GGUF's form; LabError for one that has no exact form there."""
    if isinstance(tokenizer, ByteLevel):
        texts = ["".join(SYMBOLS[byte] for byte in token) for token in tokenizer.tokens]
        texts[tokenizer.end_of_text] = END_OF_TEXT
        return _bpe(texts, tokenizer.end_of_text, write_merges(tokenizer.merges))
    if isinstance(tokenizer, Bytes):
        return _of_bytes(list(range(BYTES)), tokenizer.end_of_text)
    if isinstance(tokenizer, Characters) and not tokenizer.replace:
        if not tokenizer.alphabet.isascii():
            odd = next(one for one in tokenizer.alphabet if not one.isascii())
            raise LabError(
                f"its characters aren't one byte each ({odd!r} isn't), and GGUF has no exact form for others: use --to hf"
            )
        return _of_bytes([ord(one) for one in tokenizer.alphabet], tokenizer.end_of_text)
    raise LabError(
        f"the tokenizer {tokenizer.name} has no exact form in GGUF: expected one of {', '.join(TOKENIZERS)}, without data.unknown "
        "replace; use --to hf"
    )


def _of_bytes(values: list[int], end: int | None) -> Vocabulary:
    """Return a tokenizer whose ids stand for these bytes, followed by the end of text if there is one."""
    if end is not None:
        return _bpe([*(SYMBOLS[byte] for byte in values), END_OF_TEXT], end, [])
    texts = tuple(chr(byte) if 32 <= byte < 127 and chr(byte) != "\\" else f"\\x{byte:02x}" for byte in values)
    return Vocabulary(kind="rwkv", tokens=texts, types=(NORMAL,) * len(texts), merges=(), end=None)


def _bpe(texts: list[str], end: int, merges: list[str]) -> Vocabulary:
    types = tuple(CONTROL if number == end else NORMAL for number in range(len(texts)))
    return Vocabulary(kind="gpt2", tokens=tuple(texts), types=types, merges=tuple(merges) or (NEVER,), end=end)
