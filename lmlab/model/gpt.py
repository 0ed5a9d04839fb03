"""A decoder-only transformer with pre-normalisation.

    x = token embedding (+ n-gram embeddings) (+ position embedding)
    for each block:  x = x + attention(norm(x));  x = x + mlp(norm(x))
    logits = head(norm(x))

Every field of `lmlab.recipe.GPT` is an option of the model; initial values are in `gpt_initial.py`, costs in `gpt_cost.py`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from lmlab import LabError
from lmlab.model.activation import soft_cap
from lmlab.model.attention import Attention
from lmlab.model.cache import KVCache, LayerCache
from lmlab.model.documents import attention_mask
from lmlab.model.dropout import Dropout
from lmlab.model.gpt_shapes import head_width, key_value_heads, loss_chunk, score_chunk
from lmlab.model.head_loss import chunked_loss_sum, chunked_scores
from lmlab.model.layers import Embedding
from lmlab.model.mlp import MLP
from lmlab.model.ngrams import ngram_rows, reach
from lmlab.model.norms import build_norm
from lmlab.model.rotary import Rotation, rotation
from lmlab.model.trainable import TrainableModel
from lmlab.recipe.model import GPT

Stream = Float[Tensor, "batch time width"]
Values = Float[Tensor, "batch time kv_heads head_width"]


class Block(nn.Module):
    """One layer: attention, then the MLP, each with a residual connection."""

    def __init__(self, model: GPT, layer: int) -> None:
        super().__init__()
        self.attention_norm = build_norm(model.norm, model.width, model.bias, model.norm_epsilon)
        self.attention = Attention(model, layer)
        self.mlp_norm = build_norm(model.norm, model.width, model.bias, model.norm_epsilon)
        self.mlp = MLP(model)
        # The first block's input is the embedding itself, so there is nothing to mix.
        self.stream_shares = nn.Parameter(torch.empty(2)) if model.embedding_skip and layer > 0 else None

    def forward(
        self,
        x: Stream,
        embedded: Stream,
        turn: Rotation | None,
        first_values: Values | None,
        memory: LayerCache | None,
        mask: Float[Tensor, "batch 1 time time"] | None,
    ) -> tuple[Stream, Values]:
        """Return the residual stream after this layer, and the layer's attention values."""
        if self.stream_shares is not None:
            own, skipped = self.stream_shares.to(x.dtype)
            x = own * x + skipped * embedded
        change, values = self.attention(self.attention_norm(x), turn, first_values, memory, mask)
        x = x + change
        return x + self.mlp(self.mlp_norm(x)), values


class GPTModel(TrainableModel):
    """The GPT that `config` describes."""

    config: GPT
    scores_in_chunks = True

    def __init__(self, config: GPT, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        self.embedding = Embedding(vocabulary, config.width)
        self.ngram_tables = nn.ModuleList(Embedding(config.ngram_rows, config.width) for _ in config.ngrams)
        self.positions = Embedding(config.context, config.width) if config.positions == "learned" else None
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = build_norm(config.norm, config.width, config.bias, config.norm_epsilon)
        self.head = Head(config, vocabulary)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        """Return the logits of the token after each position."""
        return self.logits(self._read(tokens))

    def loss_sum(self, tokens: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """Return the sum of nats over the targets that aren't -100; where there are many logits, computed chunk by chunk."""
        chunk = loss_chunk(tokens.numel(), self.vocabulary, tokens.device.type)
        if chunk is None:
            return super().loss_sum(tokens, targets)
        return chunked_loss_sum(*self._head_inputs(tokens), targets, self.config.softcap, chunk)

    def scores(
        self, tokens: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
        """See `TrainableModel`; the logits are computed chunk by chunk."""
        chunk = score_chunk(self.vocabulary, tokens.device.type)
        return chunked_scores(*self._head_inputs(tokens), targets, self.config.softcap, chunk)

    def start_cache(self, batch: int, length: int) -> KVCache:
        """Return an empty cache for `batch` rows of at most `length` tokens. LabError if `length` exceeds the context."""
        self.require_length(length)
        heads, width = key_value_heads(self.config), head_width(self.config)
        shape = (self.config.layers, batch, length, heads, width)
        recent, boundary = reach(self.config.ngrams), self.config.boundary
        return KVCache(*shape, self.device, self.embedding.weight.dtype, recent, boundary)

    @torch.no_grad()
    def advance(
        self, tokens: Int[Tensor, "batch new"], cache: KVCache, lengths: Sequence[int] | None = None
    ) -> Float[Tensor, "batch vocabulary"]:
        """Read new tokens and add them to `cache`; return the logits of the token after each row's last one.

        `lengths[row]` is the number of a row's tokens that count, at least 1 (default: all); the rest is padding.
        """
        batch, new = tokens.shape
        lengths = [new] * batch if lengths is None else lengths
        x = self.continued(tokens, cache)
        cache.advance(tokens, lengths)
        last = torch.tensor(lengths, device=tokens.device) - 1
        return self.logits(x[torch.arange(batch, device=tokens.device), last].unsqueeze(1)).squeeze(1)

    def continued(self, tokens: Int[Tensor, "batch new"], cache: KVCache) -> Stream:
        """Return the residual stream after new tokens. Their keys and values are in `cache` then, but don't count as held yet."""
        positions = cache.positions(tokens.shape[1])
        return self.stream(tokens, positions, cache.layers(positions, tokens), cache.recent)

    def stream(
        self,
        tokens: Int[Tensor, "batch time"],
        positions: Int[Tensor, "*rows time"],
        memories: list[LayerCache] | None,
        earlier: Int[Tensor, "batch reach"] | None = None,
    ) -> Stream:
        """Return the residual stream after the last block, for tokens at `positions`; `earlier` are the tokens before them."""
        x: Stream = self.embedding(tokens)
        if self.ngram_tables:
            rows = ngram_rows(tokens, self.config.ngrams, self.config.ngram_rows, self.vocabulary, earlier)
            for table, chosen in zip(self.ngram_tables, rows, strict=True):
                x = x + table(chosen)
        turn = None
        if self.positions is not None:
            # The backward pass of a slice is one copy; that of an embedding look-up is a scatter-add.
            x = x + (self.positions.weight[: tokens.shape[1]] if memories is None else self.positions(positions))
        elif self.config.positions == "rotary":
            turn = rotation(positions, head_width(self.config), x.dtype, self.config.rotary_base)
        mask, boundary = None, self.config.boundary
        if boundary is not None and memories is None:
            mask = attention_mask(tokens, boundary, x.dtype)
        x = embedded = self.dropout(x)
        first_values = None
        for layer, block in enumerate(self.blocks):
            memory = None if memories is None else memories[layer]
            x, values = block(x, embedded, turn, first_values, memory, mask)
            if layer == 0 and self.config.value_residual:
                first_values = values
        return x

    def _read(self, tokens: Int[Tensor, "batch time"]) -> Stream:
        """Return the residual stream after the last block, for whole sequences."""
        time = tokens.shape[1]
        if time > self.context:
            raise LabError(
                f"{time} tokens are more than the model's context of {self.context}: give it at most as many"
            )
        return self.stream(tokens, torch.arange(time, device=tokens.device), None)

    def _head_inputs(self, tokens: Int[Tensor, "batch time"]) -> tuple[Stream, Tensor, Tensor | None]:
        """Return the normalised stream, and the head's matrix and bias."""
        weight = self.embedding.weight if self.head.weight is None else self.head.weight
        return self.norm(self._read(tokens)), weight, self.head.bias

    def logits(self, x: Stream) -> Float[Tensor, "batch time vocabulary"]:
        """Return the logits from the residual stream after the last block."""
        logits: Float[Tensor, "batch time vocabulary"] = self.head(self.norm(x), self.embedding.weight)
        if self.config.softcap:
            logits = soft_cap(logits, self.config.softcap)
        return logits


class Head(nn.Module):
    """The linear map from the normalised stream to logits, with its own matrix or the embedding's (tied)."""

    def __init__(self, config: GPT, vocabulary: int) -> None:
        super().__init__()
        self.weight = None if config.tied else nn.Parameter(torch.empty(vocabulary, config.width))
        self.bias = nn.Parameter(torch.empty(vocabulary)) if config.head_bias else None

    def forward(
        self, x: Stream, embedding: Float[Tensor, "vocabulary width"]
    ) -> Float[Tensor, "batch time vocabulary"]:
        """Return x W^T + b."""
        return F.linear(x, embedding if self.weight is None else self.weight, self.bias)
