"""The smallest tokenizer: a code point below 256 is its own id, any other is 0."""

import numpy as np

from lmlab.data.tokenizers import TokenizerKind
from lmlab.data.tokenizers.base import FORMAT


class CodePoints:
    """See `lmlab.data.tokenizers.base.Tokenizer`."""

    name = "code-points"
    vocabulary_size = 256
    lossless = False
    end_of_text = None
    begin_of_text = None

    def encode(self, text):
        """The ids."""
        return np.array([ord(sign) if ord(sign) < 256 else 0 for sign in text], dtype=np.int32)

    def encode_batch(self, texts):
        """The ids of each."""
        return [self.encode(text) for text in texts]

    def decode(self, ids):
        """The text."""
        return "".join(map(chr, np.asarray(ids).reshape(-1)))

    def decode_bytes(self, ids):
        """The text as UTF-8."""
        return self.decode(ids).encode()

    def token_bytes(self):
        """Text is lost, so there are no bits per byte."""
        return None

    def unknown_symbols(self, text):
        """No symbol is refused."""
        return []

    def to_json(self):
        """The stored value."""
        return {"format": FORMAT, "name": self.name}


def learn(data, texts, documents_end):
    """Nothing has to be learnt."""
    return CodePoints()


CODE_POINTS = TokenizerKind(name="code-points", learn=learn, restore=lambda value: CodePoints())
