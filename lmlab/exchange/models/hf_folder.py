"""A model's folder as transformers writes it: config.json, weights in one file or several, and the tokenizer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab import LabError
from lmlab.checkpoint.tensors import read_tensors
from lmlab.exchange.models import hf_gpt2, hf_llama
from lmlab.exchange.models.foreign import ForeignModel, Given
from lmlab.exchange.models.hf_config import Config, first_id
from lmlab.exchange.models.state_dicts import require_possible, tensors_in, weights_of
from lmlab.exchange.models.tables import Table
from lmlab.exchange.models.tokenizer_files import assumed, find_tokenizer
from lmlab.exchange.models.torch_file import read_torch_file
from lmlab.files import is_plain_name, read_json
from lmlab.recipe.model import GPT

if TYPE_CHECKING:
    from torch import Tensor

FORM = "hf"
CONFIG = "config.json"
CLASSES = (hf_gpt2.CLASS, *hf_llama.CLASSES)
SAFETENSORS, PYTORCH = "model.safetensors", "pytorch_model.bin"
"""With `.index.json` at the end: which of several files has each weight."""
LARGEST_CONFIG = 1 << 20
LARGEST_INDEX = 16 << 20
MOST_FILES = 1000


def is_hf(path: Path) -> bool:
    """Return whether it is such a folder."""
    return (path / CONFIG).is_file()


def read_hf(path: Path, given: Given) -> ForeignModel:
    """Return the model in a folder; LabError where it can't be read, or is of a class that lmlab's GPT can't express."""
    if given.heads is not None:
        raise LabError(f"{path.name} has its heads in {CONFIG}: leave --heads out")
    values = read_json(path / CONFIG, LARGEST_CONFIG)
    if not isinstance(values, dict):
        raise LabError(f"{path / CONFIG} is damaged: expected a JSON object")
    config = Config(values, CONFIG)
    kind = _class_of(values)
    config.require("quantization_config")
    model = hf_gpt2.settings_of(config) if kind == hf_gpt2.CLASS else hf_llama.settings_of(config, kind)
    vocabulary = config.size("vocab_size")
    files = weight_files(path)
    require_possible(model, vocabulary, CONFIG, sum(file.stat().st_size for file in files))
    tensors = _tensors(files)
    if kind == hf_llama.CLASS:
        try:
            tensors = hf_llama.without_zero_biases(model, tensors)
        except LabError as error:
            raise LabError(f"{path.name}: {error}") from None
    weights = weights_of(path.name, tensors, *_table(kind, model, tensors), model, vocabulary)
    begin, end = (first_id(values.get(f"{one}_token_id"), vocabulary) for one in ("bos", "eos"))
    tokenizer, read = find_tokenizer(path, vocabulary, given.tokenizer, begin, end)
    return ForeignModel(
        form=FORM,
        kind=kind,
        model=model,
        vocabulary=vocabulary,
        weights=weights,
        tokenizer=tokenizer,
        files=(path / CONFIG, *files, *read),
        notes=assumed(read, vocabulary),
        facts={"transformers": str(values.get("transformers_version", ""))[:40] or None},
    )


def weight_files(folder: Path) -> list[Path]:
    """Return the files of the weights, one or several; LabError where one is missing."""
    for name in (SAFETENSORS, PYTORCH):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _listed(folder, index)
    raise LabError(f"{folder.name} has no weights: expected {SAFETENSORS}, {PYTORCH} or an index of several files")


def _class_of(values: Mapping[str, Any]) -> str:
    named = values.get("architectures")
    kind = named[0] if isinstance(named, list) and named else values.get("model_type")
    if kind in ("gpt2", "GPT2Model"):
        return hf_gpt2.CLASS
    if not isinstance(kind, str) or kind not in CLASSES:
        raise LabError(
            f"{CONFIG} is of a {str(kind)[:60]}, which lmlab's GPT can't express: expected one of {', '.join(CLASSES)}"
        )
    return kind


def _listed(folder: Path, index: Path) -> list[Path]:
    value = read_json(index, LARGEST_INDEX)
    names = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(names, dict) or not all(isinstance(one, str) and is_plain_name(one) for one in names.values()):
        raise LabError(f"{index} is damaged: expected weight_map with the file of each weight")
    found = sorted(set(names.values()))[:MOST_FILES]
    for name in found:
        if not (folder / name).is_file():
            raise LabError(f"{index.name} names {name}: expected it in {folder}")
    return [folder / name for name in found]


def _tensors(files: list[Path]) -> dict[str, Tensor]:
    """Return the tensors in the files by name; their bytes are read when they are used."""
    found: dict[str, Tensor] = {}
    for file in files:
        found |= read_tensors(file) if file.suffix == ".safetensors" else tensors_in(file, read_torch_file(file))
    return found


def _table(kind: str, model: GPT, tensors: Mapping[str, Tensor]) -> tuple[Table, re.Pattern[str]]:
    if kind == hf_gpt2.CLASS:
        bare = "wte.weight" in tensors
        return hf_gpt2.table(model, "" if bare else hf_gpt2.PREFIX), hf_gpt2.PASSED_OVER
    return hf_llama.table(model, model.bias), hf_llama.PASSED_OVER
