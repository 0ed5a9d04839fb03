"""A tiny random model for each tokenizer."""

import pytest

from lmlab.data.tokenizers import build_tokenizer
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.recipe import GPT
from lmlab.recipe.data import Data


@pytest.fixture(scope="session")
def build():
    """`build(tokenizer, context=16)` -> a random model in float64, whose logits don't depend on the batch by 1e-9."""

    def made(tokenizer, context=16, positions="rotary"):
        shape = {"layers": 2, "heads": 2, "width": 16, "context": context, "positions": positions}
        model_settings = GPT(**shape, init="torch", dropout=0.1, tied=False, head_bias=True)
        model = build_model(model_settings, tokenizer.vocabulary_size)
        initialise(model, 3)
        return model.double().eval()

    return made


@pytest.fixture(scope="session")
def characters():
    """Six letters, a space and a newline; no end of text."""
    return build_tokenizer(Data(tokenizer="characters"), ["abcdef \n"])


@pytest.fixture(scope="session")
def byte_tokens():
    """Every byte, and an end of text."""
    return build_tokenizer(Data(tokenizer="bytes"), [], documents_end=True)
