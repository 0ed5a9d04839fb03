"""The same weights in Hugging Face's GPT-2 give the same logits."""

import pytest
import torch

from lmlab.recipe.model import GPT
from tests.model.grid import random_model, random_tokens


def test_logits_equal_those_of_gpt2_in_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = GPT(layers=3, heads=4, width=32, context=20, activation="gelu_tanh")
    ours = random_model(config, scale=0.3).eval()
    shape = {"n_layer": 3, "n_head": 4, "n_embd": 32, "n_positions": 20, "vocab_size": 11}
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, **ids)).eval()
    tokens = random_tokens(2, 20)
    with torch.no_grad():
        theirs.load_state_dict(in_their_names(ours.state_dict()))
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, rtol=1e-4, atol=1e-4)


def in_their_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """GPT-2's names; its linear layers hold their matrices the other way round."""
    parts = {
        "attention_norm": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.projection": "attn.c_proj",
        "mlp_norm": "ln_2",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    }
    names = {"embedding.weight": "wte.weight", "positions.weight": "wpe.weight"}
    names |= {f"norm.{kind}": f"ln_f.{kind}" for kind in ("weight", "bias")}
    for layer in range(3):
        for part, name in parts.items():
            names |= {f"blocks.{layer}.{part}.{kind}": f"h.{layer}.{name}.{kind}" for kind in ("weight", "bias")}
    out = {"lm_head.weight": state["embedding.weight"]}
    for name, tensor in state.items():
        turned = name.endswith("weight") and ("attention." in name or "mlp." in name)
        out[f"transformer.{names[name]}"] = tensor.T if turned else tensor
    return out
