"""Models in the native CPU engine: what it can compute of which, and the engine of a GPT.

Of a GPT it computes everything that `gpt.py` defines, with the same tensors; of a context-propagation model the recurrence
(`recurrence_native.py`), and PyTorch the rest. Which of the two is used is the caller's choice.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from lmlab.model.gpt import GPTModel
from lmlab.model.known import Known, amount, anything, one_of, share, size, size_or_none, unknown_setting, yes_or_no
from lmlab.model.recurrence_native import unsupported_recurrence
from lmlab.model.rotary import rotation
from lmlab.model.shapes import head_width, hidden_width, key_value_heads, up_width
from lmlab.native import Library, load
from lmlab.native.engine import (
    ACTIVATIONS,
    LAYER_PARAMETERS,
    MOST_LAYERS,
    MOST_NGRAMS,
    PARAMETERS,
    Engine,
    Shape,
)
from lmlab.recipe.model import GPT, Context, Model

KNOWN: Known = {
    "kind": one_of("gpt"),
    "layers": size,
    "heads": size,
    "kv_heads": size_or_none,
    "width": size,
    "hidden": size_or_none,
    "context": size,
    "positions": one_of("learned", "rotary"),
    "norm": one_of("layernorm", "rmsnorm"),
    "activation": one_of(*ACTIVATIONS),
    "init": anything,
    "bias": yes_or_no,
    "qkv_bias": yes_or_no,
    "tied": yes_or_no,
    "head_bias": yes_or_no,
    "dropout": share,
    "qk_norm": yes_or_no,
    "softcap": amount,
    "zero_init": anything,
    "value_residual": yes_or_no,
    "embedding_skip": yes_or_no,
    "ngrams": lambda value: isinstance(value, tuple) and all(map(size, value)),
    "ngram_rows": size,
}
"""What the engine computes of a GPT. A field or value that isn't here is PyTorch's, until the engine has learnt it."""


def unsupported(model: Model) -> str | None:
    """Why the engine can't compute such a model, or its recurrence; None where it can."""
    if isinstance(model, Context):
        return unsupported_recurrence(model)
    if (unknown := unknown_setting(model, KNOWN)) is not None:
        return unknown
    if model.layers > MOST_LAYERS:
        return f"it holds at most {MOST_LAYERS} layers"
    if len(model.ngrams) > MOST_NGRAMS:
        return f"it holds at most {MOST_NGRAMS} n-gram tables"
    return None


def computes_whole_step(model: Model) -> bool:
    """Whether the engine computes all of such a model's step, in chunks of which it keeps little, or the recurrence alone."""
    return isinstance(model, GPT)


def native_engine(model: torch.nn.Module, threads: int = 0) -> Engine | None:
    """The engine of `model`, made on first use (with torch's number of threads where `threads` is 0).

    None where there is no library on this machine (or not the one that `model.engine_identity` names), where the model isn't what
    it computes (a GPT in float32 on the CPU, with parameters that it knows), or where `model.engine` forbids it.
    """
    if not isinstance(model, GPTModel) or model.engine == "torch":
        return None
    threads = threads or torch.get_num_threads()
    known = _engines.get(model)
    # The engine reads the tensors' memory: where that has moved, or other threads are asked for, it's another engine.
    if (
        known is not None
        and known.places == _places(known.modules)
        and known.engine.threads == threads
        and known.identity == model.engine_identity
    ):
        return known.engine
    tensors = dict(model.named_parameters())
    if (
        unsupported(model.config)
        or not _knows_parameters(tensors, model.config.layers)
        or any(tensor.dtype != torch.float32 or tensor.device.type != "cpu" for tensor in tensors.values())
    ):
        return None
    library = load(identity=model.engine_identity)
    if not isinstance(library, Library):
        return None
    engine = Engine(library.functions, engine_shape(model.config, model.vocabulary), tensors, _rotation(model), threads)
    # Of the modules only their tensors are kept: a reference to the model would keep it alive.
    modules = [module._parameters for module in model.modules()]
    _engines[model] = _Known(modules=modules, places=_places(modules), identity=model.engine_identity, engine=engine)
    return engine


def engine_shape(model: GPT, vocabulary: int) -> Shape:
    """What the engine must know of such a model."""
    return Shape(
        layers=model.layers,
        heads=model.heads,
        key_heads=key_value_heads(model),
        head_width=head_width(model),
        width=model.width,
        hidden=hidden_width(model),
        up=up_width(model),
        vocabulary=vocabulary,
        context=model.context,
        rotary=model.positions == "rotary",
        rms=model.norm == "rmsnorm",
        activation=model.activation,
        qk_norm=model.qk_norm,
        ngram_lengths=tuple(model.ngrams),
        ngram_rows=model.ngram_rows,
        softcap=model.softcap,
        dropout=model.dropout,
    )


def _knows_parameters(names: Iterable[str], layers: int) -> bool:
    """Whether the engine knows what each parameter is for."""
    in_layers = {f"blocks.{layer}.{name}" for layer in range(layers) for name in LAYER_PARAMETERS}
    return set(names) <= in_layers | set(PARAMETERS)


def _rotation(model: GPTModel) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Cosines and sines of all positions, rounded as the model rounds them."""
    if model.config.positions != "rotary":
        return None
    turn = rotation(torch.arange(model.context), head_width(model.config), torch.float32)
    return turn.cosines.squeeze(-2), turn.sines.squeeze(-2)


@dataclass(frozen=True, kw_only=True)
class _Known:
    """An engine, and where the tensors lay when it was made."""

    modules: Sequence[Mapping[str, torch.Tensor | None]]
    places: tuple[int, ...]
    identity: str
    """Of the build that was asked for."""
    engine: Engine


def _places(modules: Sequence[Mapping[str, torch.Tensor | None]]) -> tuple[int, ...]:
    """Where the tensors of these modules lie."""
    return tuple(tensor.data_ptr() for module in modules for tensor in module.values() if tensor is not None)


_engines: weakref.WeakKeyDictionary[GPTModel, _Known] = weakref.WeakKeyDictionary()
