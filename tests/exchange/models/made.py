"""Small models as other projects make them, and what every import of them must keep."""

import json

import pytest
import torch

from lmlab.data.tokenizers.characters import Characters
from lmlab.exchange.models.foreign import ForeignModel
from lmlab.exchange.models.tokenizers import definition_of
from lmlab.model.build import build_model

ALPHABET = "\n !,.ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyzé\u4e00🙂"


def characters(size):
    """A tokenizer of that many characters."""
    return Characters("".join(map(chr, range(48, 48 + size))), documents_end=False, replace=False)


def put_tokenizer(folder, size):
    """Write a tokenizer.json of that many tokens beside a model."""
    (folder / "tokenizer.json").write_text(json.dumps(definition_of(characters(size))), encoding="utf-8")


def built(found: ForeignModel):
    """The model that an import gives, with its weights."""
    model = build_model(found.model, found.vocabulary)
    model.load_state_dict(dict(found.weights))
    return model.eval()


def tokens_of(vocabulary, batch, time, seed=0):
    """Random token ids."""
    return torch.randint(0, vocabulary, (batch, time), generator=torch.Generator().manual_seed(seed))


def assert_same_logits(found: ForeignModel, theirs, near=1e-4):
    """The imported model computes what `theirs` (a function from tokens to logits) computes, on the whole context."""
    tokens = tokens_of(found.vocabulary, 2, found.model.context)
    with torch.no_grad():
        torch.testing.assert_close(built(found)(tokens), theirs(tokens), rtol=near, atol=near)


def randomised(model, seed=0, scale=0.2):
    """The same model with random weights, also where they begin at 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


def transformers():
    """transformers, or a skip with the reason."""
    return pytest.importorskip("transformers", reason="needs transformers: pip install 'lmlab[compare]'")
