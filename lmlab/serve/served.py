"""What a server serves: a run's model with its tokenizer, its template, and the names of its tokens."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from lmlab import LabError, __version__
from lmlab.data.tokenizers import Tokenizer
from lmlab.experiment.loaded import Loaded
from lmlab.generation.prompts import begin_of, encode_prompts, first_token
from lmlab.generation.spelling import Spelling, spelling_of
from lmlab.model.trainable import TrainableModel
from lmlab.recipe.template import Template, template_named
from lmlab.runs import Run

END_OF_TEXT = "<|endoftext|>"
"""Name of the end-of-text token, which has no text."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on what is accepted and held at a time."""

    batch: int = 32
    """Texts that are generated together."""
    queue: int = 256
    """Texts that wait to join the batch."""
    tokens: int = 4096
    """Tokens generated for one text."""
    choices: int = 128
    """Texts of one request: prompts times `n`."""
    body_bytes: int = 1 << 20
    """Bytes of a request."""
    body_seconds: float = 30.0
    """Seconds in which a request must have arrived."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """A model and what requests need to know of it."""

    name: str
    """Its id in the interface."""
    step: int
    model: TrainableModel
    tokenizer: Tokenizer
    template: Template | None
    """How a conversation becomes text; None: the model only continues text."""
    begin: int | None
    """The token before every text, for a model trained on documents read separately; None: no token."""
    fingerprint: str
    """Names the weights and the program: equal requests with a seed have equal answers where it is equal."""

    @property
    def spelling(self) -> Spelling:
        """The bytes of tokens."""
        return spelling_of(self.tokenizer)

    @property
    def first(self) -> int:
        """The token that an empty prompt starts from."""
        return first_token(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        """Return the text's tokens. LabError with the symbols that the tokenizer lacks."""
        return encode_prompts(self.tokenizer, [text])[0]

    def whole(self, ids: Sequence[int]) -> list[int]:
        """Return the prompt with the token that begins every text, unless it begins with it."""
        if self.begin is None or list(ids[:1]) == [self.begin]:
            return list(ids)
        return [self.begin, *ids]

    def bytes_of(self, token: int) -> bytes:
        """Return a token's bytes; none for the end of text."""
        return b"" if token == self.tokenizer.end_of_text else self.spelling.bytes_of([token])

    def token_name(self, token: int) -> str:
        """Return a token's text; `bytes:\\xff` for one that isn't whole characters."""
        if token == self.tokenizer.end_of_text:
            return END_OF_TEXT
        spelt = self.bytes_of(token)
        try:
            return spelt.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelt)


def served_of(loaded: Loaded, name: str = "", template: str = "") -> Served:
    """Return what is served of a run's model, with the template of `template_of`."""
    run = loaded.run
    return Served(
        name=name or run.name,
        step=loaded.step,
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        template=template_of(run, template),
        begin=begin_of(loaded.recipe.data, loaded.tokenizer),
        fingerprint=f"lmlab-{__version__}-{run.name}-{loaded.step}",
    )


def template_of(run: Run, asked: str = "") -> Template | None:
    """Return the run's template, or the one named `asked` where it has none; None for a base model without either.

    LabError if the run has another template, since its model was tuned with that one.
    """
    own = run.template()
    if asked and own is not None and own.name != asked:
        raise LabError(f"{run.name} was tuned with the template {own.name}: leave --template {asked} out")
    return own or (template_named(asked) if asked else None)


def new_id(kind: str) -> str:
    """Return the id of an answer."""
    return f"{kind}-{secrets.token_hex(12)}"
