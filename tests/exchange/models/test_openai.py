"""OpenAI's checkpoints are read from TensorFlow's own format, which is written here by its specification."""

import json

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.exchange.models.forms import read_model
from lmlab.exchange.models.sstable import read_table
from tests.exchange.models.made import assert_same_logits, put_tokenizer
from tests.exchange.models.plain import plain_gpt, tanh_gelu
from tests.exchange.models.test_other_forms import CONTEXT, HEADS, LAYERS, VOCABULARY, WIDTH, random

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")


def varint(value):
    out = b""
    while value >= 128:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def block(pairs, interval=3):
    """A block whose keys are whole at every third entry."""
    out, restarts, before = b"", [], b""
    for place, (key, value) in enumerate(pairs):
        shared = 0
        if place % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(before), len(key)) and before[shared] == key[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + b"".join(at.to_bytes(4, "little") for at in restarts) + len(restarts).to_bytes(4, "little")


def table(pairs, each=5, compression=0):
    """A table of blocks of five entries."""
    pairs = sorted(pairs.items())
    out, index = b"", []
    for first in range(0, len(pairs), each):
        part = block(pairs[first : first + each])
        index.append((pairs[first : first + each][-1][0] + b"~", varint(len(out)) + varint(len(part))))
        out += part + bytes([compression]) + bytes(4)
    meta = (len(out), block([]))
    out += meta[1] + bytes(5)
    places = (len(out), block(index))
    out += places[1] + bytes(5)
    handles = b"".join(varint(at) + varint(len(part)) for at, part in (meta, places))
    return out + handles.ljust(40, b"\0") + MAGIC


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(shape, offset, size, dtype=1, shard=0, more=b""):
    sizes = b"".join(field(2, field(1, one)) for one in shape)
    checksum = varint(6 << 3 | 5) + bytes(4)
    return field(1, dtype) + field(2, sizes) + field(3, shard) + field(4, offset) + field(5, size) + checksum + more


def weights():
    state = {"model/wte": random(VOCABULARY, WIDTH), "model/wpe": random(CONTEXT, WIDTH)}
    for layer in range(LAYERS):
        for name, inputs, outputs in (
            ("attn/c_attn", WIDTH, 3 * WIDTH),
            ("attn/c_proj", WIDTH, WIDTH),
            ("mlp/c_fc", WIDTH, 4 * WIDTH),
            ("mlp/c_proj", 4 * WIDTH, WIDTH),
        ):
            state[f"model/h{layer}/{name}/w"] = random(1, inputs, outputs)
            state[f"model/h{layer}/{name}/b"] = random(outputs)
        for name in ("ln_1", "ln_2"):
            state |= {f"model/h{layer}/{name}/g": random(WIDTH), f"model/h{layer}/{name}/b": random(WIDTH)}
    return {**state, "model/ln_f/g": random(WIDTH), "model/ln_f/b": random(WIDTH)}


def logits(state):
    names = {"norm1": "ln_1", "out": "attn/c_proj", "norm2": "ln_2", "up": "mlp/c_fc", "down": "mlp/c_proj"}
    thirds = {"query": 0, "key": 1, "value": 2}

    def weight(name, layer):
        part, _, bias = name.partition(".")
        if part in ("token", "position"):
            return None if bias else state[{"token": "model/wte", "position": "model/wpe"}[part]]
        kind = "b" if bias else "g" if part.startswith("norm") else "w"
        if layer is None:
            return state[f"model/ln_f/{kind}"]
        inner = "attn/c_attn" if part in thirds else names[part]
        found = state[f"model/h{layer}/{inner}/{kind}"]
        found = found[0].T if kind == "w" else found
        return found.chunk(3)[thirds[part]] if part in thirds else found

    return lambda tokens: plain_gpt(weight, LAYERS, HEADS, tokens, tanh_gelu)


def put(folder, state, change=lambda entries: entries, compression=0, **settings):
    """Write a folder as OpenAI's release is."""
    facts = {"n_vocab": VOCABULARY, "n_ctx": CONTEXT, "n_embd": WIDTH, "n_head": HEADS, "n_layer": LAYERS, **settings}
    (folder / "hparams.json").write_text(json.dumps(facts))
    entries, data = {b"": field(1, 1) + field(3, field(1, 1))}, b""
    for name, tensor in sorted(state.items()):
        content = tensor.numpy().astype("<f4").tobytes()
        entries[name.encode()] = entry(tensor.shape, len(data), len(content))
        data += content
    (folder / "model.ckpt.data-00000-of-00001").write_bytes(data)
    (folder / "model.ckpt.index").write_bytes(table(change(entries), compression=compression))
    put_tokenizer(folder, VOCABULARY)


def refused(folder):
    with pytest.raises(LabError) as error:
        read_model(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_openai_s_checkpoint_has_the_logits_of_its_formula(tmp_path):
    state = weights()
    put(tmp_path, state)
    found = read_model(tmp_path)
    assert (found.form, found.model.activation, found.model.tied) == ("openai", "gelu_tanh", True)
    assert_same_logits(found, logits(state), near=1e-5)
    assert [path.name for path in found.files][:3] == [
        "hparams.json",
        "model.ckpt.index",
        "model.ckpt.data-00000-of-00001",
    ]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 200])
def test_a_table_has_every_key_that_was_written(count):
    pairs = {
        f"model/h{number % 7}/x{number}".encode(): bytes([number % 256]) * (number % 300) for number in range(count)
    }
    assert read_table(table(pairs)) == pairs


def with_entry(name, **changes):
    facts = {"shape": (VOCABULARY, WIDTH), "offset": 0, "size": VOCABULARY * WIDTH * 4, **changes}
    return lambda entries: {**entries, name.encode(): entry(**facts)}


@pytest.mark.parametrize(
    "change",
    [
        with_entry("model/wte", dtype=19),
        with_entry("model/wte", offset=1 << 40),
        with_entry("model/wte", size=8),
        with_entry("model/wte", shard=1),
        with_entry("model/wte", shape=(1 << 40, 1 << 40)),
        with_entry("model/wte", shape=(1,) * 9),
        with_entry("model/wte", more=field(7, b"")),
        with_entry("model/wte", more=b"\x0a\xff\xff"),
        with_entry("model/h9/ln_1/g"),
        lambda entries: {name: value for name, value in entries.items() if name != b"model/wpe"},
        lambda entries: {**entries, b"": field(1, 1) + field(2, 1)},
        lambda entries: {**entries, b"": field(1, 3)},
        lambda entries: {**entries, b"\xff": entry((1,), 0, 4)},
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, change):
    put(tmp_path, weights(), change)
    refused(tmp_path)


@pytest.mark.parametrize("settings", [{"n_layer": 3}, {"n_head": 5}, {"n_embd": 1 << 20}, {"n_vocab": None}])
def test_settings_of_another_model_are_refused(tmp_path, settings):
    put(tmp_path, weights(), **settings)
    refused(tmp_path)


def test_compressed_blocks_are_named(tmp_path):
    put(tmp_path, weights(), compression=1)
    assert "compressed" in refused(tmp_path)


def test_damaged_tables_are_refused(tmp_path):
    put(tmp_path, weights())
    path = tmp_path / "model.ckpt.index"
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for length in (0, 10, 47, 48, len(whole) - 1):
        path.write_bytes(whole[len(whole) - length :] if length >= 47 else whole[:length])
        refused(tmp_path)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in generator.integers(0, len(whole), 3):
            damaged[at] = generator.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            read_model(tmp_path)
        except LabError as error:
            assert "\n" not in str(error)


def test_a_missing_file_of_data_is_named(tmp_path):
    put(tmp_path, weights())
    (tmp_path / "model.ckpt.data-00000-of-00001").unlink()
    assert "model.ckpt.data-00000-of-00001" in refused(tmp_path)


def test_misaligned_numbers_are_read(tmp_path):
    state = weights()
    put(tmp_path, state)
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    content = state["model/wte"].numpy().tobytes()
    at = len(data.read_bytes()) + 1
    data.write_bytes(data.read_bytes() + b"x" + content)
    entries = read_table((tmp_path / "model.ckpt.index").read_bytes())
    entries[b"model/wte"] = entry((VOCABULARY, WIDTH), at, len(content))
    (tmp_path / "model.ckpt.index").write_bytes(table(entries))
    assert torch.equal(read_model(tmp_path).weights["embedding.weight"], state["model/wte"])
