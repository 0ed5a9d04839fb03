"""OpenAI's release of GPT-2: a checkpoint of TensorFlow with hparams.json, encoder.json and vocab.bpe.

    model.ckpt.index                 a sorted string table: the name of each tensor -> a BundleEntryProto
    model.ckpt.data-00000-of-00001   the tensors' elements

(tensorflow/core/protobuf/tensor_bundle.proto: 1 dtype, 2 shape, 3 shard_id, 4 offset, 5 size, 7 slices.) Both are read here,
without TensorFlow. Matrices are [1, inputs, outputs].
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lmlab import LabError
from lmlab.exchange.models.foreign import ForeignModel, Given
from lmlab.exchange.models.hf_config import Config
from lmlab.exchange.models.sstable import read_table, varint
from lmlab.exchange.models.state_dicts import require_possible, weights_of
from lmlab.exchange.models.tables import Table, part
from lmlab.exchange.models.tokenizer_files import assumed, find_tokenizer
from lmlab.files import read_json, reason
from lmlab.recipe.model import GPT

FORM = "openai"
KIND = "OpenAI's GPT-2"
SETTINGS, INDEX = "hparams.json", "model.ckpt.index"
LARGEST_SETTINGS, LARGEST_INDEX = 1 << 16, 16 << 20
MOST_DIMENSIONS = 8
FLOAT = 1
"""DT_FLOAT of TensorFlow's types."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protocol buffers."""
PARTS = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn/c_attn",
    "attention.projection": "attn/c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp/c_fc",
    "mlp.down": "mlp/c_proj",
}
NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """Where a tensor is."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def is_openai(path: Path) -> bool:
    """Return whether it is such a folder."""
    return (path / SETTINGS).is_file() and (path / INDEX).is_file()


def read_openai(path: Path, given: Given) -> ForeignModel:
    """Return the model in a folder."""
    if given.heads is not None:
        raise LabError(f"{path.name} has its heads in {SETTINGS}: leave --heads out")
    values = read_json(path / SETTINGS, LARGEST_SETTINGS)
    if not isinstance(values, dict):
        raise LabError(f"{path / SETTINGS} is damaged: expected a JSON object")
    config = Config(values, SETTINGS)
    model = GPT(
        layers=config.size("n_layer"),
        heads=config.size("n_head"),
        width=config.size("n_embd"),
        context=config.size("n_ctx"),
        activation="gelu_tanh",
    )
    vocabulary = config.size("n_vocab")
    entries, shards = _entries(path)
    require_possible(model, vocabulary, SETTINGS, sum(shard.stat().st_size for shard in shards))
    tensors = {name: _tensor(name, entry, shards) for name, entry in entries.items()}
    weights = weights_of(path.name, tensors, table(), NOTHING, model, vocabulary)
    tokenizer, read = find_tokenizer(path, vocabulary, given.tokenizer)
    return ForeignModel(
        form=FORM,
        kind=KIND,
        model=model,
        vocabulary=vocabulary,
        weights=weights,
        tokenizer=tokenizer,
        files=(path / SETTINGS, path / INDEX, *shards, *read),
        notes=assumed(read, vocabulary),
    )


def table() -> Table:
    """Return its names of weights."""
    found = {"embedding.weight": part("model/wte"), "positions.weight": part("model/wpe")}
    found |= {"norm.weight": part("model/ln_f/g"), "norm.bias": part("model/ln_f/b")}
    for ours, name in PARTS.items():
        matrix = not ours.endswith("norm")
        found[f"{ours}.weight"] = part(f"model/h{{layer}}/{name}/{'w' if matrix else 'g'}", turned=matrix)
        found[f"{ours}.bias"] = part(f"model/h{{layer}}/{name}/b")
    return found


def _entries(folder: Path) -> tuple[dict[str, _Entry], list[Path]]:
    """Return the place of each tensor, and the files of their elements in order."""
    path = folder / INDEX
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_INDEX + 1)
        if len(content) > LARGEST_INDEX:
            raise ValueError(f"it has more than {LARGEST_INDEX:,} bytes")
        pairs = read_table(content)
        header = dict(_fields(pairs.pop(b"", b"")))
        found = {name.decode("utf-8"): _entry(value) for name, value in pairs.items()}
    except OSError as error:
        raise LabError(f"{path} can't be read: {reason(error)}") from None
    except (ValueError, TypeError) as error:
        raise LabError(f"{path} is damaged: {error}") from None
    count = header.get(1, 1)
    if header.get(2, 0) != 0 or not isinstance(count, int) or not 0 < count < 1000:
        raise LabError(f"{path} is of big-endian numbers, or of no number of files: expected OpenAI's own")
    shards = [folder / f"model.ckpt.data-{number:05d}-of-{count:05d}" for number in range(count)]
    for shard in shards:
        if not shard.is_file():
            raise LabError(f"{folder.name} has no {shard.name}: expected all files that {INDEX} names")
    return found, shards


def _entry(content: bytes) -> _Entry:
    """Return a BundleEntryProto. ValueError for a damaged one, or one of a tensor in slices."""
    fields = list(_fields(content))
    numbers = {number: value for number, value in fields if isinstance(value, int)}
    if any(number == 7 for number, _ in fields):
        raise ValueError("it has a tensor in slices")
    shape = next((value for number, value in fields if number == 2 and isinstance(value, bytes)), b"")
    sizes = tuple(
        int(dict(_fields(one)).get(1, 0)) for number, one in _fields(shape) if number == 2 and isinstance(one, bytes)
    )
    if len(sizes) > MOST_DIMENSIONS:
        raise ValueError("it has a tensor of too many dimensions")
    dtype, shard, offset, size = (numbers.get(number, 0) for number in (1, 3, 4, 5))
    return _Entry(dtype=dtype, shape=sizes, shard=shard, offset=offset, size=size)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a protocol buffer."""
    at = 0
    while at < len(content):
        tag, at = varint(content, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = varint(content, at)
            yield tag >> 3, value
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(kind)
        if kind == BYTES:
            length, at = varint(content, at)
        if length is None or at + length > len(content):
            raise ValueError("a field is not in its message")
        yield tag >> 3, content[at : at + length]
        at += length


def _tensor(name: str, entry: _Entry, shards: list[Path]) -> Tensor:
    """Return a tensor, mapped into memory; matrices without their first axis of one element."""
    needed = math.prod(entry.shape) * torch.float32.itemsize
    there = shards[entry.shard].stat().st_size if entry.shard < len(shards) else 0
    if entry.dtype != FLOAT or entry.size != needed or entry.offset + entry.size > there:
        raise LabError(
            f"{INDEX} has {name[:80]} as {list(entry.shape)} at byte {entry.offset:,}: expected float32 numbers within the files"
        )
    content = torch.from_file(str(shards[entry.shard]), shared=False, size=there, dtype=torch.uint8)
    part_of = content[entry.offset : entry.offset + entry.size]
    part_of = part_of if entry.offset % torch.float32.itemsize == 0 else part_of.clone()
    shape = entry.shape[1:] if len(entry.shape) == 3 and entry.shape[0] == 1 else entry.shape
    return part_of.view(torch.float32).view(shape)
