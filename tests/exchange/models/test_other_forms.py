"""nanoGPT's, LLMs-from-scratch's and llm.c's files are imported with the logits of their formula."""

import pickle

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.data.tokenizers.gpt2 import load_gpt2
from lmlab.exchange.models.foreign import Given
from lmlab.exchange.models.forms import read_model
from tests.exchange.models.made import assert_same_logits, put_tokenizer
from tests.exchange.models.plain import exact_gelu, plain_gpt, tanh_gelu
from tests.shared import shared_data

LAYERS, HEADS, WIDTH, CONTEXT, VOCABULARY = 2, 3, 12, 10, 23


def random(*shape, seed=[0]):  # noqa: B006 - a counter
    seed[0] += 1
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed[0])) * 0.3


def refused(path, *given):
    with pytest.raises(LabError) as error:
        read_model(path, *given)
    assert "\n" not in str(error.value)
    return str(error.value)


# nanoGPT


def nanogpt(bias=True, mask=False, prefix=""):
    """A checkpoint's model and model_args."""
    state = {"transformer.wte.weight": random(VOCABULARY, WIDTH), "transformer.wpe.weight": random(CONTEXT, WIDTH)}
    for layer in range(LAYERS):
        block = f"transformer.h.{layer}"
        shapes = {
            "ln_1.weight": (WIDTH,),
            "attn.c_attn.weight": (3 * WIDTH, WIDTH),
            "attn.c_proj.weight": (WIDTH, WIDTH),
            "ln_2.weight": (WIDTH,),
            "mlp.c_fc.weight": (4 * WIDTH, WIDTH),
            "mlp.c_proj.weight": (WIDTH, 4 * WIDTH),
        }
        for name, shape in shapes.items():
            state[f"{block}.{name}"] = random(*shape)
            if bias:
                state[f"{block}.{name.replace('weight', 'bias')}"] = random(shape[0])
        if mask:
            state[f"{block}.attn.bias"] = torch.ones(1, 1, CONTEXT, CONTEXT).tril()
    state["transformer.ln_f.weight"] = random(WIDTH)
    if bias:
        state["transformer.ln_f.bias"] = random(WIDTH)
    state["lm_head.weight"] = state["transformer.wte.weight"]
    arguments = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "block_size": CONTEXT, "bias": bias}
    arguments |= {"vocab_size": VOCABULARY, "dropout": 0.1}
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}, arguments


def nanogpt_logits(state, gelu=exact_gelu):
    names = {"norm1": "ln_1", "out": "attn.c_proj", "norm2": "ln_2", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    thirds = {"query": 0, "key": 1, "value": 2}

    def weight(name, layer):
        part, _, kind = name.partition(".")
        kind = "bias" if kind else "weight"
        if part in thirds:
            whole = state.get(f"transformer.h.{layer}.attn.c_attn.{kind}")
            return None if whole is None else whole.chunk(3)[thirds[part]]
        if layer is not None:
            return state.get(f"transformer.h.{layer}.{names[part]}.{kind}")
        return state.get(f"transformer.{ {'token': 'wte', 'position': 'wpe', 'norm': 'ln_f'}[part] }.{kind}")

    return lambda tokens: plain_gpt(weight, LAYERS, HEADS, tokens, gelu)


def checkpoint(path, state, arguments, **more):
    config = {"dataset": "tiny", "compile": True, "learning_rate": 6e-4}
    torch.save({"model": state, "model_args": arguments, "config": config, "iter_num": 250, **more}, path)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mask, prefix", [(False, ""), (True, "_orig_mod."), (False, "module._orig_mod.")])
def test_a_checkpoint_of_nanogpt_has_its_logits(tmp_path, bias, mask, prefix):
    state, arguments = nanogpt(bias, mask, prefix)
    checkpoint(tmp_path / "ckpt.pt", state, arguments, best_val_loss=torch.tensor(1.5), optimizer={"state": {}})
    put_tokenizer(tmp_path, VOCABULARY)
    found = read_model(tmp_path / "ckpt.pt")
    assert (found.form, found.model.bias, found.model.qkv_bias, found.model.dropout) == ("nanogpt", bias, bias, 0.1)
    assert found.facts == {"step": 250, "loss": 1.5, "corpus": "tiny"}
    plain = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    assert_same_logits(found, nanogpt_logits(plain), near=1e-5)
    assert read_model(tmp_path).model == found.model, "the folder of a training will do"


def test_characters_are_those_of_nanogpt_s_meta(tmp_path):
    state, arguments = nanogpt()
    checkpoint(tmp_path / "ckpt.pt", state, arguments)
    assert "--tokenizer" in refused(tmp_path / "ckpt.pt")
    alphabet = "zyx\n é" + "abcdefghijklmnopq"
    meta = {"vocab_size": VOCABULARY, "itos": dict(enumerate(alphabet)), "stoi": {c: n for n, c in enumerate(alphabet)}}
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(meta))
    tokenizer = read_model(tmp_path / "ckpt.pt").tokenizer
    assert tokenizer.encode("xé\n").tolist() == [2, 5, 3]
    # As in a clone of nanoGPT: out-tiny/ckpt.pt beside data/tiny/meta.pkl.
    (tmp_path / "clone" / "out-tiny").mkdir(parents=True)
    (tmp_path / "clone" / "data" / "tiny").mkdir(parents=True)
    (tmp_path / "ckpt.pt").rename(tmp_path / "clone" / "out-tiny" / "ckpt.pt")
    (tmp_path / "meta.pkl").rename(tmp_path / "clone" / "data" / "tiny" / "meta.pkl")
    assert read_model(tmp_path / "clone" / "out-tiny").tokenizer.decode([2, 5, 3]) == "xé\n"


@pytest.mark.parametrize(
    "meta",
    [
        b"",
        pickle.dumps([1]),
        pickle.dumps({"stoi": {"ab": 0}}),
        pickle.dumps({"stoi": {"a": 0, "b": 2}}),
        pickle.dumps({"stoi": {}}),
    ],
)
def test_damaged_characters_are_refused(tmp_path, meta):
    checkpoint(tmp_path / "ckpt.pt", *nanogpt())
    (tmp_path / "meta.pkl").write_bytes(meta)
    assert "meta.pkl" in refused(tmp_path / "ckpt.pt")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    checkpoint(tmp_path / "ckpt.pt", *nanogpt())
    put_tokenizer(tmp_path, VOCABULARY + 1)
    assert "id 23, but the model a vocabulary of 23" in refused(tmp_path / "ckpt.pt")


def test_ids_after_the_tokenizer_s_last_have_no_text(tmp_path):
    checkpoint(tmp_path / "ckpt.pt", *nanogpt())
    put_tokenizer(tmp_path, VOCABULARY - 3)
    found = read_model(tmp_path / "ckpt.pt")
    assert found.vocabulary == found.tokenizer.vocabulary_size == VOCABULARY
    assert found.tokenizer.decode([0, VOCABULARY - 1, 1]) == found.tokenizer.decode([0, 1]) == "01"
    assert_same_logits(found, nanogpt_logits(torch.load(tmp_path / "ckpt.pt", weights_only=True)["model"]), near=1e-5)


@pytest.mark.parametrize(
    "changes", [{"n_head": 5}, {"n_layer": "2"}, {"use_rmsnorm": True}, {"n_layer": 3}, {"bias": False}]
)
def test_a_fork_s_checkpoint_is_refused(tmp_path, changes):
    state, arguments = nanogpt()
    checkpoint(tmp_path / "ckpt.pt", state, {**arguments, **changes})
    put_tokenizer(tmp_path, VOCABULARY)
    assert "ckpt.pt" in refused(tmp_path / "ckpt.pt")


# LLMs-from-scratch


def book(qkv_bias=False, tied=False):
    state = {"tok_emb.weight": random(VOCABULARY, WIDTH), "pos_emb.weight": random(CONTEXT, WIDTH)}
    for layer in range(LAYERS):
        block = f"trf_blocks.{layer}"
        state[f"{block}.att.mask"] = torch.ones(CONTEXT, CONTEXT).triu(1)
        for word in ("query", "key", "value"):
            state[f"{block}.att.W_{word}.weight"] = random(WIDTH, WIDTH)
            if qkv_bias:
                state[f"{block}.att.W_{word}.bias"] = random(WIDTH)
        for name, rows, columns in (
            ("att.out_proj", WIDTH, WIDTH),
            ("ff.layers.0", 48, WIDTH),
            ("ff.layers.2", WIDTH, 48),
        ):
            state |= {f"{block}.{name}.weight": random(rows, columns), f"{block}.{name}.bias": random(rows)}
        for norm in ("norm1", "norm2"):
            state |= {f"{block}.{norm}.scale": random(WIDTH), f"{block}.{norm}.shift": random(WIDTH)}
    state |= {"final_norm.scale": random(WIDTH), "final_norm.shift": random(WIDTH)}
    return state if tied else {**state, "out_head.weight": random(VOCABULARY, WIDTH)}


def book_logits(state, tied):
    names = {
        **{word: f"att.W_{word}" for word in ("query", "key", "value")},
        **{"out": "att.out_proj", "up": "ff.layers.0", "down": "ff.layers.2"},
    }
    outer = {"token": "tok_emb.weight", "position": "pos_emb.weight", "head": "out_head.weight"}

    def weight(name, layer):
        part, _, kind = name.partition(".")
        if part.startswith("norm"):
            place = "final_norm" if layer is None else f"trf_blocks.{layer}.{part}"
            return state[f"{place}.{'shift' if kind else 'scale'}"]
        return (
            state.get(outer[part])
            if layer is None
            else state.get(f"trf_blocks.{layer}.{names[part]}.{'bias' if kind else 'weight'}")
        )

    return lambda tokens: plain_gpt(weight, LAYERS, HEADS, tokens, tanh_gelu, tied)


@pytest.mark.parametrize("qkv_bias, tied", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_of_the_book_has_its_logits(tmp_path, qkv_bias, tied, wrapped):
    state = book(qkv_bias, tied)
    value = {"model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 1e-3}]}}
    torch.save(value if wrapped else state, tmp_path / "model.pth")
    put_tokenizer(tmp_path, VOCABULARY)
    found = read_model(tmp_path / "model.pth", given=Given(heads=HEADS))
    assert (found.form, found.model.qkv_bias, found.model.tied, found.model.bias) == ("book", qkv_bias, tied, True)
    assert_same_logits(found, book_logits(state, tied), near=1e-5)


def test_the_book_s_heads_must_be_told(tmp_path):
    torch.save(book(), tmp_path / "model.pth")
    put_tokenizer(tmp_path, VOCABULARY)
    assert "--heads" in refused(tmp_path / "model.pth")
    assert "heads 5" in refused(tmp_path / "model.pth", "book", Given(heads=5))


# llm.c

NUMBER = 20240326


def llmc(path, version, padded=VOCABULARY + 9, **changes):
    """Write a file as llm.c does; returns the state under the names of GPT-2's formula."""
    dtype = torch.float32 if version == 3 else torch.bfloat16
    facts = {"T": CONTEXT, "V": VOCABULARY, "L": LAYERS, "NH": HEADS, "C": WIDTH, "Vp": padded, **changes}
    header = np.zeros(256, dtype="<i4")
    header[:8] = [NUMBER, version, *facts.values()]
    arrays = {
        "token": (padded, WIDTH),
        "position": (CONTEXT, WIDTH),
        "norm1": (LAYERS, WIDTH),
        "norm1.b": (LAYERS, WIDTH),
        "qkv": (LAYERS, 3 * WIDTH, WIDTH),
        "qkv.b": (LAYERS, 3 * WIDTH),
        "out": (LAYERS, WIDTH, WIDTH),
        "out.b": (LAYERS, WIDTH),
        "norm2": (LAYERS, WIDTH),
        "norm2.b": (LAYERS, WIDTH),
        "up": (LAYERS, 4 * WIDTH, WIDTH),
        "up.b": (LAYERS, 4 * WIDTH),
        "down": (LAYERS, WIDTH, 4 * WIDTH),
        "down.b": (LAYERS, WIDTH),
        "norm": (WIDTH,),
        "norm.b": (WIDTH,),
    }
    state = {name: random(*shape).to(dtype) for name, shape in arrays.items()}
    content = b"".join(tensor.view(torch.uint8).numpy().tobytes() for tensor in state.values())
    path.write_bytes(header.tobytes() + content)
    return {name: tensor.float() for name, tensor in state.items()}


def llmc_logits(state):
    thirds = {"query": 0, "key": 1, "value": 2}

    def weight(name, layer):
        part, dot, kind = name.partition(".")
        if part in thirds:
            return state[f"qkv{dot}{kind}"][layer].chunk(3)[thirds[part]]
        return state[name] if layer is None else state[name][layer]

    return lambda tokens: plain_gpt(weight, LAYERS, HEADS, tokens, tanh_gelu)[..., :VOCABULARY]


@pytest.mark.parametrize("version", [3, 5])
def test_a_file_of_llmc_has_its_logits_without_the_padding(tmp_path, version):
    state = llmc(tmp_path / "model.bin", version)
    put_tokenizer(tmp_path, VOCABULARY)
    found = read_model(tmp_path / "model.bin")
    assert (found.form, found.vocabulary) == ("llmc", VOCABULARY)
    assert found.weights["embedding.weight"].shape == (VOCABULARY, WIDTH)
    assert_same_logits(found, llmc_logits(state), near=1e-5)


@pytest.mark.parametrize(
    "version, changes",
    [
        (1, {}),
        (3, {"L": 3}),
        (3, {"NH": 5}),
        (3, {"V": 0}),
        (3, {"V": 40}),
        (3, {"C": 1 << 30}),
        (3, {"L": -1}),
        (5, {"L": 1 << 30}),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, version, changes):
    llmc(tmp_path / "model.bin", version, **changes)
    put_tokenizer(tmp_path, VOCABULARY)
    assert "model.bin" in refused(tmp_path / "model.bin")


@pytest.mark.parametrize("length", [3, 100, 1024, 2000])
def test_a_file_of_llmc_that_was_cut_off_is_refused(tmp_path, length):
    llmc(tmp_path / "model.bin", 3)
    (tmp_path / "model.bin").write_bytes((tmp_path / "model.bin").read_bytes()[:length])
    refused(tmp_path / "model.bin")


def test_gpt2_s_tokenizer_is_assumed_by_the_vocabulary_and_a_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_GPT2", str(shared_data("gpt2-bpe")))
    state, arguments = nanogpt()
    state["transformer.wte.weight"] = state["lm_head.weight"] = torch.zeros(50_304, WIDTH)
    checkpoint(tmp_path / "ckpt.pt", state, {**arguments, "vocab_size": 50_304})
    found = read_model(tmp_path / "ckpt.pt")
    (note,) = found.notes
    assert "GPT-2's is assumed" in note and found.tokenizer.vocabulary_size == 50_304
    assert (
        found.tokenizer.encode("Hello, world <|endoftext|>").tolist()
        == load_gpt2().encode("Hello, world <|endoftext|>").tolist()
    )
    assert found.tokenizer.end_of_text == 50_256 and found.tokenizer.decode([50_303, 15_496]) == "Hello"


# Which form it is


@pytest.mark.parametrize("form", ["gguf", "\x1b[2J", ""])
def test_an_unknown_form_is_refused(tmp_path, form):
    assert "expected auto, hf, nanogpt" in refused(tmp_path, form)


def test_what_is_no_model_is_refused_with_the_forms(tmp_path):
    assert "no file or folder" in refused(tmp_path / "none")
    assert "folder without such a model" in refused(tmp_path)
    torch.save({"layer1.weight": torch.ones(2, 2)}, tmp_path / "a.pt")
    assert "layer1.weight" in refused(tmp_path / "a.pt")
    torch.save([torch.ones(2)], tmp_path / "b.pt")
    assert "none of the forms" in refused(tmp_path / "b.pt")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "expected the folder" in refused(tmp_path / "model.safetensors")
    for form in ("nanogpt", "book", "llmc"):
        refused(tmp_path / "a.pt", form)
