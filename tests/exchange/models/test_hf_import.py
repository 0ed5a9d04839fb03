"""What transformers writes is imported with the same logits, or refused by the setting that lmlab doesn't have."""

import json

import pytest
import torch

from lmlab import LabError
from lmlab.exchange.models.foreign import Given
from lmlab.exchange.models.forms import read_model
from lmlab.recipe.model import GPT
from tests.exchange.models.made import assert_same_logits, put_tokenizer, randomised, transformers

GPT2 = {"n_layer": 2, "n_head": 3, "n_embd": 24, "n_positions": 20, "vocab_size": 37}
LLAMA = {
    **{"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 6},
    **{"max_position_embeddings": 20, "vocab_size": 37, "bos_token_id": 0, "eos_token_id": 1},
}
MODELS = {
    "GPT-2": ("GPT2", GPT2),
    "GPT-2 untied": ("GPT2", {**GPT2, "tie_word_embeddings": False}),
    "GPT-2 with other numbers": (
        "GPT2",
        {**GPT2, "n_inner": 56, "activation_function": "relu", "layer_norm_epsilon": 1e-3, "vocab_size": 31},
    ),
    "GPT-2 with the exact GELU": ("GPT2", {**GPT2, "activation_function": "gelu"}),
    "Llama": ("Llama", LLAMA),
    "Llama with grouped keys, tied": ("Llama", {**LLAMA, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    "Llama with biases": ("Llama", {**LLAMA, "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1}),
    "Llama with biases of queries": ("Llama", {**LLAMA, "attention_bias": True, "num_key_value_heads": 2}),
    "Llama with other numbers": (
        "Llama",
        {**LLAMA, "rms_norm_eps": 1e-2, "rope_parameters": {"rope_type": "default", "rope_theta": 77.0}},
    ),
    "Mistral": ("Mistral", {**LLAMA, "num_key_value_heads": 3, "sliding_window": None}),
    "Qwen2": ("Qwen2", {**LLAMA, "num_key_value_heads": 2}),
}


def written(folder, name, settings, **how):
    """A random model, saved in `folder` by transformers; returns the function from tokens to logits."""
    library = transformers()
    config = getattr(library, f"{name}Config")(**settings)
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    model = randomised(getattr(library, head)(config))
    if settings.get("attention_bias") and not settings.get("mlp_bias"):
        for layer in model.model.layers:
            torch.nn.init.zeros_(layer.self_attn.o_proj.bias)
    if settings.get("tie_word_embeddings", name == "GPT2"):
        model.tie_weights()
    if "dtype" in how:
        model = model.to(how.pop("dtype"))
    model.save_pretrained(folder, **how)
    put_tokenizer(folder, settings["vocab_size"])
    return lambda tokens: model(tokens).logits


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers(tmp_path, name):
    theirs = written(tmp_path, *MODELS[name])
    assert_same_logits(read_model(tmp_path), theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_keep_their_values(tmp_path, dtype):
    library = transformers()
    written(tmp_path, "Llama", LLAMA, dtype=dtype)
    found = read_model(tmp_path)
    assert {tensor.dtype for tensor in found.weights.values()} == {torch.float32}
    model = library.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert_same_logits(found, lambda tokens: model(tokens).logits)


def test_weights_in_several_files_are_read(tmp_path):
    theirs = written(tmp_path, "Llama", LLAMA, max_shard_size="8KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    found = read_model(tmp_path)
    assert_same_logits(found, theirs)
    assert len(found.files) > 4


def test_an_old_folder_with_pytorch_s_file_and_version_4_s_names_is_read(tmp_path):
    library = transformers()
    config = library.LlamaConfig(**LLAMA, rope_parameters={"rope_type": "default", "rope_theta": 77.0})
    model = randomised(library.LlamaForCausalLM(config))
    values = {**config.to_dict(), "architectures": ["LlamaForCausalLM"], "rope_theta": 77.0, "rope_scaling": None}
    values.pop("rope_parameters")
    (tmp_path / "config.json").write_text(json.dumps(values))
    buffers = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}
    torch.save({**model.state_dict(), **buffers}, tmp_path / "pytorch_model.bin")
    put_tokenizer(tmp_path, 37)
    assert_same_logits(read_model(tmp_path), lambda tokens: model(tokens).logits)


def test_gpt2_s_own_names_without_a_prefix_are_read(tmp_path):
    theirs = written(tmp_path, "GPT2", GPT2)
    from safetensors.torch import load_file, save_file

    tensors = {
        name.removeprefix("transformer."): one for name, one in load_file(tmp_path / "model.safetensors").items()
    }
    save_file({**tensors, "h.0.attn.bias": torch.ones(1, 1, 20, 20)}, tmp_path / "model.safetensors")
    assert_same_logits(read_model(tmp_path), theirs)


def test_settings_are_those_of_the_configuration(tmp_path):
    written(tmp_path, "Llama", {**LLAMA, "num_key_value_heads": 2})
    expected = GPT(
        layers=2, heads=6, kv_heads=2, width=24, hidden=40, context=20, positions="rotary", norm="rmsnorm", activation="swiglu",
        bias=False, qkv_bias=False, tied=False, norm_epsilon=1e-6,
    )  # fmt: skip
    assert read_model(tmp_path).model == expected


# Configurations alone: none of these needs transformers.

PLAIN = {
    "GPT2LMHeadModel": {**GPT2, "activation_function": "gelu_new"},
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": {**LLAMA, "sliding_window": None},
    "Qwen2ForCausalLM": LLAMA,
}


def refused(folder, kind, **changes):
    (folder / "config.json").write_text(json.dumps({**PLAIN.get(kind, LLAMA), "architectures": [kind], **changes}))
    with pytest.raises(LabError) as error:
        read_model(folder)
    said = str(error.value)
    assert "\n" not in said and "config.json" in said
    return said


@pytest.mark.parametrize(
    "kind, changes",
    [
        ("GPT2LMHeadModel", {"activation_function": "swish"}),
        ("GPT2LMHeadModel", {"scale_attn_by_inverse_layer_idx": True}),
        ("GPT2LMHeadModel", {"add_cross_attention": True}),
        ("GPT2LMHeadModel", {"scale_attn_weights": False}),
        ("GPT2LMHeadModel", {"n_head": 0}),
        ("GPT2LMHeadModel", {"n_embd": "24"}),
        ("GPT2LMHeadModel", {"tie_word_embeddings": 1}),
        ("GPT2LMHeadModel", {"layer_norm_epsilon": -1}),
        ("GPT2LMHeadModel", {"quantization_config": {"bits": 4}}),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
        ("LlamaForCausalLM", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}}),
        ("LlamaForCausalLM", {"rope_parameters": {"rope_theta": 5e5, "factor": 8.0}}),
        ("LlamaForCausalLM", {"partial_rotary_factor": 0.5}),
        ("LlamaForCausalLM", {"hidden_act": "gelu"}),
        ("LlamaForCausalLM", {"head_dim": 16}),
        ("LlamaForCausalLM", {"mlp_bias": True}),
        ("MistralForCausalLM", {"sliding_window": 8}),
        ("Qwen2ForCausalLM", {"use_sliding_window": True}),
        ("Qwen2ForCausalLM", {"layer_types": ["full_attention", "sliding_attention"]}),
    ],
)
def test_what_lmlab_can_not_express_is_named(tmp_path, kind, changes):
    said = refused(tmp_path, kind, **changes)
    name, value = next(iter(changes.items()))
    inner = next((one for one in value if one in said), None) if isinstance(value, dict) else None
    assert name in said or inner is not None


@pytest.mark.parametrize("kind", ["GPTNeoXForCausalLM", "MixtralForCausalLM", "\x1b[2J", None])
def test_another_class_is_refused_with_those_that_can_be_read(tmp_path, kind):
    said = refused(tmp_path, kind)
    assert "GPT2LMHeadModel, LlamaForCausalLM" in said and "\x1b" not in said


@pytest.mark.parametrize(
    "changes", [{"num_attention_heads": 5}, {"num_key_value_heads": 4}, {"num_attention_heads": 24}]
)
def test_shapes_that_can_not_be_built_are_refused(tmp_path, changes):
    (tmp_path / "model.safetensors").write_bytes(bytes(100))
    assert "can't be built" in refused(tmp_path, "LlamaForCausalLM", **changes)


def test_a_small_file_can_not_claim_a_huge_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    huge = {"hidden_size": 1 << 20, "num_hidden_layers": 1000, "num_attention_heads": 1 << 10}
    assert "at least one a parameter" in refused(tmp_path, "LlamaForCausalLM", **huge)
    assert "at most" in refused(tmp_path, "LlamaForCausalLM", max_position_embeddings=1 << 39)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(LabError, match="has no weights"):
        read_model(tmp_path)
    index = {"weight_map": {"a": "../secret", "b": "missing.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(LabError, match="is damaged"):
        read_model(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"b": "missing.safetensors"}}))
    with pytest.raises(LabError, match="missing.safetensors"):
        read_model(tmp_path)


def changed(folder, change=lambda tensors: None, **settings):
    """Write a Llama with a change of its tensors, and further settings in its configuration."""
    from safetensors.torch import save_file

    from lmlab.exchange.models import hf_llama
    from lmlab.exchange.models.hf_config import Config
    from lmlab.exchange.models.weights import theirs

    model = hf_llama.settings_of(Config(LLAMA, "config.json"))
    tensors = theirs({}, hf_llama.table(model, False), model, 37)
    change(tensors)
    (folder / "config.json").write_text(json.dumps({**LLAMA, "architectures": ["LlamaForCausalLM"], **settings}))
    save_file(tensors, folder / "model.safetensors")
    put_tokenizer(folder, 37)


@pytest.mark.parametrize(
    "change, said",
    [
        (
            lambda tensors: tensors.pop("model.layers.1.mlp.gate_proj.weight"),
            "no tensor model.layers.1.mlp.gate_proj.weight",
        ),
        (
            lambda tensors: tensors.update({"model.norm.weight": torch.ones(23)}),
            r"has the shape \[23\]: expected \[24\]",
        ),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(24, dtype=torch.int32)}), "floating-point"),
        (lambda tensors: tensors.update({"model.layers.2.x": torch.ones(2)}), "no place for: model.layers.2.x"),
        (lambda tensors: tensors.update({"model.layers.1.self_attn.o_proj.bias": torch.ones(24)}), "isn't zero"),
        (lambda tensors: tensors.update({"model.layers.0.self_attn.q_norm.weight": torch.ones(4)}), "no place for"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path, change, said):
    changed(tmp_path, change)
    with pytest.raises(LabError, match=said):
        read_model(tmp_path)


def test_a_head_beside_a_tied_one_is_passed_over_as_transformers_does(tmp_path):
    changed(tmp_path, tie_word_embeddings=True)
    assert "head.weight" not in read_model(tmp_path).weights


def test_heads_are_not_given_for_a_form_that_has_them(tmp_path):
    changed(tmp_path)
    with pytest.raises(LabError, match="leave --heads out"):
        read_model(tmp_path, given=Given(heads=3))
