"""What is exported is what the other program computes, and what an import reads again."""

import json
import pickle

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.data.tokenizers.bpe import learn_bpe
from lmlab.data.tokenizers.bytes import Bytes
from lmlab.data.tokenizers.characters import Characters, learn_characters
from lmlab.data.tokenizers.words import learn_words
from lmlab.exchange.models import proof, writing
from lmlab.exchange.models.foreign import Given
from lmlab.exchange.models.forms import read_model
from lmlab.exchange.models.hf_folder import read_hf
from lmlab.exchange.models.proof import GREEDY_TOKENS, greedy_tokens, prove
from lmlab.exchange.models.tokenizers import definition_of, tokenizer_of
from lmlab.exchange.models.writing import Written, write_gguf, write_hf, write_nanogpt
from lmlab.model.build import build_model
from lmlab.recipe.model import GPT, PRESETS
from tests.exchange.models.made import randomised, transformers
from tests.exchange.models.test_other_forms import nanogpt_logits

TEXT = "The quick brown fox\njumps over the lazy dog. It's 42! " * 20
ODD = TEXT + "na\u00efve \u4e00\u4e8c \U0001f642 e\u0301\r\n\t\u2028"
SHAPE = {"layers": 2, "heads": 4, "width": 24, "context": 32}
GPT2 = {
    "plain": {"activation": "gelu_tanh"},
    "untied": {"activation": "gelu_tanh", "tied": False},
    "no biases": {"activation": "gelu", "bias": False, "qkv_bias": False},
    "no biases of queries": {"activation": "relu", "qkv_bias": False, "hidden": 40, "norm_epsilon": 1e-3},
    "only biases of queries": {"activation": "relu2", "bias": False},
}
LLAMA = {
    "llama": {},
    "llama tied, grouped": {"tied": True, "kv_heads": 2, "rotary_base": 50.0},
    "llama with biases": {"bias": True, "qkv_bias": True, "norm_epsilon": 1e-3},
    "llama with biases of queries": {"qkv_bias": True, "kv_heads": 1, "hidden": 40},
    "llama with other biases": {"bias": True},
}
MODELS = {
    **{name: GPT(**SHAPE, **one) for name, one in GPT2.items()},
    **{name: GPT(**SHAPE, **{**PRESETS["llama"], **one}) for name, one in LLAMA.items()},
}
WHOLE = ("plain", "untied", "llama", "llama tied, grouped", "llama with biases", "llama with biases of queries")
"""Models without a bias that is zero in the export."""


def tokenizers():
    """One of each kind that is trained here, by name."""
    return {
        "characters": learn_characters([ODD], documents_end=False, replace=False),
        "characters with an end": learn_characters([TEXT], documents_end=True, replace=False),
        "characters replaced": learn_characters([ODD], documents_end=True, replace=True),
        "bytes": Bytes(documents_end=False),
        "bytes with an end": Bytes(documents_end=True),
        "bpe": learn_bpe([ODD], 300),
        "words": learn_words([TEXT], vocabulary=20, minimum_count=1, lowercase=True, replace=True),
    }


TOKENIZERS = tokenizers()


def written(model, tokenizer=TOKENIZERS["characters with an end"], seed=0):
    """A random model to write; returns it with what is written of it."""
    built = randomised(build_model(model, tokenizer.vocabulary_size), seed)
    weights = dict(built.state_dict())
    facts = {"name": "mine", "step": 250, "loss": 1.5}
    return built, Written(
        model=model, vocabulary=tokenizer.vocabulary_size, weights=weights, tokenizer=tokenizer, **facts
    )


@pytest.mark.parametrize("name", MODELS)
def test_what_is_imported_again_has_the_same_weights_and_logits(tmp_path, name):
    built, what = written(MODELS[name])
    write_hf(tmp_path, what)
    found = read_model(tmp_path)
    assert all(torch.equal(found.weights[weight], tensor) for weight, tensor in what.weights.items())
    added = [found.weights[weight] for weight in found.weights.keys() - what.weights.keys()]
    assert not any(tensor.any() for tensor in added) and bool(added) == (name not in WHOLE)
    assert (found.model == what.model) == (name in WHOLE)
    assert found.tokenizer.to_json() == what.tokenizer.to_json()


@pytest.mark.parametrize("name", MODELS)
def test_transformers_computes_the_same(tmp_path, name):
    transformers()
    _, what = written(MODELS[name])
    write_hf(tmp_path, what)
    assert prove(tmp_path, what, "hf").largest < 1e-4


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_transformers_reads_the_tokenizer(tmp_path, kind):
    library = transformers()
    _, what = written(GPT(**SHAPE), TOKENIZERS[kind])
    write_hf(tmp_path, what)
    assert prove(tmp_path, what, "hf").by
    theirs = library.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(TEXT, add_special_tokens=False).input_ids == what.tokenizer.encode(TEXT).tolist()
    assert theirs.eos_token_id == what.tokenizer.end_of_text
    if what.tokenizer.lossless:
        assert theirs.decode(what.tokenizer.encode(TEXT)) == TEXT


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_tokenizers_library_gives_the_same_ids_for_every_symbol(kind):
    from tokenizers import Tokenizer as Library

    tokenizer = TOKENIZERS[kind]
    text = TEXT if kind in ("characters with an end", "words") else ODD + "\u2603" * (kind == "characters replaced")
    library = Library.from_str(json.dumps(definition_of(tokenizer)))
    assert library.encode(text, add_special_tokens=False).ids == tokenizer.encode(text).tolist()
    again = tokenizer_of(json.loads(library.to_str()), tokenizer.vocabulary_size)
    assert again.to_json() == tokenizer.to_json()


def test_text_that_looks_like_a_special_token_stays_text_here():
    tokenizer = TOKENIZERS["bpe"]
    imported = tokenizer_of(definition_of(tokenizer), tokenizer.vocabulary_size + 1, end_of_text=0)
    text = "a<|endoftext|>b"
    assert imported.encode(text).tolist() == tokenizer.encode(text).tolist()
    assert imported.decode(imported.encode(text)) == text


def ends_at_once(model, tokenizer):
    """A model whose every prediction is the end of a text."""
    built, what = written(model, tokenizer)
    with torch.no_grad():
        built.norm.weight.zero_()
        built.norm.bias.fill_(1.0)
        built.head.weight.zero_()
        built.head.weight[tokenizer.end_of_text] = 1.0
    return built, what


def test_generation_of_transformers_stops_at_the_end_of_a_text(tmp_path):
    library = transformers()
    tokenizer = TOKENIZERS["characters with an end"]
    _, what = ends_at_once(GPT(**SHAPE, activation="gelu_tanh", tied=False), tokenizer)
    write_hf(tmp_path, what)
    model = library.AutoModelForCausalLM.from_pretrained(tmp_path)
    prompt = torch.tensor([tokenizer.encode("The").tolist()])
    out = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, pad_token_id=0
    )
    assert out[0].tolist() == [*prompt[0].tolist(), tokenizer.end_of_text]


def test_generation_goes_on_where_texts_have_no_end(tmp_path):
    library = transformers()
    tokenizer = Characters("abcdefghijklmnop", documents_end=False, replace=False)
    _, what = written(MODELS["llama"], tokenizer)
    write_hf(tmp_path, what)
    model = library.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.generation_config.eos_token_id is None
    prompt = torch.tensor([[1, 2]])
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False)
    assert out.shape == (1, 22)


@pytest.mark.parametrize("name", ["plain", "llama"])
def test_a_wrong_export_is_refused_with_the_place(tmp_path, name):
    transformers()
    _, what = written(MODELS[name])
    weights = {**what.weights, "blocks.1.mlp.down.weight": what.weights["blocks.1.mlp.down.weight"] * 1.01}
    write_hf(tmp_path, Written(**{**vars(what), "weights": weights}))
    with pytest.raises(LabError, match=r"part by \S+ at position \d+, expected at most 0.0001"):
        prove(tmp_path, what, "hf")


def test_a_wrong_tokenizer_is_refused(tmp_path):
    transformers()
    _, what = written(MODELS["plain"])
    alphabet = what.tokenizer.alphabet
    write_hf(
        tmp_path, Written(**{**vars(what), "tokenizer": Characters(alphabet[::-1], documents_end=True, replace=False)})
    )
    with pytest.raises(LabError, match="otherwise than the run's tokenizer"):
        prove(tmp_path, what, "hf")


def test_without_transformers_the_proof_is_left_out_and_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "_transformers", lambda: None)
    _, what = written(MODELS["plain"])
    write_hf(tmp_path, what)
    found = prove(tmp_path, what, "hf")
    assert found.by == "" and "lmlab[compare]" in found.line


# nanoGPT


@pytest.mark.parametrize("bias, qkv_bias", [(True, True), (False, False), (True, False), (False, True)])
def test_nanogpt_s_checkpoint_has_the_logits_of_its_formula(tmp_path, bias, qkv_bias):
    model = GPT(layers=2, heads=3, width=12, context=10, activation="gelu", bias=bias, qkv_bias=qkv_bias)
    built, what = written(model)
    write_nanogpt(tmp_path, what)
    value = torch.load(tmp_path / "ckpt.pt", weights_only=True)
    assert value["model_args"] == {
        **{"n_layer": 2, "n_head": 3, "n_embd": 12, "block_size": 10, "bias": bias or qkv_bias, "dropout": 0.0},
        "vocab_size": what.vocabulary,
    }
    tokens = torch.arange(10)[None]
    with torch.no_grad():
        torch.testing.assert_close(nanogpt_logits(value["model"])(tokens), built(tokens), rtol=1e-5, atol=1e-5)
    found = read_model(tmp_path)
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in what.weights.items())
    assert found.tokenizer.to_json() == what.tokenizer.to_json()
    assert prove(tmp_path, what, "nanogpt").by == "lmlab"
    meta = pickle.loads((tmp_path / "meta.pkl").read_bytes())
    assert [meta["stoi"][symbol] for symbol in "The"] == what.tokenizer.encode("The").tolist()
    assert meta["vocab_size"] == len(meta["itos"]) == what.vocabulary


def test_a_checkpoint_that_changed_is_refused(tmp_path):
    _, what = written(GPT(**SHAPE, activation="gelu"))
    write_nanogpt(tmp_path, what)
    what.weights["norm.bias"][3] += 1
    with pytest.raises(LabError, match="norm.bias"):
        prove(tmp_path, what, "nanogpt")


# GGUF

IN_GGUF = ("plain", "untied", "llama", "llama tied, grouped", "llama with biases", "llama with biases of queries")


def read_gguf(path):
    """Names of a file's tensors with their values, and its keys with theirs."""
    reader = pytest.importorskip("gguf", reason="needs gguf: pip install 'lmlab[export]'").GGUFReader(path)
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    return tensors, {name: field.contents() for name, field in reader.fields.items()}


@pytest.mark.parametrize("name", IN_GGUF)
def test_a_file_of_gguf_has_the_weights_and_settings(tmp_path, name):
    pytest.importorskip("gguf", reason="needs gguf: pip install 'lmlab[export]'")
    _, what = written(MODELS[name])
    write_gguf(tmp_path, what)
    tensors, keys = read_gguf(tmp_path / "model.gguf")
    kind = "llama" if name.startswith("llama") else "gpt2"
    assert keys["general.architecture"] == kind and keys[f"{kind}.context_length"] == 32
    assert np.array_equal(tensors["token_embd.weight"], what.weights["embedding.weight"].numpy())
    assert np.array_equal(tensors["blk.1.ffn_down.weight"], what.weights["blocks.1.mlp.down.weight"].numpy())
    assert ("output.weight" in tensors) == (not what.model.tied)
    assert sum(tensor.size for tensor in tensors.values()) >= sum(tensor.numel() for tensor in what.weights.values())
    assert keys["tokenizer.ggml.eos_token_id"] == what.tokenizer.end_of_text
    assert 'PARAMETER stop "<|endoftext|>"' in (tmp_path / "Modelfile").read_text()


def llama_cpp():
    pytest.importorskip("gguf", reason="needs gguf: pip install 'lmlab[export]'")
    return pytest.importorskip("llama_cpp", reason="needs llama-cpp-python")


@pytest.mark.parametrize("name", IN_GGUF)
def test_llama_cpp_writes_the_same_text(tmp_path, name):
    llama_cpp()
    _, what = written(MODELS[name])
    write_gguf(tmp_path, what)
    assert prove(tmp_path, what, "gguf").largest < 0.02


@pytest.mark.parametrize("kind", ["characters with an end", "bytes", "bytes with an end", "bpe"])
def test_llama_cpp_reads_the_tokenizer(tmp_path, kind):
    library = llama_cpp()
    tokenizer = TOKENIZERS[kind]
    _, what = written(MODELS["plain"], tokenizer)
    write_gguf(tmp_path, what)
    llama = library.Llama(str(tmp_path / "model.gguf"), vocab_only=True, verbose=False)
    text = TEXT if kind.startswith("characters") else ODD
    ids = llama.tokenize(text.encode(), add_bos=False, special=False)
    assert ids == tokenizer.encode(text).tolist()
    assert llama.detokenize(ids) == text.encode()
    end = -1 if tokenizer.end_of_text is None else tokenizer.end_of_text
    assert llama.token_eos() == end
    llama.close()


def test_ascii_characters_without_an_end_have_none_in_llama_cpp(tmp_path):
    library = llama_cpp()
    tokenizer = learn_characters([TEXT + "\\~\t"], documents_end=False, replace=False)
    _, what = written(MODELS["plain"], tokenizer)
    write_gguf(tmp_path, what)
    llama = library.Llama(str(tmp_path / "model.gguf"), vocab_only=True, verbose=False)
    assert llama.token_eos() == -1
    assert llama.tokenize((TEXT + "\\~\t").encode(), add_bos=False) == tokenizer.encode(TEXT + "\\~\t").tolist()
    llama.close()
    assert "stop" not in (tmp_path / "Modelfile").read_text()


@pytest.mark.parametrize("kind", ["characters", "characters replaced", "words"])
def test_a_tokenizer_that_gguf_does_not_have_is_refused(tmp_path, kind):
    with pytest.raises(LabError, match="use --to hf"):
        writing.require_tokenizer(TOKENIZERS[kind], "gguf")


def test_a_wrong_file_of_gguf_is_refused(tmp_path):
    llama_cpp()
    _, what = written(MODELS["plain"])
    weights = {**what.weights, "positions.weight": what.weights["positions.weight"].flip(0)}
    write_gguf(tmp_path, Written(**{**vars(what), "weights": weights}))
    with pytest.raises(LabError, match="writes another text than the run's model: after"):
        prove(tmp_path, what, "gguf")


def test_the_greedy_text_is_that_of_whole_forward_passes():
    model = randomised(build_model(MODELS["llama"], 20))
    tokens = greedy_tokens(model, 3)
    assert len(tokens) == min(GREEDY_TOKENS + 1, 32) and tokens[0] == 3
    with torch.no_grad():
        assert model(torch.tensor([tokens[:-1]]))[0].argmax(-1).tolist() == tokens[1:]


def test_a_damaged_folder_is_not_read(tmp_path):
    _, what = written(MODELS["plain"])
    write_hf(tmp_path, what)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(LabError, match="tokenizer.json"):
        read_hf(tmp_path, Given())
