"""A model of the preset llama goes to torchtitan and comes back: its own adapter and its own Llama."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmlab.exchange.models.foreign import Given
from lmlab.exchange.models.hf_folder import read_hf
from lmlab.exchange.models.writing import Written, write_hf
from lmlab.model.build import build_model
from lmlab.recipe.model import GPT, PRESETS
from tests.exchange.models.made import characters, randomised, tokens_of

VOCABULARY = 64
MODEL = GPT(**{**PRESETS["llama"], "layers": 2, "heads": 4, "kv_heads": 2, "width": 64, "hidden": 96, "context": 32})
PAGE = Path(__file__).parents[3] / "docs" / "torchtitan.md"


@pytest.fixture(scope="module")
def shape():
    """The function of the page that makes torchtitan's configuration."""
    pytest.importorskip("torchtitan.models.llama3", reason="needs torchtitan")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    names: dict = {}
    exec(code, names)
    return names["shape"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, while it compiles torchtitan's attention
def test_torchtitans_llama_computes_the_same_and_its_files_are_imported_bit_for_bit(shape, tmp_path):
    from torchtitan.models.llama3 import Llama3StateDictAdapter

    model = randomised(build_model(MODEL, VOCABULARY)).requires_grad_(False)
    weights = dict(model.state_dict())
    tokenizer = characters(VOCABULARY)
    there, back = tmp_path / "there", tmp_path / "back"
    there.mkdir(), back.mkdir()
    write_hf(
        there,
        Written(name="x", model=MODEL, vocabulary=VOCABULARY, weights=weights, tokenizer=tokenizer, step=0, loss=None),
    )
    config = shape(vocabulary=VOCABULARY, layers=2, heads=4, kv_heads=2, width=64, hidden=96, context=32)
    adapter = Llama3StateDictAdapter(config, str(there))
    state = adapter.from_hf(load_file(there / "model.safetensors"))

    theirs = config.build().requires_grad_(False)
    theirs.load_state_dict(state)
    tokens = tokens_of(VOCABULARY, 2, MODEL.context)
    positions = torch.arange(MODEL.context).expand(2, -1)
    with torch.no_grad():
        masks = theirs.get_attention_masks(positions=positions)
        found = theirs(tokens, positions=positions, attention_masks=masks)
        torch.testing.assert_close(found, model(tokens), rtol=1e-4, atol=1e-4)

    save_file({name: tensor.contiguous() for name, tensor in adapter.to_hf(state).items()}, back / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (back / name).write_bytes((there / name).read_bytes())
    imported = read_hf(back, Given())
    assert imported.model == MODEL
    assert all(torch.equal(imported.weights[name], tensor) for name, tensor in weights.items())
