"""The GPT of "Build a Large Language Model (From Scratch)" (S. Raschka): the state_dict() of its GPTModel, a .pth file.

Either the tensors by name, or a dict with them under model_state_dict, beside an optimizer's. It has GPT-2's layers with
separate projections of queries, keys and values, and an untied head. The number of heads isn't in the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab import LabError
from lmlab.exchange.models.foreign import ForeignModel, Given
from lmlab.exchange.models.state_dicts import layers_in, matrix, require_possible, tensors_in, weights_of
from lmlab.exchange.models.tables import Piece, Table, part
from lmlab.exchange.models.tokenizer_files import assumed, find_tokenizer
from lmlab.recipe.model import GPT

if TYPE_CHECKING:
    from torch import Tensor

FORM = "book"
KIND = "GPTModel of LLMs-from-scratch"
STATE = "model_state_dict"
PASSED_OVER = re.compile(r"\.att\.mask$")
LAYER = "trf_blocks.{layer}"


def is_book(value: Any) -> bool:
    """Return whether a PyTorch file's value is such a state."""
    if not isinstance(value, dict):
        return False
    state = value.get(STATE, value)
    return isinstance(state, dict) and any(isinstance(one, str) and one.endswith("tok_emb.weight") for one in state)


def read_book(path: Path, value: Any, given: Given) -> ForeignModel:
    """Return the model in the value of a .pth file."""
    if not is_book(value):
        raise LabError(f"{path.name} is no model of LLMs-from-scratch: expected tok_emb.weight among its weights")
    tensors = tensors_in(path, value.get(STATE, value))
    model, vocabulary = settings_of(path, tensors, given.heads)
    require_possible(model, vocabulary, path.name, path.stat().st_size)
    weights = weights_of(path.name, tensors, table(), PASSED_OVER, model, vocabulary)
    tokenizer, read = find_tokenizer(path.parent, vocabulary, given.tokenizer)
    return ForeignModel(
        form=FORM,
        kind=KIND,
        model=model,
        vocabulary=vocabulary,
        weights=weights,
        tokenizer=tokenizer,
        files=(path, *read),
        notes=assumed(read, vocabulary),
    )


def settings_of(path: Path, tensors: Mapping[str, Tensor], heads: int | None) -> tuple[GPT, int]:
    """Return the settings and the vocabulary, which follow from the shapes of the weights, and from `heads`."""
    vocabulary, width = matrix(path, tensors, "tok_emb.weight")
    if heads is None:
        like = f"--heads {width // 64} (64 numbers a head, as in GPT-2)" if width % 64 == 0 else "--heads N"
        raise LabError(f"{path.name} doesn't have its number of heads: give it, such as {like}")
    hidden, _ = matrix(path, tensors, "trf_blocks.0.ff.layers.0.weight")
    model = GPT(
        layers=layers_in(tensors, r"trf_blocks\.(\d{1,5})\."),
        heads=heads,
        width=width,
        hidden=None if hidden == 4 * width else hidden,
        context=matrix(path, tensors, "pos_emb.weight")[0],
        activation="gelu_tanh",
        qkv_bias="trf_blocks.0.att.W_query.bias" in tensors,
        tied="out_head.weight" not in tensors,
        head_bias="out_head.bias" in tensors,
    )
    return model, vocabulary


def table() -> Table:
    """Return its names of weights."""
    found = {
        "embedding.weight": part("tok_emb.weight"),
        "positions.weight": part("pos_emb.weight"),
        "head.weight": part("out_head.weight"),
        "head.bias": part("out_head.bias"),
    }
    norms = {"norm": "final_norm", "attention_norm": f"{LAYER}.norm1", "mlp_norm": f"{LAYER}.norm2"}
    for ours, theirs in norms.items():
        found |= {f"{ours}.weight": part(f"{theirs}.scale"), f"{ours}.bias": part(f"{theirs}.shift")}
    for kind in ("weight", "bias"):
        rows = {"queries": "query", "keys": "key", "values": "value"}
        found[f"attention.qkv.{kind}"] = tuple(
            Piece(name=f"{LAYER}.att.W_{word}.{kind}", rows=part_of)  # type: ignore[arg-type]
            for part_of, word in rows.items()
        )
        found[f"attention.projection.{kind}"] = part(f"{LAYER}.att.out_proj.{kind}")
        found[f"mlp.up.{kind}"] = part(f"{LAYER}.ff.layers.0.{kind}")
        found[f"mlp.down.{kind}"] = part(f"{LAYER}.ff.layers.2.{kind}")
    return found
