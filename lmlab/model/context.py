"""A context-propagation model: a recurrent language model whose state is a vector that each token updates.

    x = [token embedding; context vector];  h = output of L layers of (linear, relu, dropout)
    logits = head(h);  context vector <- clamp(LayerNorm(forget * context vector + input * candidate), -10, 10)

Candidate, forget gate and input gate are linear in h, the gates followed by a sigmoid; the vector is zero before the first token.
There is no position encoding. With `residual` each layer adds to a residual stream and reads it normalised, as gates and head do;
the architecture without `residual` is that of github.com/rato-tokyo/new-llm (commit b3e3be1). The loop over time is in
`recurrence.py`, its gradients are in `recurrence_gradient.py`, initial values in `context_initial.py`, costs in `context_cost.py`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from lmlab import LabError
from lmlab.model.layers import Embedding, Linear
from lmlab.model.loss import loss_sum
from lmlab.model.norms import EPSILON
from lmlab.model.recurrence import Cell, ForwardPass, Weights, run
from lmlab.model.recurrence_gradient import recur
from lmlab.model.recurrence_native import kernel_for
from lmlab.model.trainable import TrainableModel
from lmlab.recipe.model import Context


class Gates(Linear):
    """The linear maps of candidate, forget gate and input gate, stacked by rows in one matrix."""

    def __init__(self, hidden: int, vector: int) -> None:
        super().__init__(hidden, 3 * vector)
        self.matrix_rows = (vector, vector, vector)


class ContextState:
    """The decoding state: the context vector of each row of a batch, of constant size."""

    def __init__(self, vector: Float[Tensor, "batch vector"], length: int) -> None:
        """`vector` holds the rows' initial vectors; `length` is the maximum number of tokens a row."""
        self.vector = vector
        self.length = length
        self.held = [0] * len(vector)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row that is named twice is duplicated."""
        self.vector = self.vector[torch.tensor(rows, device=self.vector.device, dtype=torch.long)]
        self.held = [self.held[row] for row in rows]

    def join(self, other: "ContextState") -> None:
        """Add the rows of another state, after the own ones."""
        self.vector = torch.cat((self.vector, other.vector))
        self.held = [*self.held, *other.held]


class ContextModel(TrainableModel):
    """The context-propagation model that `config` describes."""

    config: Context
    norm: nn.LayerNorm

    def __init__(self, config: Context, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        self.embedding = Embedding(vocabulary, config.width)
        inputs = [config.width + config.vector] + [config.hidden] * (config.layers - 1)
        self.blocks = nn.ModuleList(Linear(width, config.hidden) for width in inputs)
        self.gates = Gates(config.hidden, config.vector)
        self.norm = nn.LayerNorm(config.vector, eps=EPSILON)
        self.head = Linear(config.hidden, vocabulary)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        """Return the logits of the token after each position."""
        found: Float[Tensor, "batch time vocabulary"] = self.head(self._read(tokens)).transpose(0, 1)
        return found

    def loss_sum(self, tokens: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """Return the sum of nats over the targets that aren't -100."""
        return loss_sum(self.head(self._read(tokens)), targets.t())

    def start_cache(self, batch: int, length: int) -> ContextState:
        """Return a state of zeros for `batch` rows of at most `length` tokens. LabError if `length` exceeds the context."""
        self.require_length(length)
        return ContextState(self._zeros(batch, self.embedding.weight.dtype), length)

    @torch.no_grad()
    def advance(
        self, tokens: Int[Tensor, "batch new"], cache: ContextState, lengths: Sequence[int] | None = None
    ) -> Float[Tensor, "batch vocabulary"]:
        """Read new tokens and update `cache`; return the logits of the token after each row's last one.

        `lengths[row]` is the number of a row's tokens that count, at least 1 (default: all); the rest is padding.
        """
        batch, new = tokens.shape
        if max(cache.held) + new > cache.length:
            raise LabError(
                f"the cache holds at most {cache.length} tokens a row, but {max(cache.held)} + {new} were to be held"
            )
        lengths = [new] * batch if lengths is None else lengths
        passed = self._pass(tokens, cache.vector, updates=new, keep=False)
        rows, counted = torch.arange(batch, device=tokens.device), torch.tensor(lengths, device=tokens.device)
        cache.vector = passed.vectors[counted, rows]
        cache.held = [held + read for held, read in zip(cache.held, lengths, strict=True)]
        found: Float[Tensor, "batch vocabulary"] = self.head(passed.top[counted - 1, rows])
        return found

    def has_engine(self) -> bool:
        """Return whether the kernel of this recurrence is on this machine, in the build `engine_identity`."""
        return kernel_for(self, self.config, self.embedding.weight, self.engine_identity) is not None

    def watched_modules(self) -> dict[str, nn.Module]:
        """Return no modules: the recurrence computes the layers' outputs without calling them (see `layer_outputs`)."""
        return {}

    @torch.no_grad()
    def layer_outputs(self, tokens: Int[Tensor, "batch time"]) -> dict[str, Float[Tensor, "time batch _"]]:
        """Return the outputs of each layer and the context vectors between the tokens, by display name, for diagnostics."""
        time = tokens.shape[1]
        vector = self._zeros(len(tokens), self.embedding.weight.dtype)
        passed = self._pass(tokens, vector, updates=time - 1, keep=True)
        outputs = [*passed.lower, *([] if self.config.residual else [passed.top])]
        blocks = {f"block {number}": output for number, output in enumerate(outputs, 1)}
        if self.config.residual:
            blocks["normed stream"] = passed.top
        return {"embedding": self.embedding(tokens.t()), **blocks, "context vector": passed.vectors[1:]}

    def _read(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "time batch hidden"]:
        """Return the last layer's output after each token."""
        time = tokens.shape[1]
        if time > self.context:
            raise LabError(
                f"{time} tokens are more than the model's context of {self.context}: give it at most as many"
            )
        z = self._embedded(tokens)
        weights = self._weights(z.dtype)
        kernel = None if self.engine == "torch" else kernel_for(self, self.config, z, self.engine_identity)
        if torch.is_grad_enabled():
            return recur(z, weights, self._cell, kernel)
        vector = self._zeros(len(tokens), self.embedding.weight.dtype)
        return run(z, vector, weights, self._cell, updates=time - 1, keep=False, kernel=kernel).top

    def _pass(
        self, tokens: Int[Tensor, "batch time"], vector: Float[Tensor, "batch vector"], updates: int, keep: bool
    ) -> ForwardPass:
        z = self._embedded(tokens)
        return run(z, vector, self._weights(z.dtype), self._cell, updates, keep)

    @property
    def _cell(self) -> Cell:
        return Cell(dropout=self.config.dropout if self.training else 0.0, residual=self.config.residual)

    def _embedded(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "time batch hidden"]:
        """Return the embedding's part of the first layer, for all tokens at once.

        If there are at least as many tokens as vocabulary entries, it is computed once per entry and looked up.
        """
        first, in_time = self._layers[0], tokens.t()
        into = first.weight[:, : self.config.width]
        if self.vocabulary <= tokens.numel():
            return F.embedding(in_time, F.linear(self.embedding.weight, into, first.bias))
        return F.linear(self.embedding(in_time), into, first.bias)

    def _weights(self, dtype: torch.dtype) -> Weights:
        """Return the recurrence's weights, with matrices of `dtype` (autocast's, if it is on)."""
        first, *later = self._layers
        return Weights(
            reading=first.weight[:, self.config.width :].to(dtype),
            gates=self.gates.weight.to(dtype),
            gate_bias=self.gates.bias.to(dtype),
            scale=self.norm.weight,
            shift=self.norm.bias,
            layers=tuple(layer.weight.to(dtype) for layer in later),
            biases=tuple(layer.bias.to(dtype) for layer in later),
        )

    @property
    def _layers(self) -> list[Linear]:
        return [block for block in self.blocks if isinstance(block, Linear)]

    def _zeros(self, batch: int, dtype: torch.dtype) -> Float[Tensor, "batch vector"]:
        exact = torch.promote_types(dtype, torch.float32)
        return torch.zeros(batch, self.config.vector, dtype=exact, device=self.device)
