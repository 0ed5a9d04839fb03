"""Which formats a model can be exported to, before it is trained: a pure function of its recipe, without torch.

hf is a built-in class of transformers (GPT2LMHeadModel with learned positions, LlamaForCausalLM with rotary ones), gguf an
architecture of llama.cpp (gpt2, llama), nanogpt its ckpt.pt. A model is exportable where the other program computes the same
function; biases that ours lacks and it has are zero. html is a page of lmlab's own (`lmlab.exchange.html`), which has every setting
of both model families, but no imported tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmlab.exchange.models import gguf, hf_gpt2, hf_llama, nanogpt
from lmlab.recipe import Recipe
from lmlab.recipe.data import IMPORTED
from lmlab.recipe.model import GPT, Context

HF, GGUF, NANOGPT, HTML = "hf", "gguf", "nanogpt", "html"
FORMATS = {
    HF: "transformers (config.json, model.safetensors, tokenizer.json)",
    GGUF: "llama.cpp and Ollama (model.gguf, Modelfile)",
    NANOGPT: "nanoGPT (ckpt.pt)",
    HTML: "any browser (one page)",
}
"""Name of each format -> its description."""
HTML_TOKENIZERS = ("characters", "bytes", "words", "gpt2", "bpe")
HF_TOKENIZERS = (*HTML_TOKENIZERS, IMPORTED)
MOST_NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Exportable:
    """What a model can be exported to."""

    formats: tuple[str, ...]
    reasons: Mapping[str, tuple[str, ...]]
    """For each other format, what it can't express."""

    def words(self) -> tuple[str, str]:
        """Return the formats, and the reasons against the others; of a model for no other program those against the first."""
        if set(self.formats) <= {HTML}:
            return ", ".join([*self.formats, "no other program's format"]), listed(self.reasons[HF])
        return ", ".join(self.formats), "; ".join(f"not {name}: {listed(why)}" for name, why in self.reasons.items())

    def line(self) -> str:
        """Return both as one text."""
        to, others = self.words()
        return f"{to}{': ' if set(self.formats) <= {HTML} else '; '}{others}" if others else to

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return {"formats": list(self.formats), "reasons": {name: list(why) for name, why in self.reasons.items()}}


def exportable(recipe: Recipe) -> Exportable:
    """Return what models of this recipe can be exported to, and why not to the others.

    The rest depends on the text: gguf holds characters only where each is one byte of UTF-8.
    """
    found = {name: tuple(_reasons(recipe, name)) for name in FORMATS}
    return Exportable(
        formats=tuple(name for name, reasons in found.items() if not reasons),
        reasons={name: reasons for name, reasons in found.items() if reasons},
    )


def _reasons(recipe: Recipe, name: str) -> Iterator[str]:
    model, data = recipe.model, recipe.data
    if name == HTML:
        if not isinstance(model, GPT | Context):
            yield f"model.kind {model.kind}"
        if data.tokenizer not in HTML_TOKENIZERS:
            yield f"data.tokenizer {data.tokenizer}"
        return
    if not isinstance(model, GPT):
        yield f"model.kind {model.kind}"
        return
    yield from nowhere(model)
    yield from AGAINST[name](model)
    if data.tokenizer not in TOKENIZERS[name]:
        yield f"data.tokenizer {data.tokenizer}"
    elif name != HF and data.tokenizer == "characters" and data.unknown == "replace":
        yield "data.unknown replace"


def nowhere(model: GPT) -> Iterator[str]:
    """Yield the settings that no other program's format has."""
    for setting in ("head_bias", "qk_norm", "value_residual", "embedding_skip"):
        if getattr(model, setting):
            yield f"model.{setting}"
    if model.softcap:
        yield f"model.softcap {model.softcap:g}"
    if model.ngrams:
        yield "model.ngrams"


def _against_hf(model: GPT) -> Iterator[str]:
    yield from (hf_llama if model.positions == "rotary" else hf_gpt2).reasons_against(model)


AGAINST: dict[str, Callable[[GPT], Iterator[str]]] = {
    HF: _against_hf,
    GGUF: gguf.reasons_against,
    NANOGPT: nanogpt.reasons_against,
}
TOKENIZERS = {HF: HF_TOKENIZERS, GGUF: gguf.TOKENIZERS, NANOGPT: nanogpt.TOKENIZERS}


def listed(reasons: tuple[str, ...]) -> str:
    """Return the first few reasons, and how many more there are."""
    more = f" and {len(reasons) - MOST_NAMED} more" if len(reasons) > MOST_NAMED else ""
    return ", ".join(reasons[:MOST_NAMED]) + more
