"""The model settings: what every family has, a GPT decoder, and a context-propagation model.

`lmlab.model.families` has the code that belongs to each of these dataclasses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from lmlab.recipe.divisors import nearest_divisor
from lmlab.recipe.setting import setting

PositionName = Literal["learned", "rotary"]
NormName = Literal["layernorm", "rmsnorm"]
ActivationName = Literal["relu", "gelu", "gelu_tanh", "relu2", "swiglu"]
InitName = Literal["gpt2", "normal", "torch"]
ContextInitName = Literal["normal", "torch"]

MOST_WIDTH = 1 << 24
"""Limit of a width, a number of heads or a context, far above what fits in memory, so that arithmetic on sizes stays fast."""
MOST_LAYERS = 1 << 16
MOST_NGRAMS = 4
"""Largest number of n-gram tables of a model; each costs a look-up per token, and long n-grams hardly ever repeat."""


@runtime_checkable
class Model(Protocol):
    """What the settings of every model family have: a frozen dataclass with these fields, and any others of its own."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def kind(self) -> str:
        """The model family: a Literal with one value, which is also the default."""

    @property
    def layers(self) -> int:
        """Number of equal layers."""

    @property
    def width(self) -> int:
        """Embedding width."""

    @property
    def context(self) -> int:
        """Context length in tokens."""

    @property
    def dropout(self) -> float:
        """Share of numbers that dropout sets to zero in training."""

    @property
    def presets(self) -> Mapping[str, Mapping[str, object]]:
        """Preset -> the settings that `model.preset` sets before the other model fields are read."""

    @property
    def transfer_sizes(self) -> tuple[str, ...]:
        """The names of the sizes in `optim.transfer_from`, in its order; none: the family has no transfer rule."""

    def problems(self) -> Iterator[str]:
        """Yield a line for each impossible combination of settings."""


PRESETS: dict[str, dict[str, object]] = {
    "gpt2": {
        "positions": "learned",
        "norm": "layernorm",
        "activation": "gelu_tanh",
        "init": "gpt2",
        "bias": True,
        "qkv_bias": True,
        "tied": True,
        "head_bias": False,
        "qk_norm": False,
        "softcap": 0.0,
        "zero_init": False,
        "value_residual": False,
        "embedding_skip": False,
    },
    "modern": {
        "positions": "rotary",
        "norm": "rmsnorm",
        "activation": "relu2",
        "init": "gpt2",
        "bias": False,
        "qkv_bias": False,
        "tied": False,
        "head_bias": False,
        "qk_norm": True,
        "softcap": 15.0,
        "zero_init": True,
        "value_residual": True,
        "embedding_skip": True,
    },
    "llama": {
        "positions": "rotary",
        "norm": "rmsnorm",
        "activation": "swiglu",
        "init": "gpt2",
        "bias": False,
        "qkv_bias": False,
        "tied": False,
        "head_bias": False,
        "qk_norm": False,
        "softcap": 0.0,
        "zero_init": False,
        "value_residual": False,
        "embedding_skip": False,
    },
}
"""What `model.preset` sets in a GPT before the other model fields are read.

Shape, dropout, grouping and n-gram tables, which mostly determine size, are unchanged.
"""


@dataclass(frozen=True, kw_only=True)
class GPT:
    """A pre-norm decoder-only transformer."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = PRESETS
    transfer_sizes: ClassVar[tuple[str, ...]] = ("width", "layers")

    kind: Literal["gpt"] = "gpt"
    """The model family."""
    layers: int = setting(4, at_least=1, at_most=MOST_LAYERS)
    """Transformer blocks."""
    heads: int = setting(4, at_least=1, at_most=MOST_WIDTH)
    """Query heads a layer; must divide the width."""
    kv_heads: int | None = setting(None, at_least=1, at_most=MOST_WIDTH)
    """Key and value heads, each shared by a group of query heads (none: as many as heads)."""
    width: int = setting(128, at_least=1, at_most=MOST_WIDTH)
    """Embedding width."""
    hidden: int | None = setting(None, at_least=1, at_most=MOST_WIDTH)
    """Width inside the MLP (none: 4 times the width; for swiglu 8/3 times, rounded up to a multiple of 8)."""
    context: int = setting(128, at_least=2, at_most=MOST_WIDTH)
    """Context length in tokens."""
    positions: PositionName = setting("learned")
    """learned: one vector a position; rotary: queries and keys turned by their position (RoPE)."""
    norm: NormName = setting("layernorm")
    """Normalisation before attention, before the MLP and before the head."""
    activation: ActivationName = setting("gelu")
    """The MLP's nonlinearity; gelu is exact, gelu_tanh OpenAI's approximation, relu2 the square of relu."""
    init: InitName = setting("gpt2")
    """gpt2: N(0, .02), residual projections divided by sqrt(2 layers); normal: N(0, .02) for all; torch: PyTorch's defaults."""
    bias: bool = setting(True)
    """Biases in linear layers and norms (queries, keys, values and head apart)."""
    qkv_bias: bool = setting(True)
    """Biases in the query, key and value projections."""
    tied: bool = setting(True)
    """Use the token embedding as the head's matrix."""
    head_bias: bool = setting(False)
    """A bias in the head."""
    dropout: float = setting(0.0, at_least=0.0, below=1.0)
    """Dropout after the embedding, on attention weights and on both residual branches."""
    qk_norm: bool = setting(False)
    """RMS normalisation of each head's queries and keys."""
    softcap: float = setting(0.0, at_least=0.0)
    """Logits become softcap x tanh(logits / softcap); 0: off."""
    zero_init: bool = setting(False)
    """Projections into the residual stream, and an untied head, start at zero."""
    value_residual: bool = setting(False)
    """Each layer's values are mixed with the first layer's, by a learned share."""
    embedding_skip: bool = setting(False)
    """Each block's input is mixed with the token embedding, by learned shares."""
    ngrams: tuple[int, ...] = setting((), at_least=2, at_most=8, came_later=True)
    """Lengths of n-grams (2,3), each with a hashed embedding table that is added to the token embedding; none: no tables."""
    ngram_rows: int = setting(16_384, at_least=1, at_most=2**31 - 1, came_later=True)
    """Rows of each n-gram table; n-grams that share a row share its vector."""
    boundary: int | None = setting(None, at_least=0, at_most=1 << 22, came_later=True)
    """The token between documents, across which attention doesn't reach: the data's end-of-text token (none: it reaches to the
    beginning of the window)."""
    norm_epsilon: float = setting(1e-5, above=0.0, below=1.0, came_later=True)
    """Added to the variance or mean square in norms. Only for models of others: the native engine supports 1e-5 alone."""
    rotary_base: float = setting(10_000.0, above=1.0, below=1e12, came_later=True)
    """Rotary positions: pair i of a head of W numbers is turned by rotary_base ** (-2 i / W) a position."""

    def problems(self) -> Iterator[str]:
        """Yield a line for each impossible combination of settings."""
        if self.width % self.heads:
            near = nearest_divisor(self.width, self.heads)
            yield f"model.heads {self.heads} must divide model.width {self.width}: the nearest that does is {near}"
        elif self.positions == "rotary" and (self.width // self.heads) % 2:
            yield (
                f"rotary positions need an even head width, but model.width {self.width} / model.heads {self.heads} is "
                f"{self.width // self.heads}: use another width, or model.positions learned"
            )
        if self.kv_heads is not None and self.heads % self.kv_heads:
            near = nearest_divisor(self.heads, self.kv_heads)
            yield f"model.kv_heads {self.kv_heads} must divide model.heads {self.heads}: the nearest that does is {near}"
        repeated = [length for length in self.ngrams if self.ngrams.count(length) > 1]
        if repeated:
            yield f"model.ngrams names {repeated[0]} more than once: expected each length once, it has one table"
        if self.boundary is not None and self.ngrams:
            yield "model.boundary separates documents, but model.ngrams reach across them: leave out one of the two"
        if len(self.ngrams) > MOST_NGRAMS:
            yield f"model.ngrams has {len(self.ngrams)} lengths: expected at most {MOST_NGRAMS}"


@dataclass(frozen=True, kw_only=True)
class Context:
    """A recurrent model: feed-forward layers read a token and a context vector, and compute the change of the vector."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    transfer_sizes: ClassVar[tuple[str, ...]] = ("hidden width", "layers", "vector")

    kind: Literal["context"] = "context"
    """The model family."""
    layers: int = setting(6, at_least=1, at_most=MOST_LAYERS)
    """Feed-forward layers, which each token is processed by."""
    width: int = setting(256, at_least=1, at_most=MOST_WIDTH)
    """Embedding width."""
    hidden: int = setting(512, at_least=1, at_most=MOST_WIDTH)
    """Width of the feed-forward layers."""
    vector: int = setting(256, at_least=1, at_most=MOST_WIDTH)
    """Width of the context vector, the model's only state of the tokens before."""
    context: int = setting(63, at_least=2, at_most=MOST_WIDTH)
    """Tokens of a sequence: the context vector starts at zero before the first of them."""
    init: ContextInitName = setting("normal")
    """normal: N(0, .02) for all; torch: PyTorch's defaults."""
    dropout: float = setting(0.1, at_least=0.0, below=1.0)
    """Dropout after each feed-forward layer."""
    residual: bool = setting(False, came_later=True)
    """Each layer adds to a residual stream; layers, gates and head read it divided by its root mean square."""

    def problems(self) -> Iterator[str]:
        """Yield nothing: any of these settings go together."""
        yield from ()
