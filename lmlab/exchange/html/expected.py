"""What a page must compute: logits, a greedy text and tokens that PyTorch computed, which the page compares with its own."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from lmlab.data.tokenizers import Tokenizer
from lmlab.exchange.html.weights import base64_floats
from lmlab.exchange.models.proof import greedy_tokens, sample_tokens
from lmlab.model.trainable import TrainableModel

POSITIONS = 128
"""Most tokens of the sample."""
PLACES = 8
"""Positions of the sample of which logits are compared: so many at most, evenly over it, the last one included."""
IDS = 256
"""Logits of a position that are compared, at most, evenly over the vocabulary."""
GREEDY = 100


def expected_of(model: TrainableModel, tokenizer: Tokenizer, text: str) -> Mapping[str, Any]:
    """Return the values that `checkModel` of a page compares; `model` has the weights that the page stores."""
    tokens = sample_tokens(model.vocabulary, min(model.context, POSITIONS))
    count = tokens.shape[1]
    places = [*range(count - 1, -1, -math.ceil(count / PLACES))][::-1]
    ids = [*range(0, model.vocabulary, math.ceil(model.vocabulary / IDS))]
    with torch.no_grad():
        logits = model(tokens)[0]
    return {
        "tokens": tokens[0].tolist(),
        "places": places,
        "ids": ids,
        "logits": base64_floats(logits[places][:, ids]),
        "greedy": greedy_tokens(model, tokenizer.begin_of_text)[: GREEDY + 1],
        "text": text,
        "text_tokens": tokenizer.encode(text).tolist(),
        "decoded": tokenizer.decode(tokens[0]),
    }
