"""llm.c's model file (gpt2_124M.bin, model_00019560.bin): a header of 256 int32, then the weights of GPT-2.

    header    20240326, version (3: float32, 5: bfloat16), context, vocabulary, layers, heads, width, padded vocabulary
    weights   wte [padded, C], wpe [T, C], then one array each for all layers: ln1 weight and bias, qkv weight [L, 3 C, C] and
              bias, projection, ln2, MLP up [L, 4 C, C], MLP down [L, C, 4 C]; at the end the last norm

(llm.c, train_gpt2.c.) Matrices are [outputs, inputs], as here. The padding has no part in llm.c's softmax and is left out.
"""

import math
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lmlab import LabError
from lmlab.exchange.models.foreign import ForeignModel, Given
from lmlab.exchange.models.state_dicts import require_possible, weights_of
from lmlab.exchange.models.tables import Table, part
from lmlab.exchange.models.tokenizer_files import assumed, find_tokenizer
from lmlab.files import reason
from lmlab.recipe.model import GPT

FORM = "llmc"
KIND = "llm.c's GPT-2"
MAGIC = 20_240_326
HEADER_BYTES = 256 * 4
FACTS = 6
DTYPES = {3: torch.float32, 5: torch.bfloat16}
"""Version -> dtype of the weights."""
NOTHING = re.compile(r"(?!)")
LAYERED = (
    ("attention_norm.weight", "C"),
    ("attention_norm.bias", "C"),
    ("attention.qkv.weight", "3C C"),
    ("attention.qkv.bias", "3C"),
    ("attention.projection.weight", "C C"),
    ("attention.projection.bias", "C"),
    ("mlp_norm.weight", "C"),
    ("mlp_norm.bias", "C"),
    ("mlp.up.weight", "4C C"),
    ("mlp.up.bias", "4C"),
    ("mlp.down.weight", "C 4C"),
    ("mlp.down.bias", "C"),
)
"""Our names of what each layer has, in the order of the file, and their shapes; each array has that of all layers."""


def is_llmc(path: Path) -> bool:
    """Return whether a file begins with llm.c's number."""
    try:
        with open(path, "rb") as file:
            return int.from_bytes(file.read(4), "little") == MAGIC
    except OSError:
        return False


def read_llmc(path: Path, given: Given) -> ForeignModel:
    """Return the model in a .bin file."""
    if given.heads is not None:
        raise LabError(f"{path.name} has its heads in its header: leave --heads out")
    version, numbers = _header(path)
    context, vocabulary, layers, heads, width, padded = numbers
    model = GPT(layers=layers, heads=heads, width=width, context=context, activation="gelu_tanh")
    dtype = DTYPES[version]
    require_possible(model, vocabulary, path.name, path.stat().st_size)
    names = dict(_arrays(model, padded))
    needed = HEADER_BYTES + dtype.itemsize * sum(math.prod(shape) for shape in names.values())
    if path.stat().st_size != needed:
        raise LabError(
            f"{path.name} is damaged or cut off: it has {path.stat().st_size:,} bytes, its header says {needed:,}"
        )
    tensors = _tensors(path, names, dtype)
    tensors["embedding.weight"] = tensors["embedding.weight"][:vocabulary]
    tokenizer, read = find_tokenizer(path.parent, vocabulary, given.tokenizer)
    return ForeignModel(
        form=FORM,
        kind=KIND,
        model=model,
        vocabulary=vocabulary,
        weights=weights_of(path.name, tensors, table(), NOTHING, model, vocabulary),
        tokenizer=tokenizer,
        files=(path, *read),
        notes=assumed(read, vocabulary),
        facts={"dtype": str(dtype).removeprefix("torch.")},
    )


def table() -> Table:
    """Return the names that `read_llmc` gives to the arrays, which are ours."""
    found = {name: part(f"blocks.{{layer}}.{name}") for name, _ in LAYERED}
    return found | {name: part(name) for name in ("embedding.weight", "positions.weight", "norm.weight", "norm.bias")}


def _header(path: Path) -> tuple[int, list[int]]:
    """Return the version, and context, vocabulary, layers, heads, width and padded vocabulary; all above 0."""
    try:
        with open(path, "rb") as file:
            content = file.read(HEADER_BYTES)
    except OSError as error:
        raise LabError(f"{path.name} can't be read: {reason(error)}") from None
    if len(content) < HEADER_BYTES or int.from_bytes(content[:4], "little") != MAGIC:
        raise LabError(f"{path.name} is no model of llm.c: expected a header of 256 numbers, the first {MAGIC}")
    magic, version, *numbers = (int(one) for one in np.frombuffer(content, dtype="<i4")[: FACTS + 2])
    if version not in DTYPES:
        raise LabError(
            f"{path.name} has version {version} of llm.c's format: expected {' or '.join(map(str, DTYPES))}; write it again with "
            "a newer llm.c"
        )
    if min(numbers) < 1 or numbers[5] < numbers[1]:
        raise LabError(f"{path.name} is damaged: its header has {', '.join(map(str, numbers))}: expected sizes above 0")
    return version, numbers


def _arrays(model: GPT, padded: int) -> list[tuple[str, tuple[int, ...]]]:
    """Return name and shape of each array, in the order of the file."""
    sizes = {"C": model.width, "3C": 3 * model.width, "4C": 4 * model.width}
    layered = [(name, (model.layers, *(sizes[one] for one in shape.split()))) for name, shape in LAYERED]
    first = [("embedding.weight", (padded, model.width)), ("positions.weight", (model.context, model.width))]
    return [*first, *layered, ("norm.weight", (model.width,)), ("norm.bias", (model.width,))]


def _tensors(path: Path, names: dict[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the weights of each layer by our names, mapped into memory."""
    content = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    found: dict[str, Tensor] = {}
    at = HEADER_BYTES
    for name, shape in names.items():
        end = at + math.prod(shape) * dtype.itemsize
        array = content[at:end].view(dtype).view(shape)
        if name in dict(LAYERED):
            found |= {f"blocks.{layer}.{name}": array[layer] for layer in range(shape[0])}
        else:
            found[name] = array
        at = end
    return found
