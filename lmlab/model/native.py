"""The native CPU engine of a GPT: whether it supports one, and the engine of a model.

It computes everything that `gpt.py` defines, on the same tensors. The caller chooses between the engine and PyTorch.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from lmlab.model.gpt import GPTModel
from lmlab.model.gpt_shapes import head_width, hidden_width, key_value_heads, up_width
from lmlab.model.known import Known, amount, anything, one_of, share, size, size_or_none, unknown_setting, yes_or_no
from lmlab.model.norms import EPSILON
from lmlab.model.rotary import rotation
from lmlab.native.engine import (
    ACTIVATIONS,
    LAYER_PARAMETERS,
    MOST_LAYERS,
    MOST_NGRAMS,
    PARAMETERS,
    Engine,
    Shape,
)
from lmlab.native.library import Library, load
from lmlab.recipe.model import GPT

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
    "boundary": size_or_none,
    "norm_epsilon": lambda value: value == EPSILON,
    "rotary_base": amount,
}
"""Settings of a GPT that the engine supports. PyTorch computes models with any other field or value."""


def unsupported_gpt(model: GPT) -> str | None:
    """Return why the engine doesn't support this model; None if it does."""
    if (unknown := unknown_setting(model, KNOWN)) is not None:
        return unknown
    if model.layers > MOST_LAYERS:
        return f"it holds at most {MOST_LAYERS} layers"
    if len(model.ngrams) > MOST_NGRAMS:
        return f"it holds at most {MOST_NGRAMS} n-gram tables"
    return None


def native_engine(model: torch.nn.Module, threads: int = 0) -> Engine | None:
    """Return the engine of `model`, created on first use; `threads` 0: torch's number of threads.

    None if there is no library on this machine (or not the build that `model.engine_identity` names), if the model isn't
    supported (a GPT in float32 on the CPU, with known parameters), or if `model.engine` is torch.
    """
    if not isinstance(model, GPTModel) or model.engine == "torch":
        return None
    threads = threads or torch.get_num_threads()
    known = _engines.get(model)
    # The engine reads the tensors' memory: if that has moved, or the number of threads differs, a new engine is needed.
    if (
        known is not None
        and known.places == _places(known.modules)
        and known.engine.threads == threads
        and known.identity == model.engine_identity
    ):
        return known.engine
    tensors = dict(model.named_parameters())
    if (
        unsupported_gpt(model.config)
        or not _knows_parameters(tensors, model.config.layers)
        or any(tensor.dtype != torch.float32 or tensor.device.type != "cpu" for tensor in tensors.values())
    ):
        return None
    library = load(identity=model.engine_identity)
    if not isinstance(library, Library):
        return None
    engine = Engine(library.functions, engine_shape(model.config, model.vocabulary), tensors, _rotation(model), threads)
    # Only the modules' parameters are referenced: a reference to the model would keep it alive.
    modules = [module._parameters for module in model.modules()]
    _engines[model] = _Known(modules=modules, places=_places(modules), identity=model.engine_identity, engine=engine)
    return engine


def engine_shape(model: GPT, vocabulary: int) -> Shape:
    """Return the engine's description of such a model."""
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
        boundary=-1 if model.boundary is None else model.boundary,
    )


def _knows_parameters(names: Iterable[str], layers: int) -> bool:
    """Return whether the engine knows all these parameters."""
    in_layers = {f"blocks.{layer}.{name}" for layer in range(layers) for name in LAYER_PARAMETERS}
    return set(names) <= in_layers | set(PARAMETERS)


def _rotation(model: GPTModel) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return cosines and sines of all positions, with the same rounding as in the PyTorch model; None without rotary positions."""
    if model.config.positions != "rotary":
        return None
    turn = rotation(torch.arange(model.context), head_width(model.config), torch.float32, model.config.rotary_base)
    return turn.cosines.squeeze(-2), turn.sines.squeeze(-2)


@dataclass(frozen=True, kw_only=True)
class _Known:
    """An engine, and the addresses of the tensors when it was created."""

    modules: Sequence[Mapping[str, torch.Tensor | None]]
    places: tuple[int, ...]
    identity: str
    """The requested build."""
    engine: Engine


def _places(modules: Sequence[Mapping[str, torch.Tensor | None]]) -> tuple[int, ...]:
    """Return the addresses of these modules' tensors."""
    return tuple(tensor.data_ptr() for module in modules for tensor in module.values() if tensor is not None)


_engines: weakref.WeakKeyDictionary[GPTModel, _Known] = weakref.WeakKeyDictionary()
