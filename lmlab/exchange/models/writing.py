"""Writing a model in the formats of other programs, into a folder that is new and empty."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.tokenizers.byte_level import END_OF_TEXT
from lmlab.data.tokenizers.characters import Characters
from lmlab.data.tokenizers.imported import Imported
from lmlab.data.tokenizers.words import PAD, Words
from lmlab.exchange.models import gguf, hf_gpt2, hf_llama, nanogpt
from lmlab.exchange.models.chat_templates import jinja_of, modelfile_lines
from lmlab.exchange.models.exportable import GGUF, HF, NANOGPT
from lmlab.exchange.models.pickled import write_pickle
from lmlab.exchange.models.tokenizers import definition_of, special_texts
from lmlab.exchange.models.weights import theirs
from lmlab.recipe.model import GPT
from lmlab.recipe.template import Template

if TYPE_CHECKING:
    from torch import Tensor

MODEL_FILE = "model.gguf"
CHECKPOINT, META = "ckpt.pt", "meta.pkl"
INSTALL_GGUF = "pip install 'lmlab[export]'"


@dataclass(frozen=True, kw_only=True)
class Written:
    """A model to write."""

    name: str
    model: GPT
    vocabulary: int
    weights: Mapping[str, Tensor]
    """Our names -> float32, on the CPU."""
    tokenizer: Tokenizer
    step: int
    loss: float | None
    """Its validation loss in nats a token; None where unknown."""
    template: Template | None = None
    """Of the conversations that it was tuned on; None for a model that continues a text."""


def hf_class(model: GPT) -> str:
    """Return the class of transformers for a model that can be exported to it."""
    return hf_llama.CLASS if model.positions == "rotary" else hf_gpt2.CLASS


def write_hf(folder: Path, what: Written) -> None:
    """Write config.json, generation_config.json, model.safetensors, tokenizer.json and tokenizer_config.json."""
    from safetensors.torch import save_file

    model, tokenizer = what.model, what.tokenizer
    if model.positions == "rotary":
        full = hf_llama.with_its_biases(model)
        config, table = hf_llama.config_of(model, what.vocabulary), hf_llama.table(full, model.bias)
    else:
        full = hf_gpt2.with_its_biases(model)
        config, table = hf_gpt2.config_of(model, what.vocabulary), hf_gpt2.table(full)
    ids = special_ids(tokenizer)
    definition = definition_of(tokenizer)
    texts = special_texts(tokenizer)
    _write_json(folder / "config.json", {**config, **ids, "dtype": "float32", "torch_dtype": "float32"})
    _write_json(folder / "generation_config.json", {"_from_model_config": True, **ids})
    save_file(
        theirs(what.weights, table, full, what.vocabulary), folder / "model.safetensors", metadata={"format": "pt"}
    )
    _write_json(folder / "tokenizer.json", definition)
    if what.template is not None:
        texts = {**texts, "chat_template": jinja_of(what.template)}
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.context, **texts}
    _write_json(folder / "tokenizer_config.json", {**facts, "clean_up_tokenization_spaces": False})


def special_ids(tokenizer: Tokenizer) -> dict[str, int | None]:
    """Return the ids of the begin and end of a text, and of padding: null where there are none."""
    found = {"bos_token_id": tokenizer.begin_of_text, "eos_token_id": tokenizer.end_of_text}
    return {**found, "pad_token_id": PAD if isinstance(tokenizer, Words) else None}


def write_nanogpt(folder: Path, what: Written) -> None:
    """Write ckpt.pt, as sample.py of nanoGPT reads it, and for characters meta.pkl."""
    import torch

    full = nanogpt.with_its_biases(what.model)
    state = theirs(what.weights, nanogpt.table(), full, what.vocabulary)
    state["lm_head.weight"] = state["transformer.wte.weight"]
    if isinstance(what.tokenizer, Characters):
        ends = [] if what.tokenizer.end_of_text is None else [END_OF_TEXT]
        (folder / META).write_bytes(write_pickle(nanogpt.meta_of([*what.tokenizer.alphabet, *ends])))
    value = {
        "model": state,
        "model_args": nanogpt.arguments_of(what.model, what.vocabulary),
        "iter_num": what.step,
        "best_val_loss": what.loss,
        "config": {"dataset": what.name},
    }
    torch.save(value, folder / CHECKPOINT)


def write_gguf(folder: Path, what: Written) -> None:
    """Write model.gguf in float32, and Ollama's Modelfile. LabError where the package gguf isn't installed."""
    try:
        from gguf import GGUFWriter
    except ImportError:
        raise LabError(f"--to gguf needs the package gguf: {INSTALL_GGUF}") from None
    vocabulary = gguf.vocabulary_of(what.tokenizer)
    model, kind = what.model, gguf.architecture(what.model)
    writer = GGUFWriter(folder / MODEL_FILE, kind)
    writer.add_name(what.name)
    writer.add_file_type(0)  # float32
    for key, value in gguf.settings_of(model, what.vocabulary).items():
        add: Callable[[str, Any], None] = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{kind}.{key}", value)
    writer.add_tokenizer_model(vocabulary.kind)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.kind == "gpt2":
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(list(vocabulary.merges))
        assert vocabulary.end is not None
        writer.add_bos_token_id(vocabulary.end)
        writer.add_eos_token_id(vocabulary.end)
    writer.add_add_bos_token(False)
    if what.template is not None:
        writer.add_chat_template(jinja_of(what.template))
    full = gguf.with_its_biases(model)
    for name, tensor in theirs(what.weights, gguf.table(full), full, what.vocabulary).items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "Modelfile").write_text(
        modelfile(model, vocabulary.end is not None, what.template), encoding="utf-8", newline="\n"
    )


def modelfile(model: GPT, has_end: bool, template: Template | None) -> str:
    """Return Ollama's Modelfile: with the model's template, or the prompt as it is where the model continues a text."""
    if template is None:
        asked = ['TEMPLATE """{{ .Prompt }}"""', *([f'PARAMETER stop "{END_OF_TEXT}"'] if has_end else [])]
    else:
        asked = modelfile_lines(template, has_end)
    return "\n".join([f"FROM ./{MODEL_FILE}", *asked, f"PARAMETER num_ctx {model.context}", ""])


WRITERS: dict[str, Callable[[Path, Written], None]] = {HF: write_hf, GGUF: write_gguf, NANOGPT: write_nanogpt}


def require_tokenizer(tokenizer: Tokenizer, name: str) -> None:
    """Raise LabError, before anything is written, where this very tokenizer has no form in a format."""
    if name == GGUF:
        gguf.vocabulary_of(tokenizer)
    elif name == HF:
        definition_of(tokenizer)
    elif isinstance(tokenizer, Imported):
        raise LabError("an imported tokenizer has no form in nanoGPT: use --to hf")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
