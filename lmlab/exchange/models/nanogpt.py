"""nanoGPT's ckpt.pt, in both directions: {"model": state_dict(), "model_args": {...}, "config": {...}, "iter_num": n, ...}.

Its layers are those of GPT-2 with PyTorch's linear layers, and one flag for all biases. Its GELU is the exact one (in its
first months it was the approximation with tanh).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab import LabError
from lmlab.exchange.models import hf_gpt2
from lmlab.exchange.models.hf_config import Config
from lmlab.exchange.models.tables import Table, part
from lmlab.files import is_plain_name
from lmlab.model.gpt_shapes import hidden_width
from lmlab.recipe.model import GPT

if TYPE_CHECKING:
    from lmlab.exchange.models.foreign import ForeignModel, Given

FORM = "nanogpt"
KIND = "nanoGPT's GPT"
ARGUMENTS = ("n_layer", "n_head", "n_embd", "block_size", "bias", "vocab_size", "dropout")
PASSED_OVER = re.compile(r"\.attn\.bias$|^lm_head\.weight$")
"""Causal masks, and the head, which is the embedding."""
TOKENIZERS = ("characters", "gpt2")
"""Tokenizers that its scripts know: of characters by meta.pkl, and GPT-2's."""


def is_nanogpt(value: Any) -> bool:
    """Return whether a PyTorch file's value is such a checkpoint."""
    return isinstance(value, dict) and "model" in value and "model_args" in value


def read_nanogpt(path: Path, value: Any, given: Given) -> ForeignModel:
    """Return the model in the value of a ckpt.pt."""
    from lmlab.exchange.models.foreign import ForeignModel
    from lmlab.exchange.models.state_dicts import require_possible, tensors_in, weights_of
    from lmlab.exchange.models.tokenizer_files import assumed, find_tokenizer

    if given.heads is not None:
        raise LabError(f"{path.name} has its heads in model_args: leave --heads out")
    if not is_nanogpt(value) or not isinstance(value["model_args"], dict):
        raise LabError(f"{path.name} is no checkpoint of nanoGPT: expected a dict with model and model_args")
    arguments = value["model_args"]
    tensors = tensors_in(path, value["model"])
    model, vocabulary = settings_of(arguments, path.name)
    require_possible(model, vocabulary, path.name, path.stat().st_size)
    weights = weights_of(path.name, tensors, table(), PASSED_OVER, model, vocabulary)
    config = value.get("config")
    dataset = config.get("dataset") if isinstance(config, dict) else None
    dataset = dataset if isinstance(dataset, str) and is_plain_name(dataset) else None
    elsewhere = () if dataset is None else (path.parent.parent / "data" / dataset,)
    tokenizer, read = find_tokenizer(path.parent, vocabulary, given.tokenizer, elsewhere=elsewhere)
    return ForeignModel(
        form=FORM,
        kind=KIND,
        model=model,
        vocabulary=vocabulary,
        weights=weights,
        tokenizer=tokenizer,
        files=(path, *read),
        notes=assumed(read, vocabulary),
        facts={"step": _count(value.get("iter_num")), "loss": _loss(value.get("best_val_loss")), "corpus": dataset},
    )


def settings_of(arguments: Mapping[Any, Any], name: str) -> tuple[GPT, int]:
    """Return the settings and the vocabulary of model_args; LabError for arguments of a fork that changed the model."""
    unknown = sorted(str(one) for one in arguments if one not in ARGUMENTS)
    if unknown:
        raise LabError(
            f"{name} has {unknown[0][:40]} in model_args, which nanoGPT doesn't have: expected {', '.join(ARGUMENTS)} alone"
        )
    config = Config(arguments, name)
    bias = config.flag("bias", True)
    model = GPT(
        layers=config.size("n_layer"),
        heads=config.size("n_head"),
        width=config.size("n_embd"),
        context=config.size("block_size"),
        activation="gelu",
        bias=bias,
        qkv_bias=bias,
        dropout=config.dropout("dropout", default=0.0),
    )
    return model, config.size("vocab_size")


def reasons_against(model: GPT) -> Iterator[str]:
    """Yield the settings that it can't express."""
    yield from (one for one in hf_gpt2.reasons_against(model) if not one.startswith("model.activation"))
    if model.activation != "gelu":
        yield f"model.activation {model.activation}"
    if not model.tied:
        yield "model.tied false"
    if hidden_width(model) != 4 * model.width:
        yield f"model.hidden {hidden_width(model)}"
    if model.norm_epsilon != GPT.norm_epsilon:
        yield f"model.norm_epsilon {model.norm_epsilon:g}"


def with_its_biases(model: GPT) -> GPT:
    """Return the model with all biases that it has there: those that ours lacks are zero."""
    biases = model.bias or model.qkv_bias
    return dataclasses.replace(model, bias=biases, qkv_bias=biases)


def arguments_of(model: GPT, vocabulary: int) -> dict[str, Any]:
    """Return the model_args of one of our models."""
    return {
        "n_layer": model.layers,
        "n_head": model.heads,
        "n_embd": model.width,
        "block_size": model.context,
        "bias": model.bias or model.qkv_bias,
        "vocab_size": vocabulary,
        "dropout": model.dropout,
    }


def meta_of(symbols: Sequence[str]) -> dict[str, Any]:
    """Return the value of meta.pkl for these characters, the last of which may be the end of text."""
    ids = {symbol: number for number, symbol in enumerate(symbols)}
    return {"vocab_size": len(symbols), "itos": {number: one for one, number in ids.items()}, "stoi": ids}


def table() -> Table:
    """Return its names of weights, which are GPT-2's; no matrix is stored the other way round."""
    like = hf_gpt2.table(GPT())
    return {ours: part(piece.name) for ours, (piece,) in like.items()}


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 62 else None


def _loss(value: Any) -> float | None:
    """Return a number, or that of a tensor of one element; None where it is no finite one."""
    found = value.item() if hasattr(value, "item") and getattr(value, "numel", lambda: 0)() == 1 else value
    return found if isinstance(found, float) and math.isfinite(found) else None
