"""Small GPTs, one for each option and some for options together."""

import torch

from lmlab.model.build import build_model
from lmlab.model.gpt import GPTModel
from lmlab.recipe.model import GPT, PRESETS

VOCABULARY = 11
SHAPE = {"layers": 3, "heads": 4, "width": 16, "context": 12}

OPTIONS: dict[str, dict] = {
    "gpt2": {},
    "rotary": {"positions": "rotary"},
    "rmsnorm": {"norm": "rmsnorm"},
    "relu": {"activation": "relu"},
    "gelu_tanh": {"activation": "gelu_tanh"},
    "relu2": {"activation": "relu2"},
    "swiglu": {"activation": "swiglu"},
    "hidden": {"hidden": 24},
    "no_bias": {"bias": False, "qkv_bias": False},
    "no_qkv_bias": {"qkv_bias": False},
    "only_qkv_bias": {"bias": False},
    "untied": {"tied": False},
    "untied_head_bias": {"tied": False, "head_bias": True},
    "tied_head_bias": {"head_bias": True},
    "dropout": {"dropout": 0.2},
    "qk_norm": {"qk_norm": True},
    "boundary": {"boundary": 3},
    "boundary_dropout": {"boundary": 3, "dropout": 0.2, "kv_heads": 2},
    "rotary_qk_norm": {"positions": "rotary", "qk_norm": True},
    "softcap": {"softcap": 2.0},
    "zero_init": {"zero_init": True, "tied": False},
    "grouped": {"kv_heads": 2},
    "multi_query_rotary": {"kv_heads": 1, "positions": "rotary"},
    "value_residual": {"value_residual": True},
    "value_residual_grouped": {"value_residual": True, "kv_heads": 2, "positions": "rotary"},
    "embedding_skip": {"embedding_skip": True},
    "embedding_skip_rmsnorm": {"embedding_skip": True, "norm": "rmsnorm"},
    "ngrams": {"ngrams": (2, 3), "ngram_rows": 150},
    "modern": {**PRESETS["modern"]},
    "modern_grouped_dropout": {**PRESETS["modern"], "kv_heads": 2, "dropout": 0.2},
    "modern_ngrams_dropout": {**PRESETS["modern"], "ngrams": (4, 2), "ngram_rows": 7, "dropout": 0.2},
    "llama_grouped": {**PRESETS["llama"], "kv_heads": 2},
    "rotary_base": {"positions": "rotary", "rotary_base": 100.0},
    "one_layer": {**PRESETS["modern"], "layers": 1},
}


def settings(name: str, **changes: object) -> GPT:
    """The recipe's model of an option."""
    return GPT(**{**SHAPE, **OPTIONS[name], **changes})


def random_model(config: GPT, seed: int = 0, dtype: torch.dtype = torch.float32, scale: float = 0.5) -> GPTModel:
    """A model in which every parameter, also those that start at 0 or 1, is random."""
    model = build_model(config, VOCABULARY).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model


def random_tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    """Token ids below the vocabulary."""
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))
